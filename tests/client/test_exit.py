"""What becomes of streams that are still open as the interpreter ends."""

import os
import subprocess
import sys
import threading

import pytest

from kompakt_client import Client
from kompakt_client._link import Link

PROGRAM = """
from tests.client.test_exit import LateLink, Link, Owner
owner = Owner({kind})  # until the interpreter ends
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


class LateLink(Link):
    """One whose thread comes to nothing before it is closed."""

    def _read(self):
        self._call.over.wait()
        super()._read()


class Owner:
    """Closes a stream when it is collected itself, as a run does."""

    def __init__(self, kind):
        settings = vars(Client())["_settings"]
        self.close = kind(lambda *_, **__: Call(), None, settings, print, wait=False).close

    def __del__(self):
        self.close()


@pytest.mark.parametrize("kind", ["Link", "LateLink"])
def test_streams_are_closed_while_grpcs_threads_live(kind):
    command = [sys.executable, "-c", PROGRAM.format(kind=kind)]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True)

    assert done.stdout == b"in time\n"
