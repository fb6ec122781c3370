"""The same symbols from 10,000 streams, whatever decodes them."""

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from kompakt_codec.codec import Codec
from kompakt_codec.frame import Profile, parse_frame
from kompakt_service.settings import DEFAULT_MODELS
from tests.full.streams import make_streams

MODELS = sorted(path.stem for path in DEFAULT_MODELS.glob("*.safetensors"))


@pytest.mark.full
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("model", MODELS)
def test_threads_and_batches_change_no_symbol(test_digits, model):
    codec = Codec.load(DEFAULT_MODELS / f"{model}.safetensors", effort=0)
    streams, symbols = make_streams(codec, test_digits)
    frames = [parse_frame(stream, Profile.FILE) for stream in streams]
    for count in (1, 2):
        with threadpool_limits(count):  # of BLAS, which multiplies the integers
            for batch in (1, 7, 64):
                parts = range(0, len(frames), batch)
                decoded = [one for i in parts for one in codec.decode(frames[i : i + batch])]
                for one, expected in zip(decoded, symbols, strict=True):
                    assert np.array_equal(one, expected)
