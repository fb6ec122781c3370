import pytest

from kompakt_codec.files import write_whole


def test_a_file_is_replaced_whole(tmp_path):
    for data in (b"first", b"second"):
        write_whole(tmp_path / "file", data)

    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"file": b"second"}


def test_a_failed_write_leaves_nothing_beside_what_was_there(tmp_path):
    (tmp_path / "table/old").mkdir(parents=True)

    with pytest.raises(OSError, match="table"):
        write_whole(tmp_path / "table", b"new")

    assert [path.name for path in tmp_path.iterdir()] == ["table"]


def test_a_write_that_fails_anyhow_tells_its_own_error(tmp_path):
    (tmp_path / "table.partial/old").mkdir(parents=True)

    with pytest.raises(IsADirectoryError, match=r"table\.partial"):
        write_whole(tmp_path / "table", b"new")
