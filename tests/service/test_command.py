"""``kompakt serve`` as a process: settings, signals."""

import json
import logging
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import Mock

import grpc
import pytest
import torch
from safetensors.torch import save_file

from kompakt.v1 import compression_pb2 as pb
from kompakt.v1 import compression_pb2_grpc as pb_grpc
from kompakt_codec.header import HEADER_KEY, SCHEMA_VERSION
from kompakt_service import cli
from kompakt_service.cli import main
from kompakt_service.environment import unknown_variables
from kompakt_service.logs import TextFormatter
from kompakt_service.settings import Settings, SettingsError, load_settings
from tests.service.support import raw

BIN = Path(sys.executable).parent


@contextmanager
def started(checkpoints: Path, *flags: str, **environment: str) -> Iterator[subprocess.Popen[str]]:
    """``kompakt serve``, which does not outlive the block."""
    with subprocess.Popen(
        [BIN / "kompakt", "serve", "--models", checkpoints, *flags],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **environment},
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def run_to_its_end(checkpoints: Path, *flags: str) -> tuple[int, str]:
    """The exit status and what stood on stderr."""
    with started(checkpoints, *flags) as process:
        _, stderr = process.communicate(timeout=200)
    return process.returncode, stderr


def test_a_text_record_is_one_line():
    record = logging.makeLogRecord({"msg": "call", "detail": "malformed header:\nwidth\r\n  x"})
    (line,) = TextFormatter().format(record).splitlines()
    assert line.endswith(r" call detail=malformed header:\nwidth\n  x")


def test_help_waits_for_no_pytorch():
    code = """
import sys
sys.modules["torch"] = None
from kompakt_service.cli import main
main(["--help"])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "--torch-threads" in done.stdout


def test_the_last_line_of_help_is_where_the_default_models_lie(monkeypatch, capsys):
    models = Path("/", *["site-packages"] * 6)  # longer than a line, which could be broken anywhere
    monkeypatch.setattr("kompakt_service.cli.DEFAULT_MODELS", models)
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit):
        main(["--help"])
    assert capsys.readouterr().out.splitlines()[-1].strip() == str(models)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_command_serves_until_a_signal(checkpoints, digits, number):
    environment = {"METRICS_PORT": "0", "LOG_FORMAT": "json", "WORKER": "2"}
    environment = {f"KOMPAKT_{name}": value for name, value in environment.items()}
    with started(checkpoints, "--port", "0", **environment) as process:
        assert process.stderr is not None
        records = []
        while not records or records[-1]["message"] != "serving":
            records.append(json.loads(process.stderr.readline()))
        assert records[0]["variable"] == "KOMPAKT_WORKER"
        assert "warming up" in [record["message"] for record in records]
        port = records[-1]["port"]
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            stub = pb_grpc.CompressionServiceStub(channel)
            assert stub.Compress(pb.CompressRequest(images=[raw(digits[0])])).results
        process.send_signal(number)
        _, rest = process.communicate(timeout=60)
    assert process.returncode == 0
    assert json.loads(rest.splitlines()[-1])["message"] == "stopped"


def test_a_signal_while_models_load_ends_the_command(checkpoints, tmp_path):
    shutil.copy(checkpoints / "tiny-ae.safetensors", tmp_path)
    os.mkfifo(tmp_path / "written-by-nobody.safetensors")
    with started(tmp_path, "--port", "0", "--metrics-port", "0") as process:
        assert process.stderr is not None
        assert "model loaded" in process.stderr.readline()
        process.send_signal(signal.SIGTERM)
        _, rest = process.communicate(timeout=60)
    assert process.returncode == 0
    assert rest == ""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_as_soon_as_it_serves_stops_the_server(number):
    server = Mock()
    server.start.side_effect = lambda: signal.raise_signal(number)
    cli._serve(server, load_settings({}))
    assert [call[0] for call in server.method_calls] == ["start", "drain", "stop"]


ENDED_AT_ANY_STEP = """
import itertools, os, signal, sys, threading
from unittest.mock import Mock
from kompakt_service import cli
from kompakt_service.settings import load_settings

