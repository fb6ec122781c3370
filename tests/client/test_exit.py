"""What becomes of streams that are still open as the interpreter ends."""

import os
import subprocess
import sys
import threading

from kompakt_client import Client
from kompakt_client._link import Link

PROGRAM = """
from tests.client.test_exit import Owner
owner = Owner()  # until the interpreter ends
"""


class Call:
    """A stream on which nothing comes; says whether the interpreter ends as it is cancelled."""

    def __init__(self):
        self.over = threading.Event()

    def __iter__(self):
        self.over.wait()
        return iter(())

    def cancel(self):
        os.write(1, b"late\n" if sys.is_finalizing() else b"in time\n")
        self.over.set()


class Owner:
    """Closes a stream when it is collected itself, as a run does."""

    def __init__(self):
        settings = vars(Client())["_settings"]
        self.close = Link(lambda *_, **__: Call(), None, settings, print, wait=False).close

    def __del__(self):
        self.close()


def test_streams_are_closed_while_grpcs_threads_live():
    done = subprocess.run([sys.executable, "-c", PROGRAM], stdout=subprocess.PIPE, check=True)

    assert done.stdout == b"in time\n"
