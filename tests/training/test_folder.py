import numpy as np
import pytest

from kompakt_codec.models import ImageSpec
from kompakt_training.data import load_dataset
from kompakt_training.errors import TrainingError
from tests.training.helpers import digits, write_pngs


def as_set(images):
    return {image.tobytes() for image in images}


def parts_of(images):
    return [images.train, images.val, images.test]


def flat(count, height, width):
    """Grey images of one value each, their index."""
    values = np.arange(count, dtype=np.uint8)[:, None, None, None]
    return np.broadcast_to(values, (count, height, width, 1))


def test_images_are_split_into_disjoint_parts_by_their_names_alone(tmp_path):
    write_pngs(tmp_path / "mine", digits(100))

    images = load_dataset(f"folder:{tmp_path / 'mine'}", licence="CC0")
    again = load_dataset(f"folder:{tmp_path / 'mine'}")

    parts = parts_of(images)
    assert [len(part) for part in parts] == [90, 5, 5]
    assert as_set(np.concatenate(parts)) == as_set(digits(100))
    assert again.sha256 == images.sha256
    assert (images.name, images.licence) == ("folder:mine", "CC0")
    assert again.licence == "not stated"


def test_test_images_that_are_trained_on_as_copies_are_counted(tmp_path):
    write_pngs(tmp_path / "distinct", flat(40, 8, 8))
    write_pngs(tmp_path / "copies", np.concatenate(2 * [flat(20, 8, 8)]))
    write_pngs(tmp_path / "same", np.zeros((40, 8, 8, 1), np.uint8))

    distinct, copies, same = (
        load_dataset(f"folder:{tmp_path / name}") for name in ("distinct", "copies", "same")
    )

    assert distinct.num_seen == 0
    assert copies.num_seen == len(as_set(copies.test) & as_set(copies.train))
    assert same.num_seen == len(same.test) == 2


def test_tiles_of_copies_are_counted_as_the_test_images_are(tmp_path):
    write_pngs(tmp_path, np.zeros((40, 32, 32, 1), np.uint8))

    images = load_dataset(f"folder:{tmp_path}", crop=16)

    assert images.num_seen == len(images.test) == 8


def test_folders_are_searched_to_their_depth_and_other_files_counted(tmp_path):
    write_pngs(tmp_path / "a" / "b", digits(20))
    (tmp_path / "a" / "notes.txt").write_text("no image")
    (tmp_path / "a" / "cut.png").write_bytes((tmp_path / "a/b/0000.png").read_bytes()[:40])

    images = load_dataset(f"folder:{tmp_path}")

    assert images.num_skipped == 2
    assert [len(part) for part in parts_of(images)] == [18, 1, 1]


