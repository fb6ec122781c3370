"""``make demo`` beside a service that does not do as it should."""

import importlib.util
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

DEMO = Path(__file__).parents[2] / "examples/demo.py"


@pytest.fixture
def demo() -> ModuleType:
    spec = importlib.util.spec_from_file_location("demo", DEMO)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def stand_in(tmp_path, monkeypatch):
    """Puts a script in the place of ``kompakt``."""

    def write(script: str) -> None:
        (tmp_path / "kompakt").write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / "kompakt").chmod(0o755)
        monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))

    return write


def test_a_service_that_does_not_start_says_why(demo, stand_in):
    stand_in("echo 'kompakt serve: no models' >&2; exit 1")
    with pytest.raises(SystemExit, match="did not start: kompakt serve: no models"), demo.service():
        pass


def test_other_lines_than_records_do_not_matter(demo, stand_in):
    record = '{"message": "serving", "port": 7}'
    stand_in(f"echo 'a warning' >&2; echo '{record}' >&2; exec sleep 60")
    with demo.service() as target:
        assert target == "127.0.0.1:7"


def test_settings_of_another_server_are_not_the_demos(demo, stand_in, monkeypatch):
    monkeypatch.setenv("KOMPAKT_LOG_LEVEL", "error")
    stand_in('echo "level $KOMPAKT_LOG_LEVEL." >&2; exit 1')
    with pytest.raises(SystemExit, match=r"level \.$"), demo.service():
        pass


_WITH_NO_DIGITS = """
import sys
from pathlib import Path
import numpy as np
import demo
demo.real_digits = lambda count: (np.zeros((count, 28, 28, 1), np.uint8), "none")
sys.argv = ["demo.py", "--images", "1"]
sys.executable = str(Path("python").absolute())
demo.main()
"""


def test_a_terminated_demo_leaves_no_service(stand_in, tmp_path):
    python = sys.executable
    stand_in("echo $$; exec sleep 60")
    process = subprocess.Popen(
        [python, "-c", _WITH_NO_DIGITS],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": f"{DEMO.parent}:{os.environ.get('PYTHONPATH', '')}"},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "1 digits: none\n"
    number = int(process.stdout.readline())  # the service's, whose output is the demo's
    process.terminate()
    process.communicate(timeout=30)
    assert process.returncode == 128 + signal.SIGTERM
    with pytest.raises(ProcessLookupError):
        os.kill(number, 0)
