"""What the command line says and returns when something is wrong, and its help."""

import json
import os
import sys

import pytest

from kompakt_client import InvalidRequestError, WrongSizeError
from kompakt_client.cli._errors import describe
from tests.client.conftest import write_png
from tests.client.fake_server import Fault, grpc


def test_an_unknown_model_is_one_line(run):
    status, out, err = run("models", "nobody")

    assert (status, out, err) == (1, "", ["kompakt: injected UNKNOWN_MODEL"])


def test_a_server_that_is_not_there_is_one_line(run, tmp_path):
    write_png(tmp_path / "a.png")

    for command in (["models"], ["compress", "a.png", "-o", "a.kpt"], ["evaluate", "a.png"]):
        status, out, err = run(*command, "--target", "127.0.0.1:1", "--timeout", "1")

        assert (status, out) == (1, "")
        assert err == [
            "kompakt: cannot reach 127.0.0.1:1: is the server running? "
            "start it with `kompakt serve`"
        ]


def test_a_target_without_a_port_is_told_as_such(run):
    status, out, err = run("models", "--target", "localhost", "--timeout", "1")

    assert (status, out) == (1, "")
    assert err == [
        "kompakt: cannot reach localhost: name its port too, as localhost:50051 "
        "(without one it is 443)"
    ]


@pytest.mark.parametrize("variable", ["grpc_proxy", "https_proxy", "http_proxy"])
def test_a_proxy_that_is_not_there_is_told_as_such(run, running, monkeypatch, variable):
    monkeypatch.setenv(variable, "http://127.0.0.1:1")
    host = running.target.partition(":")[0]

    status, out, err = run("models", "--timeout", "1")

    assert (status, out) == (1, "")
    assert err == [
        f"kompakt: cannot reach {running.target}: the proxy that {variable} names refuses "
        f"connections; no_proxy={host} goes past it"
    ]
    monkeypatch.setenv("no_proxy", host)
    assert run("models")[0] == 0


def test_a_port_that_grpc_takes_for_another_is_told(run):
    status, out, err = run("models", "--target", "127.0.0.1:65537", "--timeout", "1")

    assert (status, out) == (1, "")
    assert "127.0.0.1:1: Failed to connect" in err[0]


def test_why_something_that_is_there_cannot_be_reached_is_told(run, running, fake):
    fake.faults += [Fault(grpc.StatusCode.UNAVAILABLE)] * 9

    status, out, err = run("models", "--timeout", "1")

    assert (status, out) == (1, "")
    assert err == [f"kompakt: cannot reach {running.target}: injected UNAVAILABLE"]


def test_a_url_is_no_target(run):
    status, out, err = run("models", "--target", "http://localhost:50051")

    assert (status, out) == (2, "")
    assert err == ["kompakt: target must be HOST:PORT, not the URL 'http://localhost:50051'"]


def test_a_server_that_stops_says_so_itself(run, fake):
    fake.faults += [Fault(grpc.StatusCode.UNAVAILABLE, "SHUTTING_DOWN")] * 9

    assert run("models", "--timeout", "1")[2] == ["kompakt: injected SHUTTING_DOWN"]


def test_a_slow_server_is_one_line(run, running, fake):
    fake.delay = 1.0

    status, _, err = run("models", "--timeout", "0.1")

    assert status == 1
    assert err[0].startswith(f"kompakt: no answer from {running.target} in time")
    assert err[0].endswith(" (--timeout)")


def test_a_wrong_environment_is_one_line(run, monkeypatch):
    monkeypatch.setenv("KOMPAKT_TIMEOUT", "soon")

    status, _, err = run("models")

    assert (status, len(err)) == (2, 1)
    assert "KOMPAKT_TIMEOUT must be a positive number" in err[0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "kompakt: the following arguments are required: COMMAND"),
        (["explode"], "kompakt: argument COMMAND: invalid choice: 'explode'"),
        (["compress", "a.png"], "kompakt compress: the following arguments are required: -o"),
        (["compress", "-o", "x"], "kompakt compress: the following arguments are required: INPUT"),
        (["models", "--timeout", "-1"], "--timeout: must be a positive number of seconds, not -1"),
        (
            ["models", "--timeout", "1e30"],
            "argument --timeout: must be at most 31536000 seconds, a year, not 1e30",
        ),
        (["models", "--timeout", "soon"], "kompakt models: argument --timeout"),
        (["models", "--json", "--csv"], "not allowed with argument --json"),
        (["evaluate", "a", "--baselines", "gif"], "unknown name 'gif'; choose from zip, deflate"),
        (["evaluate", "a", "--models", "a,,b"], "argument --models: unknown name ''"),
        (["compress", "a", "-o", "b", "--model", ""], "argument --model: must be a name"),
        (["decompress", "a", "-o", "b", "--model", ""], "argument --model: must be a name"),
        (["models", ""], "argument NAME: must be a name, not ''"),
        (["compress", "", "-o", "b"], "argument INPUT: must be a path, not ''"),
        (["decompress", "a", "-o", ""], "argument -o/--output: must be a path, not ''"),
        (["evaluate", "a", ""], "argument INPUT: must be a path, not ''"),
        (["compress", "a", "-o", "b", "--fit", "crop"], "argument --fit: invalid choice: 'crop'"),
    ],
)
def test_wrong_usage_is_one_line_and_status_two(run, arguments, message):
    status, out, err = run(*arguments)

    assert (status, out, len(err)) == (2, "", 1)
    assert message in err[0]
    assert err[0].endswith("--help)")


