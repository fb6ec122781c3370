"""What results can do by themselves."""

import dataclasses
import os
import threading

import numpy as np
import pytest

from kompakt_client import Decompressed, Failure, KompaktError
from kompakt_client._files import write_file
from tests.client.test_inputs import COMPRESSED

RAW = Decompressed(
    data=b"\1\2\3\4\5\6", format="raw", height=2, width=3, channels=1, model="m", codec="m"
)
PNG = dataclasses.replace(RAW, data=b"a png file", format="png")


def test_pixels_are_an_array_that_shares_the_bytes():
    array = RAW.to_numpy()

    assert array.tolist() == [[[1], [2], [3]], [[4], [5], [6]]]
    assert array.dtype == np.uint8
    assert not array.flags.writeable


def test_raw_pixels_are_not_a_file(tmp_path):
    with pytest.raises(ValueError, match='format="png"'):
        RAW.save(tmp_path / "image.png")


def test_files_are_saved(tmp_path):
    assert PNG.save(tmp_path / "image.png").read_bytes() == b"a png file"
    assert COMPRESSED.save(str(tmp_path / "image.kpt")).read_bytes() == b"stream"


def test_results_are_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        COMPRESSED.model = "other"


def test_results_show_no_bytes():
    assert "stream" not in repr(COMPRESSED)
    assert "a png file" not in repr(PNG)


def test_results_with_arrays_can_be_compared():
    one, other = (dataclasses.replace(COMPRESSED, latents=np.zeros(3)) for _ in range(2))

    assert one == other
    assert one != dataclasses.replace(one, data=b"other")


def test_unwrap_returns_the_result_or_raises_the_error():
    assert COMPRESSED.unwrap() is COMPRESSED
    assert PNG.unwrap() is PNG
    with pytest.raises(KompaktError, match="broken"):
        Failure(index=3, error=KompaktError("broken")).unwrap()


def test_a_file_is_replaced_whole(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"old and long")

    write_file(path, b"new")

    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]


def test_nothing_is_left_of_a_file_that_cannot_be_written(tmp_path, monkeypatch):
    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pathlib.Path.replace", fail)

    with pytest.raises(OSError, match="No space"):
        write_file(tmp_path / "file", b"data")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["missing/file", "taken/file", f"{'long' * 64}"])
def test_a_file_that_cannot_be_written_is_named_as_it_was_given(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "taken").write_bytes(b"")

    with pytest.raises(OSError, match=rf"\] [\w ]+: '{name}'$"):
        write_file(name, b"data")
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]


def test_a_link_stays_a_link(tmp_path):
    (tmp_path / "real").write_bytes(b"old")
    (tmp_path / "link").symlink_to(tmp_path / "real")

    write_file(tmp_path / "link", b"new")

    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_bytes() == b"new"


def test_a_pipe_is_written_to_and_not_replaced(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    read = []
    reader = threading.Thread(target=lambda: read.append(pipe.read_bytes()))
    reader.start()

    write_file(pipe, b"data")
    reader.join()

    assert read == [b"data"]
    assert pipe.is_fifo()
