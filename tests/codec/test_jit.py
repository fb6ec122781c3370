"""Where compiled loops are kept."""

import os
import subprocess
import sys

_CODE = """
from kompakt_codec.jit import kernel

@kernel
def more(x):
    return x + 1

print(more(3))
"""


def test_without_a_home_loops_are_compiled_and_kept_nowhere(tmp_path):
    (tmp_path / "code.py").write_text(_CODE)
    environment = {**os.environ, "HOME": "~"}  # what stands for the home of a user without one
    environment.pop("NUMBA_CACHE_DIR", None)
    command = [sys.executable, "-B", "code.py"]

    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    )

    assert done.stdout == "4\n"
    assert [path.name for path in tmp_path.iterdir()] == ["code.py"]
