"""Output of `kompakt compress` and `kompakt decompress` to a pipe, as a shell makes one."""

import os
import socket
import subprocess
import sys

import pytest

from tests.client.conftest import pixels, write_png
from tests.client.fake_codec import pixels_in


@pytest.fixture
def pipe():
    """Return the descriptor of a pipe's end to write to, and what reads all that was written."""
    reader, writer = os.pipe()
    with os.fdopen(reader, "rb") as source, os.fdopen(writer, "wb") as sink:

        def read():
            sink.close()
            return source.read()

        yield writer, read


def test_a_stream_goes_into_a_pipe(run, pipe, tmp_path):
    write_png(tmp_path / "a.png")
    writer, read = pipe

    status, out, err = run("compress", "a.png", "-o", f"/dev/fd/{writer}")

    assert (status, err) == (0, [])
    assert out == f"/dev/fd/{writer}: 797 bytes, 8.133 bits per pixel\n"
    assert pixels_in(read()) == pixels(0).tobytes()


def test_an_image_goes_into_a_pipe(run, pipe, tmp_path):
    run("compress", write_png(tmp_path / "a.png"), "-o", "a.kpt")
    writer, read = pipe

    assert run("decompress", "a.kpt", "-o", f"/dev/fd/{writer}")[0] == 0

    assert read().startswith(b"\x89PNG")


def command(running, *arguments):
    return [sys.executable, "-m", "kompakt_client", *arguments, "--target", running.target]


@pytest.mark.parametrize("name", ["-", "/dev/stdout"])
@pytest.mark.parametrize("way", ["pipe", "file"])
def test_what_goes_to_standard_output_is_not_mixed_with_words(running, tmp_path, way, name):
    write_png(tmp_path / "a.png")
    (tmp_path / "out").write_bytes(b"before")
    with (tmp_path / "out").open("ab") as file:
        done = subprocess.run(
            command(running, "compress", "a.png", "-o", name),
            stdout=subprocess.PIPE if way == "pipe" else file,
            stderr=subprocess.PIPE,
            cwd=tmp_path,
        )

    data = b"before" + done.stdout if way == "pipe" else (tmp_path / "out").read_bytes()
    assert data.startswith(b"before")
    assert pixels_in(data.removeprefix(b"before")) == pixels(0).tobytes()
    assert done.stderr == b"/dev/stdout: 797 bytes, 8.133 bits per pixel\n"
    assert done.returncode == 0


def test_an_image_goes_there_and_back_through_pipes(running, tmp_path):
    image = write_png(tmp_path / "a.png").read_bytes()
    there, back = (
        command(running, name, "-", "--output", "-") for name in ("compress", "decompress")
    )

    stream = subprocess.run(there, input=image, capture_output=True, check=True).stdout
    done = subprocess.run(back, input=stream, capture_output=True, check=True)

    assert pixels_in(stream) == pixels(0).tobytes()
    assert done.stdout.startswith(b"\x89PNG")


@pytest.fixture
def sockets(tmp_path):
    """Both ends of a socket; into the first an image was written to its end."""
    image = write_png(tmp_path / "a.png").read_bytes()
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.sendall(image)
        ours.shutdown(socket.SHUT_WR)
        yield ours, theirs


def test_an_image_goes_through_sockets(running, sockets):
    ours, theirs = sockets
    subprocess.run(command(running, "compress", "-", "-o", "-"), stdin=theirs, stdout=theirs)
    theirs.close()
    stream = ours.makefile("rb").read()

    assert pixels_in(stream) == pixels(0).tobytes()


def test_standard_input_is_read_from_where_it_stands(running, tmp_path):
    image = write_png(tmp_path / "a.png").read_bytes()
    (tmp_path / "a").write_bytes(b"before" + image)
    with (tmp_path / "a").open("rb", buffering=0) as file:
        file.read(6)
        done = subprocess.run(
            command(running, "compress", "-", "-o", "-"), stdin=file, stdout=subprocess.PIPE
        )

    assert pixels_in(done.stdout) == pixels(0).tobytes()


def test_standard_input_is_evaluated_from_a_socket(running, sockets):
    subprocess.run(command(running, "evaluate", "-"), stdin=sockets[1], check=True)