def serve_until(step):
    steps = itertools.count()

    def trace(frame, event, _):
        if event == "line" and next(steps) == step:
            signal.raise_signal(signal.SIGTERM)
        return trace

    late = threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGTERM))
    server = Mock()
    server.start = lambda: (late.start(), sys.settrace(trace))
    server.drain = lambda: sys.settrace(None)
    cli._serve(server, settings)
    late.cancel()
    late.join()
    return next(steps) > step

settings = load_settings({})
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print(next(step for step in itertools.count() if not serve_until(step)))
"""


def test_a_signal_stops_the_server_whatever_it_is_about_to_do():
    command = [sys.executable, "-c", ENDED_AT_ANY_STEP]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, timeout=200)
    assert int(done.stdout) > 10  # steps of which each was interrupted


def test_a_second_signal_cuts_the_waiting_short(checkpoints):
    flags = ["--port", "0", "--metrics-port", "0", "--grace-seconds", "600"]
    gate = threading.Event()

    def requests():
        yield pb.StreamCompressRequest(options=pb.CompressOptions(), images=[pb.Image()])
        gate.wait(60)

    with started(checkpoints, *flags, "--log-format", "json") as process:
        assert process.stderr is not None
        while (record := json.loads(process.stderr.readline()))["message"] != "serving":
            pass
        with grpc.insecure_channel(f"127.0.0.1:{record['port']}") as channel:
            stub = pb_grpc.CompressionServiceStub(channel)
            stream = stub.StreamCompress(requests())
            assert next(stream).results  # and the stream stays open
            process.send_signal(signal.SIGTERM)
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(timeout=1.5)
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=60)
            gate.set()
    assert process.returncode == 0


@pytest.mark.parametrize(
    ("flags", "status", "message"),
    [
        (["--port", "99999"], 2, "port (--port, KOMPAKT_PORT): Input should be less than"),
        (["--config", "/nowhere.toml"], 2, "/nowhere.toml does not exist"),
        (["--default-model", "nope"], 1, "'nope' is not among"),
    ],
)
def test_a_wrong_setting_ends_the_command_with_one_line(checkpoints, flags, status, message):
    found, stderr = run_to_its_end(checkpoints, *flags)
    assert found == status
    lines = [line for line in stderr.splitlines() if "model loaded" not in line]
    assert len(lines) == 1
    assert message in lines[0]


@pytest.mark.parametrize("option", ["--port", "--metrics-port"])
def test_a_taken_port_is_told_before_models_are_loaded(tmp_path, option):
    (tmp_path / "broken.safetensors").write_bytes(b"")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        ports = {"--port": "0", "--metrics-port": "0", option: str(taken.getsockname()[1])}
        flags = [text for pair in ports.items() for text in pair]
        status, stderr = run_to_its_end(tmp_path, "--host", "127.0.0.1", *flags)
    assert status == 1
    (line,) = stderr.splitlines()
    assert f"choose another{' port' * (option != '--port')} with {option}" in line


def test_ports_are_tried_without_a_page(checkpoints, monkeypatch):
    monkeypatch.delattr("kompakt_service.ports.start_http_server")
    cli._require_ports(load_settings({"models": checkpoints, "port": 0, "metrics_port": 0}))


def test_a_broken_checkpoint_ends_the_command_with_one_line(tmp_path):
    header = {HEADER_KEY: json.dumps({"schema_version": SCHEMA_VERSION, "name": "x"})}
    save_file({"x": torch.zeros(1)}, tmp_path / "broken.safetensors", metadata=header)
    flags = ["--device", "cpu", "--port", "0", "--metrics-port", "0"]
    status, stderr = run_to_its_end(tmp_path, *flags)
    assert status == 1
    (line,) = stderr.splitlines()
    assert "broken.safetensors: malformed header:" in line


@pytest.mark.parametrize(
    ("flags", "environment", "message"),
    [
        ({}, {"KOMPAKT_MAX_IMAGES": "many"}, "max_images (--max-images, KOMPAKT_MAX_IMAGES)"),
        ({"device": "tpu"}, {}, "device (--device, KOMPAKT_DEVICE): must be auto, cpu"),
        ({"device": "cuda:99"}, {}, "no such GPU"),
        ({"models": "/nowhere"}, {}, "/nowhere is not a directory"),
        ({}, {"KOMPAKT_MODELS": ""}, "KOMPAKT_MODELS): must name a directory"),
        ({}, {"KOMPAKT_MODEL_STATE": ""}, "KOMPAKT_MODEL_STATE): must name a file"),
        ({"model_state": "/"}, {}, "must name a file"),
        ({"max_image_bytes": "9" * 20}, {}, "--max-image-bytes, KOMPAKT_MAX_IMAGE_BYTES"),
        ({"max_image_pixels": "9" * 20}, {}, "--max-image-pixels, KOMPAKT_MAX_IMAGE_PIXELS"),
    ],
)
def test_a_wrong_setting_is_named(monkeypatch, flags, environment, message):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError) as excinfo:
        load_settings(flags)
    assert message in str(excinfo.value)
    assert "\n" not in str(excinfo.value)


def test_settings_come_from_flags_over_environment_over_file(tmp_path, checkpoints, monkeypatch):
    file = tmp_path / "kompakt.toml"
    file.write_text("port = 1\nmetrics_port = 2\nmax_images = 3\n")
    monkeypatch.setenv("KOMPAKT_METRICS_PORT", "20")
    monkeypatch.setenv("KOMPAKT_MAX_IMAGES", "30")
    settings = load_settings({"max_images": "300", "models": checkpoints}, file)
    assert (settings.port, settings.metrics_port, settings.max_images) == (1, 20, 300)


LINKS = {
    "KOMPAKT_PORT": "tcp://10.0.0.1:50051",
    "KOMPAKT_PORT_50051_TCP": "tcp://10.0.0.1:50051",
    "KOMPAKT_SERVICE_HOST": "10.0.0.1",
    "KOMPAKT_SERVICE_PORT": "50051",
    "KOMPAKT_SERVICE_PORT_GRPC": "50051",
    "KOMPAKT_WEB_PORT": "tcp://10.0.0.2:80",
    "KOMPAKT_WEB_PORT_80_TCP_ADDR": "10.0.0.2",
    "KOMPAKT_WEB_SERVICE_HOST": "10.0.0.2",
}
"""What Kubernetes sets in containers beside Services named kompakt and kompakt-web."""


def test_what_kubernetes_says_of_a_service_is_no_setting(monkeypatch):
    for name, value in LINKS.items():
        monkeypatch.setenv(name, value)
    assert load_settings({}).port == 50051


def test_names_that_look_like_settings_and_are_none_are_told():
    names = ["KOMPAKT_MAX_IMAGES", "kompakt_Max_Images", "KOMPAKT_MAX_IMAGE", "KOMPAKT_DATA_DIR"]
    given = LINKS | dict.fromkeys([*names, "KOMPAKT_Port", "PATH"], "1")
    assert list(unknown_variables(given, Settings.model_fields)) == ["KOMPAKT_MAX_IMAGE"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("prot = 1", "unknown setting prot"),
        ("metrics-port = 1", "unknown setting metrics-port; here it is metrics_port"),
        ("no-port = 1", "unknown setting no-port$"),
        ("port = [", "kompakt.toml"),
    ],
)
def test_a_wrong_file_is_said(tmp_path, text, message):
    file = tmp_path / "kompakt.toml"
    file.write_text(text)
    with pytest.raises(SettingsError, match=message):
        load_settings({}, file)