def test_rgb_images_are_accepted(tmp_path):
    write_pngs(tmp_path, np.repeat(digits(20), 3, axis=3) // np.array([1, 2, 3], np.uint8))

    assert load_dataset(f"folder:{tmp_path}").spec.channels == 3


def test_mixed_channels_become_rgb(tmp_path):
    grey = digits(30)
    write_pngs(tmp_path / "a", grey[:29])
    write_pngs(tmp_path / "b", grey[29:].repeat(3, axis=3) // np.array([1, 2, 3], np.uint8))

    images = load_dataset(f"folder:{tmp_path}")

    everything = np.concatenate([images.train, images.val, images.test])
    assert images.spec == ImageSpec(height=8, width=8, channels=3)
    assert images.crop is None
    assert as_set(grey[:29].repeat(3, axis=3)) < as_set(everything)
    assert len(everything) == 30


def test_mixed_sizes_are_cut_into_tiles_by_default(tmp_path):
    write_pngs(tmp_path / "a", flat(20, 40, 50))
    write_pngs(tmp_path / "b", flat(10, 30, 100))
    write_pngs(tmp_path / "c", flat(2, 7, 300))

    images = load_dataset(f"folder:{tmp_path}")

    assert (images.crop, images.num_sources, images.num_small) == (24, 30, 2)
    assert images.spec == ImageSpec(height=24, width=24, channels=1)
    assert sum(len(part) for part in parts_of(images)) == 20 * 2 + 10 * 4


def test_images_larger_than_any_model_are_cut_too(tmp_path):
    write_pngs(tmp_path, flat(20, 520, 64))

    assert load_dataset(f"folder:{tmp_path}").crop == 64


def test_tiles_of_an_image_stay_in_one_part(tmp_path):
    write_pngs(tmp_path, flat(60, 16, 24))

    images = load_dataset(f"folder:{tmp_path}", crop=8)

    sources = [set(part.ravel().tolist()) for part in parts_of(images)]
    assert [len(part) for part in parts_of(images)] == [54 * 6, 3 * 6, 3 * 6]
    assert [len(values) for values in sources] == [54, 3, 3]
    assert set.union(*sources) == set(range(60))


def test_large_images_give_pieces_of_four_tiles_to_train_on(tmp_path):
    write_pngs(tmp_path, flat(20, 32, 48))

    images = load_dataset(f"folder:{tmp_path}", crop=8)

    assert images.spec == ImageSpec(height=8, width=8, channels=1)
    assert images.train.shape == (18 * 6, 16, 16, 1)
    assert images.train_tiles.shape == (18 * 24, 8, 8, 1)
    assert images.test.shape == (24, 8, 8, 1)


def test_a_pieces_tiles_are_its_quarters(tmp_path):
    rng = np.random.default_rng(0)
    write_pngs(tmp_path, rng.integers(0, 256, (20, 32, 32, 1), np.uint8))

    images = load_dataset(f"folder:{tmp_path}", crop=8)

    quarters = [
        images.train[3, top : top + 8, left : left + 8] for top in (0, 8) for left in (0, 8)
    ]
    assert np.array_equal(images.train_tiles[12:16], quarters)


def test_tiles_beyond_the_limit_are_drawn_the_same_each_time(tmp_path, monkeypatch):
    monkeypatch.setattr("kompakt_training.folder.MAX_TRAIN_TILES", 50)
    monkeypatch.setattr("kompakt_training.folder.MAX_HELD_OUT_TILES", 3)
    write_pngs(tmp_path, np.resize(digits(20 * 12), (20, 24, 32, 1)))

    images, again = (load_dataset(f"folder:{tmp_path}", crop=8) for _ in range(2))

    assert [len(part) for part in parts_of(images)] == [36, 3, 3]
    assert again.sha256 == images.sha256


def test_no_more_tiles_are_cut_than_the_memory_allowed_holds(tmp_path):
    write_pngs(tmp_path, flat(20, 32, 32))

    images = load_dataset(f"folder:{tmp_path}", crop=8, memory_gib=20_000 / 2**30)
    whole = load_dataset(f"folder:{tmp_path}", crop=8)

    assert 15_000 < sum(part.nbytes for part in parts_of(images)) <= 20_000
    assert images.num_train_tiles + images.num_left_out == whole.num_train_tiles == 18 * 16
    assert whole.num_left_out == 0


def test_images_smaller_than_the_crop_are_counted(tmp_path):
    write_pngs(tmp_path / "a", flat(19, 16, 16))
    write_pngs(tmp_path / "b", flat(3, 16, 15))

    with pytest.raises(TrainingError, match=r"holds 19 images \(3 smaller than 16x16\): at least"):
        load_dataset(f"folder:{tmp_path}", crop=16)


def write_of_sizes(folder, sides):
    """Square images of one value each, their index."""
    for index, side in enumerate(sides):
        write_pngs(folder / f"{index:03}", np.full((1, side, side, 1), index, np.uint8))


def values_of(images):
    return [set(part.ravel().tolist()) for part in parts_of(images)]


def test_no_crop_moves_an_image_to_another_part(tmp_path):
    small = set(range(0, 60, 7))
    write_of_sizes(tmp_path, [12 if index in small else 20 for index in range(60)])

    every = values_of(load_dataset(f"folder:{tmp_path}", crop=8))
    large = values_of(load_dataset(f"folder:{tmp_path}", crop=16))

    assert set.union(*every) == set(range(60))
    assert large == [values - small for values in every]


def test_a_set_that_keeps_all_images_never_changes(tmp_path, monkeypatch):
    monkeypatch.setattr("kompakt_training.folder.MAX_TRAIN_TILES", 100)
    pixels = np.random.default_rng(0).integers(0, 256, (40, 24, 32, 3), np.uint8)
    write_pngs(tmp_path / "a", pixels[:30])
    write_pngs(tmp_path / "b", pixels[30:, :20])

    images = load_dataset(f"folder:{tmp_path}", crop=8)

    assert images.sha256 == "02bdca1b59440529e91e0eb4ba916c284d838f20fa7b29a3ee6c3c27d49e3c7d"


@pytest.mark.parametrize(("part", "name"), [(1, "validation"), (2, "test")])
def test_a_part_of_nothing_but_small_images_is_refused(tmp_path, part, name):
    write_of_sizes(tmp_path, [16] * 30)
    lost = values_of(load_dataset(f"folder:{tmp_path}", crop=8))[part]
    write_of_sizes(tmp_path, [15 if index in lost else 16 for index in range(30)])

    with pytest.raises(
        TrainingError,
        match=rf"holds 28 images \(2 smaller than 16x16\): none is left in the {name} part",
    ):
        load_dataset(f"folder:{tmp_path}", crop=16)


def test_too_few_images_say_what_was_skipped(tmp_path):
    write_pngs(tmp_path, digits(19))
    (tmp_path / "notes.txt").write_text("no image")

    with pytest.raises(
        TrainingError, match=r"holds 19 images \(1 files skipped, the first: notes\.txt: not an"
    ):
        load_dataset(f"folder:{tmp_path}")


def test_who_waits_is_told_of_each_image_that_is_read(tmp_path):
    write_pngs(tmp_path, flat(40, 8, 8))
    (tmp_path / "notes.txt").touch()
    seen = []

    def track(items):
        for item in items:
            yield item
            seen.append(item)

    images = load_dataset(f"folder:{tmp_path}", track=track)

    assert len(seen) == 41 + 40
    assert images.sha256 == load_dataset(f"folder:{tmp_path}").sha256


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(TrainingError, match="none is not a folder"):
        load_dataset(f"folder:{tmp_path / 'none'}")


def test_images_too_small_for_any_model_are_refused(tmp_path):
    write_pngs(tmp_path, digits(20)[:, :3, :3])

    with pytest.raises(TrainingError, match="height and width must be 4 to 512, not 3x3"):
        load_dataset(f"folder:{tmp_path}")


def test_whole_images_beyond_the_memory_allowed_are_refused(tmp_path):
    write_pngs(tmp_path, digits(20))

    with pytest.raises(
        TrainingError,
        match=r"take 1\.19e-06 GiB of memory, more than 9.99e-07: allow it \(--image-memory GIB\)",
    ):
        load_dataset(f"folder:{tmp_path}", memory_gib=1e-6)


@pytest.mark.parametrize("crop", [None, 4])
def test_subfolders_are_classes(tmp_path, crop):
    for value, name in ((10, "low"), (200, "high"), (90, "middle")):
        write_pngs(tmp_path / name, np.full((30, 8, 8, 1), value, np.uint8))

    images = load_dataset(f"folder:{tmp_path}", crop=crop)

    assert images.labels.names == ("high", "low", "middle")
    values = np.array([200, 10, 90])
    labels = images.labels
    for part, numbers in zip(
        parts_of(images), (labels.train, labels.val, labels.test), strict=True
    ):
        assert np.array_equal(part[:, 0, 0, 0], values[numbers])


def test_labels_are_those_of_the_images_that_are_left(tmp_path):
    for value, name, sides in ((10, "low", (9, 7)), (90, "no", (7,)), (200, "top", (7, 8))):
        for side in sides:
            write_pngs(tmp_path / name / str(side), np.full((30, side, side, 1), value, np.uint8))

    images = load_dataset(f"folder:{tmp_path}", crop=8)

    labels = images.labels
    assert labels.names == ("low", "top")
    assert images.num_small == 90
    for part, numbers in zip(
        parts_of(images), (labels.train, labels.val, labels.test), strict=True
    ):
        assert np.array_equal(part[:, 0, 0, 0], np.array([10, 200])[numbers])


def test_images_outside_of_the_subfolders_leave_no_classes(tmp_path):
    for folder in ("", "a", "b"):
        write_pngs(tmp_path / folder, digits(20))
    assert load_dataset(f"folder:{tmp_path}").labels.names == ()
