import numpy as np
import pytest

from kompakt_training.data import load_dataset
from kompakt_training.errors import TrainingError
from tests.training.helpers import digits, write_pngs


def as_set(images):
    return {image.tobytes() for image in images}


def test_images_are_split_into_disjoint_parts_by_their_names_alone(tmp_path):
    write_pngs(tmp_path / "mine", digits(100))

    images = load_dataset(f"folder:{tmp_path / 'mine'}", licence="CC0")
    again = load_dataset(f"folder:{tmp_path / 'mine'}")

    parts = [images.train, images.val, images.test]
    assert [len(part) for part in parts] == [90, 5, 5]
    assert as_set(np.concatenate(parts)) == as_set(digits(100))
    assert again.sha256 == images.sha256
    assert (images.name, images.licence) == ("folder:mine", "CC0")
    assert again.licence == "not stated"


def test_folders_are_searched_to_their_depth_and_other_files_counted(tmp_path):
    write_pngs(tmp_path / "a" / "b", digits(20))
    (tmp_path / "a" / "notes.txt").write_text("no image")
    (tmp_path / "a" / "cut.png").write_bytes((tmp_path / "a/b/0000.png").read_bytes()[:40])

    images = load_dataset(f"folder:{tmp_path}")

    assert images.num_skipped == 2
    assert [len(part) for part in (images.train, images.val, images.test)] == [18, 1, 1]


def test_rgb_images_are_accepted(tmp_path):
    write_pngs(tmp_path, np.repeat(digits(20), 3, axis=3) // np.array([1, 2, 3], np.uint8))

    assert load_dataset(f"folder:{tmp_path}").spec.channels == 3


def test_mixed_sizes_are_listed_with_their_counts(tmp_path):
    write_pngs(tmp_path / "a", digits(25))
    write_pngs(tmp_path / "b", digits(2)[:, :7])

    with pytest.raises(TrainingError, match=r"2 sizes.*: 8x8x1 \(25\), 7x8x1 \(2\); all must be"):
        load_dataset(f"folder:{tmp_path}")


def test_too_few_images_say_what_was_skipped(tmp_path):
    write_pngs(tmp_path, digits(19))
    (tmp_path / "notes.txt").write_text("no image")

    with pytest.raises(
        TrainingError, match=r"holds 19 images \(1 files skipped, the first: notes\.txt: not an"
    ):
        load_dataset(f"folder:{tmp_path}")


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(TrainingError, match="none is not a folder"):
        load_dataset(f"folder:{tmp_path / 'none'}")


def test_images_too_small_for_any_model_are_refused(tmp_path):
    write_pngs(tmp_path, digits(20)[:, :3, :3])

    with pytest.raises(TrainingError, match="height and width must be 4 to 512, not 3x3"):
        load_dataset(f"folder:{tmp_path}")


def test_a_folder_beyond_the_memory_allowed_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("kompakt_training.folder.MAX_FOLDER_BYTES", 1000)
    write_pngs(tmp_path, digits(20))

    with pytest.raises(TrainingError, match="take over 1000 bytes"):
        load_dataset(f"folder:{tmp_path}")