def test_help_shows_every_command(run):
    status, out, _ = run("--help")

    assert status == 0
    assert all(f"  {name} " in out for name in ("compress", "decompress", "evaluate", "models"))


@pytest.mark.parametrize("command", ["compress", "decompress", "evaluate", "models"])
def test_commands_have_help(run, command):
    status, out, _ = run(command, "--help")

    assert status == 0
    assert "KOMPAKT_TARGET" in out


def test_the_version_is_shown(run, monkeypatch):
    monkeypatch.setattr("importlib.metadata.version", lambda _: "1.2.3")

    assert run("--version") == (0, "kompakt 1.2.3\n", [])


def test_an_interrupt_is_status_130(run, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("kompakt_client._client.Client.models", interrupt)

    assert run("models") == (130, "", [])


@pytest.mark.parametrize("command", ["compress", "decompress"])
def test_an_interrupt_tells_what_was_written(run, monkeypatch, tmp_path, command):
    for seed in range(3):
        write_png(tmp_path / "images" / f"{seed}.png", seed)
    run("compress", "images", "-o", "streams")
    written = []

    def write(path, _):
        if len(written) == 2:
            raise KeyboardInterrupt
        written.append(path)

    monkeypatch.setattr("kompakt_client._results.write_file", write)
    inputs = "images" if command == "compress" else "streams"

    assert run(command, inputs, "-o", "out") == (
        130,
        "",
        ["kompakt: interrupted: wrote 2 of 3 files"],
    )


def test_a_defect_is_one_line(run, monkeypatch):
    def fail(*_):
        raise ZeroDivisionError("oh\nno")

    monkeypatch.setattr("kompakt_client._client.Client.models", fail)

    assert run("models") == (1, "", ["kompakt: unexpected ZeroDivisionError: oh no"])


def test_a_reader_that_goes_away_is_no_traceback(run, monkeypatch):
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as closed:
        monkeypatch.setattr(sys, "stdout", closed)
        status, _, err = run("models", "--json")
        monkeypatch.undo()

    assert (status, err) == (141, [])


def test_long_work_shows_progress_on_a_terminal(run, monkeypatch, tmp_path):
    for seed in range(3):
        write_png(tmp_path / "images" / f"{seed}.png", seed)
    (tmp_path / "images" / "bad.png").write_bytes(b"no image")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")

    status, out, err = run("compress", "images", "-o", "out", "--json")

    shown = "\n".join(err)
    assert status == 1
    assert "compressing" in shown
    assert "kompakt: images/bad.png: not an image" in shown
    assert len(json.loads(out)) == 4


def test_a_failure_names_the_flag_that_helps_and_no_field_of_a_message():
    wrong_size = WrongSizeError("got 9x9x1; or ask for it to be fitted", reason="WRONG_SIZE")
    of_a_file = WrongSizeError("a WEBP file holds at most 16383 pixels", reason="WRONG_SIZE")
    level = InvalidRequestError("options.level must be 0", reason="INVALID_FIELD")

    assert describe(wrong_size) == "got 9x9x1; or ask for it to be fitted (--fit)"
    assert describe(of_a_file) == "a WEBP file holds at most 16383 pixels"
    assert describe(level) == "level must be 0"


@pytest.mark.parametrize(
    ("message", "flag"),
    [
        ("got 8x8x1; or ask for it to be fitted", "--fit"),
        ("transparent pixels: flatten it, or ask for a fit, such as contain", "--fit"),
        ("is the current version: unload the model with all its versions", "--all"),
    ],
)
def test_what_a_message_proposes_is_named_as_a_flag(message, flag):
    assert describe(InvalidRequestError(message)) == f"{message} ({flag})"
