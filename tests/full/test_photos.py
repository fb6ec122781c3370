"""The model for photographs on Kodak's, which no training saw: exact, and never beaten by WebP."""

import itertools
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from threadpoolctl import threadpool_limits

from kompakt_codec.baselines import encode_at_mse
from kompakt_codec.codec import Codec
from kompakt_codec.frame import Profile, parse_frame
from kompakt_codec.metrics import mse, psnr_db
from kompakt_codec.quality import Demand, Made, compress_with
from kompakt_service.settings import DEFAULT_MODELS

pytestmark = [pytest.mark.full, pytest.mark.timeout(3600)]


@pytest.fixture(scope="module")
def photos() -> list[np.ndarray]:
    """24 of 512x768 or 768x512."""
    folder = Path(os.environ.get("KOMPAKT_DATA_DIR", "")) / "kodak"
    paths = sorted(path for path in folder.glob("*") if path.suffix.lower() in (".png", ".webp"))
    if not paths:
        pytest.skip("KOMPAKT_DATA_DIR has no folder kodak of Kodak's photographs")
    return [np.asarray(Image.open(path).convert("RGB")) for path in paths]


@pytest.fixture(scope="module")
def codec() -> Codec:
    return Codec.load(DEFAULT_MODELS / "photos.safetensors")


@pytest.mark.parametrize("level", [3, 8, 8.375])
def test_threads_batches_and_tiles_change_no_symbol_and_hardly_a_pixel(photos, codec, level):
    frames = [parse_frame(one, Profile.FILE) for one in codec.compress(photos, level=level)]
    alone = [codec.decode([frame])[0] for frame in frames]
    threads = torch.get_num_threads()
    for count in (1, 2):
        torch.set_num_threads(count)
        with threadpool_limits(count):  # of BLAS, which multiplies the integers
            for batch in (1, 8):
                parts = range(0, len(frames), batch)
                decoded = [one for i in parts for one in codec.decode(frames[i : i + batch])]
                assert all(np.array_equal(*pair) for pair in zip(decoded, alone, strict=True))
    torch.set_num_threads(threads)
    tiled = Codec.load(DEFAULT_MODELS / "photos.safetensors")
    tiled._quantised.largest_tile = tiled._quantised._part = 16
    wide = [one for one in alone if one.shape[1] < one.shape[2]][:8]
    batch_of_8 = codec.synthesise(np.stack(wide), [level] * len(wide)).astype(int)
    for symbols, in_batch in zip(wide, batch_of_8, strict=True):
        whole = codec.synthesise(symbols[None], [level])[0].astype(int)
        parts = tiled.synthesise(symbols[None], [level])[0].astype(int)
        assert np.abs(whole - in_batch).max() <= 1
        assert np.abs(whole - parts).max() <= 1


def test_no_photo_takes_more_than_webp_at_equal_error(photos, codec):
    pieces = [
        photo[top : top + 256, left : left + 256]
        for photo in photos
        for top in range(0, photo.shape[0] - 255, 128)
        for left in range(0, photo.shape[1] - 255, 128)
    ]
    images = [*photos, *pieces[::2]][:200]
    names = []
    for image, level in zip(images, itertools.cycle((4, 6, 8, 10, 12)), strict=False):
        [made] = compress_with(codec, [image], Demand(level=level), reconstruct=True)
        assert isinstance(made, Made)
        webp = encode_at_mse("webp", image, mse(made.reconstruction, image))
        assert webp is None or len(made.stream) <= len(webp.data) + 1
        names.append(made.codec)
    print(f"{names.count('photos')} of {len(images)} by the model")
    assert len(images) == 200


@pytest.mark.parametrize("level_of", ["min_psnr_db", "max_bytes"])
def test_a_demanded_quality_holds_for_every_photo(photos, codec, level_of):
    values = {"min_psnr_db": (28, 33, 38), "max_bytes": (8_000, 20_000, 60_000)}[level_of]
    names, total = [], 0
    for value in values:
        demand = Demand(**{level_of: value})
        for photo in photos:
            [made] = compress_with(codec, [photo], demand)
            assert isinstance(made, Made)
            [decoded] = codec.decompress([made.stream])
            assert isinstance(decoded, np.ndarray)
            error = mse(photo, decoded)
            assert made.mse == pytest.approx(error, rel=1e-3)
            if level_of == "max_bytes":
                assert len(made.stream) <= value
            else:
                assert psnr_db(error) >= value
            names.append(made.codec)
            total += len(made.stream)
    print(f"{level_of}: {names.count('photos')} of {len(names)} by the model, {total:,} bytes")
