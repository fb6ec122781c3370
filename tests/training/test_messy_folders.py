"""Folders of images with files, folders and links that cannot be read."""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kompakt_training import folder as folder_module
from kompakt_training.bench_data import load_bench_images
from kompakt_training.data import load_dataset
from kompakt_training.errors import TrainingError
from kompakt_training.run_files import files_below
from tests.training.helpers import digits, train, write_pngs

UNREADABLE = Path("/proc/self/mem")
"""A file that opens, and cannot be read at its start."""


@pytest.fixture
def folder(tmp_path):
    """Forty digits, and between them a file that cannot be read."""
    write_pngs(tmp_path / "tiles", digits(40))
    (tmp_path / "tiles/0020a.png").symlink_to(UNREADABLE)
    return tmp_path / "tiles"


def test_a_file_that_cannot_be_read_is_skipped_and_told(folder, capsys):
    assert train(f"folder:{folder}", "--out", str(folder.parent / "run")) == 0

    words = "1 other files skipped, the first: 0020a.png: cannot be read: Input/output error"
    assert words in capsys.readouterr().out


def test_a_benchmark_skips_a_file_that_cannot_be_read(folder):
    [note] = load_bench_images(str(folder)).notes

    assert note == "1 files skipped, the first: 0020a.png: cannot be read: Input/output error"


@pytest.mark.parametrize(
    ("image", "why"),
    [
        (Image.new("RGBA", (8, 8)), "the image has transparent pixels: flatten it"),
        (Image.new("I;16", (8, 8)), "more than 8 bits a channel: convert the image to 8 bits"),
    ],
)
def test_no_fit_is_advised_which_only_the_service_has(folder, image, why):
    image.save(folder / "0019a.png")

    assert load_dataset(f"folder:{folder}").skip_reason == f"0019a.png: {why}"


def test_links_to_folders_are_told(folder):
    alone = load_dataset(f"folder:{folder}")
    write_pngs(folder.parent / "more", digits(9))
    (folder / "0").symlink_to(folder.parent / "more")
    (folder / "loop").symlink_to(folder)

    images = load_dataset(f"folder:{folder}")

    assert images.sha256 == alone.sha256
    assert images.num_skipped == alone.num_skipped + 2
    assert images.skip_reason == "0: a link to a folder, which is not followed"


def test_a_folder_that_cannot_be_read_is_told(folder, monkeypatch):
    write_pngs(folder / "secret", digits(1))
    scandir = os.scandir

    def refuse(path):
        if Path(path).name == "secret":
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)

    reason = load_dataset(f"folder:{folder}").skip_reason
    assert reason == "secret: cannot be read: Permission denied"


def test_files_are_in_the_order_of_their_paths_parts(tmp_path):
    names = ["A", "a/b/c", "a/z", "a-b/y", "a.png", "b"]
    for name in names[::-1]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()

    paths = files_below(tmp_path).paths

    assert [str(path.relative_to(tmp_path)) for path in paths] == names


@pytest.mark.parametrize("pixels", [digits(1)[0, :5], np.zeros((8, 8, 3), np.uint8)])
def test_an_image_that_changes_while_it_is_read_is_named(folder, monkeypatch, pixels):
    split = folder_module._split

    def change(is_kept):
        write_pngs(folder, np.stack([pixels] * 40))
        return split(is_kept)

    monkeypatch.setattr(folder_module, "_split", change)

    with pytest.raises(TrainingError, match=r"00\d\d\.png has changed since it was first read"):
        load_dataset(f"folder:{folder}")
