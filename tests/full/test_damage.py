"""100,000 flips and cuts of frames: typed errors, or the right picture."""

import numpy as np
import pytest

from kompakt_codec.codec import Codec, crop_pixels
from kompakt_codec.errors import StreamError
from kompakt_codec.frame import Frame, Profile, parse_frame
from kompakt_codec.grouping import by_shape
from kompakt_codec.images import Pixels
from kompakt_codec.quality import Demand, compress_with
from kompakt_service.settings import DEFAULT_MODELS
from tests.support import real_digits, several_domains

COUNT = 50_000
"""In each of the two profiles."""
MODELS = ["mnist-context", "photos-hyperprior"]


def sound_frames(codec: Codec, profile: Profile) -> list[bytes]:
    """Frames of every level, and classical ones of several kinds."""
    channels = codec.header.channels
    digits = list(real_digits(13 * 4).repeat(channels, axis=3))
    others = [image.repeat(channels, axis=2) for image in several_domains()]
    levels = [i % len(codec.levels) for i in range(len(digits))]
    frames = codec.compress(digits, level=levels, profile=profile)
    for demand in (Demand(lossless=True), Demand(max_mse=1e-4)):
        made = compress_with(codec, [*others, *digits[:4]], demand, profile=profile)
        frames += [one.stream for one in made]
    return frames


def damaged(frame: bytes, rng: np.random.Generator) -> bytes:
    """One to three bits flipped, or the end cut off, or both."""
    data = bytearray(frame)
    if rng.random() < 0.3:
        data = data[: rng.integers(0, len(data))]
    if data and (len(data) == len(frame) or rng.random() < 0.3):
        for bit in rng.integers(0, 8 * len(data), rng.integers(1, 4)):
            data[bit // 8] ^= 1 << (bit % 8)
    return bytes(data)


def decoded(codec: Codec, data: list[bytes], profile: Profile) -> list[Pixels | StreamError]:
    """What a service would answer to each."""
    answers: dict[int, Pixels | StreamError] = {}
    frames: dict[int, Frame] = {}
    for i, one in enumerate(data):
        try:
            frame = parse_frame(one, profile)
            if frame.is_classical:
                answers[i] = codec.decode_classical(frame)[0]
            else:
                frames[i] = frame
        except StreamError as exc:
            answers[i] = exc
    made = dict(zip(frames, codec.decode(list(frames.values())), strict=True))
    answers |= {i: item for i, item in made.items() if isinstance(item, StreamError)}
    sound = [i for i, item in made.items() if not isinstance(item, StreamError)]
    for group in by_shape([made[i] for i in sound]):
        members = [sound[k] for k in group]
        levels = [frames[i].mode for i in members]
        pictures = codec.synthesise(np.stack([made[i] for i in members]), levels)
        for i, picture in zip(members, pictures, strict=True):
            answers[i] = crop_pixels(picture, codec.size_of(frames[i]))
    return [answers[i] for i in range(len(data))]


@pytest.mark.full
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("profile", Profile)
@pytest.mark.parametrize("model", MODELS)
def test_every_damaged_frame_is_an_error_or_the_right_picture(model, profile):
    codec = Codec.load(DEFAULT_MODELS / f"{model}.safetensors", effort=0)
    frames = sound_frames(codec, profile)
    pictures = decoded(codec, frames, profile)
    rng = np.random.default_rng(0)
    chosen = rng.integers(0, len(frames), COUNT)
    through, same = 0, 0
    for start in range(0, COUNT, 2000):
        part = chosen[start : start + 2000]
        answers = decoded(codec, [damaged(frames[i], rng) for i in part], profile)
        for i, answer in zip(part, answers, strict=True):
            if isinstance(answer, StreamError):
                continue
            is_right = answer.shape == pictures[i].shape and (
                np.abs(answer.astype(int) - pictures[i]).max() <= 1
            )
            same += int(is_right)
            through += int(not is_right)
    print(f"right pictures: {same}")
    print(f"wrong pictures: {through}")
    # The file's check has 32 bits, the embedded frame's 8.
    assert through <= (0 if profile is Profile.FILE else COUNT / 256 * 1.2)
