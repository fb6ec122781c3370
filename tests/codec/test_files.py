import errno
import os
import threading
from pathlib import Path

import pytest

from kompakt_codec import files
from kompakt_codec.files import write_whole


def test_a_file_is_replaced_whole(tmp_path):
    for data in (b"first", b"second"):
        write_whole(tmp_path / "file", data)

    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"file": b"second"}


def test_a_link_stays_one(tmp_path):
    (tmp_path / "link").symlink_to("folder/file")
    (tmp_path / "folder").mkdir()

    for data in (b"first", b"second"):
        write_whole(tmp_path / "link", data)

    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "folder/file").read_bytes() == b"second"
    assert len(list(tmp_path.rglob("*"))) == 3


def test_a_pipe_is_written_to(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    read: list[bytes] = []
    reader = threading.Thread(target=lambda: read.append(pipe.read_bytes()), daemon=True)
    reader.start()

    write_whole(pipe, b"picture")

    reader.join(timeout=60)
    assert read == [b"picture"]
    assert pipe.is_fifo()


def test_a_failed_write_leaves_nothing_beside_what_was_there(tmp_path):
    (tmp_path / "table/old").mkdir(parents=True)

    with pytest.raises(OSError, match="table"):
        write_whole(tmp_path / "table", b"new")

    assert [path.name for path in tmp_path.iterdir()] == ["table"]


def test_a_write_that_fails_anyhow_tells_its_own_error(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "token_hex", lambda _: "0")
    (tmp_path / "table.0.partial/old").mkdir(parents=True)

    with pytest.raises(IsADirectoryError, match=r"table\.0\.partial"):
        write_whole(tmp_path / "table", b"new")


def test_what_a_full_disk_leaves_no_room_for_is_named(tmp_path, monkeypatch):
    def fail(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_bytes", fail)
    with pytest.raises(OSError, match=r"No space left on device: .*table"):
        write_whole(tmp_path / "table", b"new")


def test_of_two_writers_at_once_neither_disturbs_the_other(tmp_path, monkeypatch):
    path, replace = tmp_path / "table", Path.replace

    def another_comes_first(partial, target):
        monkeypatch.setattr(Path, "replace", replace)
        write_whole(path, b"other")
        assert path.read_bytes() == b"other"
        return partial.replace(target)

    monkeypatch.setattr(Path, "replace", another_comes_first)
    write_whole(path, b"mine")

    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"table": b"mine"}
