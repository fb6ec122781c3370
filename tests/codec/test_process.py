"""What a process that trains or serves sets for itself."""

import os
import subprocess
import sys

_CODE = """
import numpy
from threadpoolctl import threadpool_info
from kompakt_codec.process import prepare_process

def threads():
    print(*(blas["num_threads"] for blas in threadpool_info() if blas["user_api"] == "blas"))

threads()
prepare_process()
threads()
"""


def test_blas_multiplies_in_one_thread():
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "2", "MKL_NUM_THREADS": "2"}
    command = [sys.executable, "-c", _CODE]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.split() == [str(min(2, len(os.sched_getaffinity(0)))), "1"]
