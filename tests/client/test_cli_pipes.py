"""Output of `kompakt compress` and `kompakt decompress` to a pipe, as a shell makes one."""

import os
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


@pytest.mark.parametrize("rows", ["--json", "--csv"])
def test_rows_and_a_file_do_not_both_go_to_standard_output(run, fake, monkeypatch, tmp_path, rows):
    write_png(tmp_path / "a.png")
    monkeypatch.setattr("os.fstat", lambda _: (tmp_path / "a.kpt").stat())
    (tmp_path / "a.kpt").touch()

    status, out, err = run("compress", "a.png", "-o", "a.kpt", rows)

    assert (status, out, fake.calls) == (2, "", [])
    assert err == ["kompakt: standard output cannot hold a file and rows: choose another output"]
