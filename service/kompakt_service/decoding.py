"""Frames to pixels: a model's by its entropy decoder and the device, classical ones at once."""

from collections.abc import Sequence

import numpy as np

from kompakt_codec.codec import Codec, crop_pixels
from kompakt_codec.frame import Frame
from kompakt_codec.images import Pixels
from kompakt_service.batcher import Operation
from kompakt_service.call import Call, attempt
from kompakt_service.device import Device
from kompakt_service.errors import ItemError

Decoded = tuple[Pixels, str]
"""Pixels (height, width, channels), and the name of the codec that the payload was of."""


def decode_frames(
    codec: Codec, frames: Sequence[Frame], device: Device, call: Call
) -> list[Decoded | ItemError]:
    """Decode the frames that name one model; each one's pixels or error, in order."""
    done: dict[int, Decoded | ItemError] = {}
    of_model = [i for i, frame in enumerate(frames) if not frame.is_classical]
    classical = [i for i, frame in enumerate(frames) if frame.is_classical]
    with call.timings.measure("entropy"):
        pixels = attempt(lambda i: codec.decode_classical(frames[i]), classical, call)
    done.update(zip(classical, pixels, strict=True))
    largest = max([1, *(codec.num_pixels(frames[i]) for i in of_model)])
    for part in device.batches(largest, len(of_model)):
        done |= _decode_batch(codec, {i: frames[i] for i in of_model[part]}, device, call)
    return [done[i] for i in range(len(frames))]


def _decode_batch(
    codec: Codec, frames: dict[int, Frame], device: Device, call: Call
) -> dict[int, Decoded | ItemError]:
    call.check()
    done: dict[int, Decoded | ItemError] = {}
    with call.timings.measure("entropy"):
        decoded = dict(zip(frames, codec.decode(list(frames.values())), strict=True))
    symbols = {i: item for i, item in decoded.items() if isinstance(item, np.ndarray)}
    done.update((i, item) for i, item in decoded.items() if not isinstance(item, np.ndarray))
    levels = [frames[i].mode for i in symbols]
    images = device.transform(codec, Operation.SYNTHESISE, list(symbols.values()), levels, call)
    for i, full in zip(symbols, images, strict=True):
        done[i] = crop_pixels(full, codec.size_of(frames[i])), codec.header.name
    return done