def test_a_file_that_standard_output_is_cannot_be_what_standard_input_is(running, tmp_path):
    image = write_png(tmp_path / "a.png").read_bytes()
    with (tmp_path / "a.png").open("r+b") as file:
        done = subprocess.run(
            command(running, "compress", "-", "-o", "-"),
            stdin=file,
            stdout=file,
            stderr=subprocess.PIPE,
        )

    assert (done.returncode, (tmp_path / "a.png").read_bytes()) == (2, image)
    assert b"would be overwritten" in done.stderr


@pytest.mark.parametrize(
    "printed",
    [
        ["compress", "-o", "out/", "--csv"],
        ["compress", "-o", os.fsdecode(b"\xff.kpt")],
        ["evaluate", "--per-image"],
    ],
)
def test_names_that_are_no_text_are_printed_as_they_are(running, tmp_path, printed):
    name = os.fsdecode(b"\xff.png")
    write_png(tmp_path / name)
    done = subprocess.run(
        command(running, *printed, name),
        capture_output=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONIOENCODING": "utf-8:strict"},  # as of a terminal for people
    )

    assert (done.returncode, done.stderr) == (0, b"")
    assert b"\xff." in done.stdout


def test_names_are_printed_as_the_environment_asks(running, tmp_path):
    write_png(tmp_path / "\u00e9.png")
    done = subprocess.run(
        command(running, "compress", "\u00e9.png", "-o", "\u00e9.kpt"),
        capture_output=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONIOENCODING": "ascii:backslashreplace"},
    )

    assert (done.returncode, done.stderr) == (0, b"")
    assert rb"\xe9.kpt" in done.stdout


@pytest.mark.parametrize("is_unbuffered", ["", "1"])
def test_standard_output_without_room_fails(running, tmp_path, is_unbuffered):
    write_png(tmp_path / "a.png", height=64, width=64)
    limited = ["bash", "-c", 'ulimit -f 1 && exec "$@"', "bash"]  # KiB
    with (tmp_path / "out").open("wb") as file:
        done = subprocess.run(
            limited + command(running, "compress", "a.png", "-o", "-"),
            stdout=file,
            stderr=subprocess.PIPE,
            cwd=tmp_path,
            env={**os.environ, "PYTHONUNBUFFERED": is_unbuffered},
        )

    assert (done.returncode, done.stderr) == (1, b"kompakt: /dev/stdout: File too large\n")


def test_a_reader_of_a_stream_that_goes_away_is_no_failure_to_tell(running, tmp_path):
    write_png(tmp_path / "a.png")
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "wb") as closed:
        done = subprocess.run(
            command(running, "compress", "a.png", "-o", "-"),
            stdout=closed,
            stderr=subprocess.PIPE,
            cwd=tmp_path,
        )

    assert (done.returncode, done.stderr) == (141, b"")


def without_stdout(running, tmp_path, *arguments):
    write_png(tmp_path / "a.png")
    closed = ["bash", "-c", 'exec "$@" >&-', "bash", *command(running, "compress", "a.png")]
    return subprocess.run([*closed, *arguments], stderr=subprocess.PIPE, cwd=tmp_path)


def test_a_closed_standard_output_is_none_to_write_to(running, tmp_path):
    done = without_stdout(running, tmp_path, "-o", "-")
    assert done.returncode == 2
    assert b"argument -o/--output: standard output is closed" in done.stderr


def test_a_closed_standard_output_is_no_failure(running, tmp_path):
    done = without_stdout(running, tmp_path, "-o", "a.kpt")
    assert (done.returncode, done.stderr) == (0, b"")
    assert pixels_in((tmp_path / "a.kpt").read_bytes()) == pixels(0).tobytes()


@pytest.mark.parametrize("rows", ["--json", "--csv"])
def test_rows_and_a_file_do_not_both_go_to_standard_output(run, fake, monkeypatch, tmp_path, rows):
    write_png(tmp_path / "a.png")
    monkeypatch.setattr("os.fstat", lambda _: (tmp_path / "a.kpt").stat())
    (tmp_path / "a.kpt").touch()

    status, out, err = run("compress", "a.png", "-o", "a.kpt", rows)

    assert (status, out, fake.calls) == (2, "", [])
    assert err == ["kompakt: standard output cannot hold a file and rows: choose another output"]
