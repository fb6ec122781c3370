import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from kompakt_training.tiles import MAX_TILES_AN_IMAGE, crops, cut, default_side, share

SIZES = st.lists(st.tuples(st.integers(8, 60), st.integers(8, 60)), min_size=1, max_size=30)


@pytest.mark.parametrize(
    ("sizes", "side"),
    [
        ([(481, 321), (321, 481)], 64),
        ([(100, 47), (60, 60)], 40),
        ([(8, 9), (100, 100)], 8),
        ([(7, 100), (100, 20)], 16),
        ([(3, 3), (4, 7)], 8),
        ([(15000, 20)] + 98 * [(96, 96)], 16),
        ([(15000, 20)] + 99 * [(96, 96)], 64),
    ],
)
def test_the_default_side_is_the_shortest_of_nearly_all_rounded_down(sizes, side):
    assert default_side(sizes) == side


@given(SIZES, st.integers(1, 500))
def test_shares_keep_to_the_limit_and_to_what_images_hold(sizes, limit):
    counts = share(sizes, (8, 8), limit=limit)

    held = [(height // 8) * (width // 8) for height, width in sizes]
    assert sum(counts) <= limit
    assert all(count <= most for count, most in zip(counts, held, strict=True))
    if sum(held) <= limit:
        assert counts == held
    else:  # one tile more of each image would be too many
        assert sum(min(max(counts) + 1, most) for most in held) > limit


@pytest.mark.parametrize("limit", [0, 1, 2])
def test_beyond_the_limit_only_images_that_hold_a_tile_give_one(limit):
    sizes = [(4, 9), (8, 8), (7, 7), (16, 8), (9, 9)]

    counts = share(sizes, (8, 8), limit=limit)

    assert counts == [0, int(limit >= 1), 0, int(limit >= 2), 0]


def test_an_image_gives_no_more_than_its_most():
    assert share([(800, 800), (8, 16)], (8, 8), limit=60_000) == [MAX_TILES_AN_IMAGE, 2]


def test_the_grid_lies_in_the_middle_and_tiles_do_not_overlap():
    image = np.arange(11 * 14, dtype=np.uint8).reshape(11, 14, 1)

    tiles = cut(image, (4, 5), count=4, seed=[0, 0])

    assert [tile[0, 0, 0] for tile in tiles] == [image[y, x, 0] for y in (1, 5) for x in (2, 7)]
    assert np.array_equal(tiles[3], image[5:9, 7:12])


def test_some_of_the_tiles_are_drawn_by_the_seed():
    image = np.arange(240, dtype=np.uint8).reshape(15, 16, 1)

    first, again, other = (cut(image, (1, 1), count=20, seed=[0, s]).ravel() for s in (1, 1, 2))

    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    assert (np.diff(first.astype(int)) > 0).all()


@given(st.integers(0, 2**32 - 1), st.tuples(st.integers(4, 9), st.integers(4, 9)))
def test_crops_are_parts_of_their_images(seed, size):
    torch.manual_seed(seed)
    images = torch.arange(5 * 2 * size[0] * size[1]).reshape(5, 2, *size)

    made = crops(images, (4, 4), mirror=False)

    assert made.shape == (5, 2, 4, 4)
    for image, crop in zip(images, made, strict=True):
        windows = image.unfold(1, 4, 1).unfold(2, 4, 1).movedim(0, 2).reshape(-1, 2, 4, 4)
        assert any(torch.equal(window, crop) for window in windows)


def test_mirrored_crops_are_of_both_kinds():
    torch.manual_seed(0)
    images = torch.arange(16).reshape(1, 1, 4, 4).expand(50, -1, -1, -1)

    made = crops(images, (4, 4), mirror=True)

    kinds = {crop.flatten()[0].item() for crop in made}
    assert kinds == {0, 3}
    assert all(torch.equal(c if c[0, 0, 0] == 0 else c.flip(2), images[0]) for c in made)
