"""What sets compress, decompress and evaluate apart, as values.

All three send items in requests and get one result for each, in one call or
over streams; the ways in which that happens are in `_flows` and `_many`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import Any, Generic, TypeVar

from google.protobuf.message import Message

from kompakt.v1 import compression_pb2 as pb
from kompakt_client._choices import (
    BASELINES,
    FALLBACKS,
    FITS,
    FORMATS,
    PROFILES,
    choose,
    demand,
)
from kompakt_client._convert import to_compressed, to_decompressed, to_image_evaluation
from kompakt_client._inputs import ImageInput, StreamInput, to_image, to_stream
from kompakt_client._measurements import ImageEvaluation
from kompakt_client._messages import make_message
from kompakt_client._names import BaselineName, Fallback, Fit, Format, Profile, counted
from kompakt_client._packing import Chunk, Item, Limits
from kompakt_client._results import Compressed, Decompressed, Failure
from kompakt_client._status import broken_answer, error_of_item

R_co = TypeVar("R_co", covariant=True)

_MIB = 1 << 20


@dataclass(frozen=True, kw_only=True, slots=True)
class Operation(Generic[R_co]):
    """One of the three, with its options."""

    method: str
    """The RPC for one request; with "Stream" before it, the one for a stream."""
    items_field: str
    """The field of its requests that holds the items."""
    prepare: Callable[[Any], Item]
    """Turns an input into an item."""
    convert: Callable[[Any, Any, int], R_co]
    """Turns a message's result, the message and the item's index into a result."""
    stream_limits: Limits
    """What goes into one message of a stream."""
    batch_limits: Limits
    """What goes into one request of a batch."""
    pools: bool = False
    """Whether the server keeps state over a whole stream, and ends it with a summary."""
    is_slow: bool = False
    """Whether the server tries many settings for each item."""
    label: str | None = None
    """A label to be looked up in the model, whose level `options` then gets."""
    options: Any = None
    """The options of all items, where they are the same for all."""

    def request(self, chunk: Chunk) -> Message:
        """Return the request that asks for a chunk of items at once."""
        return self._message("", options=chunk.options, **{self.items_field: chunk.messages})

    def opening(self, chunk: Chunk) -> Message:
        """Return the first message of a stream, which holds a chunk too."""
        return self._message("Stream", options=chunk.options, **{self.items_field: chunk.messages})

    def following(self, chunk: Chunk) -> Message:
        """Return a message of a stream that holds a chunk of items."""
        return self._message("Stream", **{self.items_field: chunk.messages})

    def _message(self, prefix: str, **values: Any) -> Message:
        message: Message = getattr(pb, f"{prefix}{self.method}Request")(**values)
        return message

    def results(self, response: Any, chunk: Chunk) -> list[R_co | Failure]:
        """Return the results in a message, one for each item of the chunk it answers."""
        if len(response.results) != len(chunk.messages):
            given, due = len(response.results), len(chunk)
            raise broken_answer(f"{counted(given, 'result')} for {counted(due, 'item')}")
        return [
            Failure(index=index, error=error_of_item(result.status))
            if result.status.code
            else self._read(result, response, index)
            for index, result in zip(chunk.indices, response.results, strict=True)
        ]

    def _read(self, result: Any, response: Any, index: int) -> R_co:
        try:
            return self.convert(result, response, index)
        except (ArithmeticError, LookupError, ValueError) as error:
            message = f"the result of item {index} cannot be read: {error}"
            raise broken_answer(message) from error


def compress(
    *,
    model: str | None = None,
    profile: Profile = "file",
    fit: Fit = "refuse",
    level: float | None = None,
    label: str | None = None,
    min_psnr_db: float | None = None,
    max_mse: float | None = None,
    max_bytes: int | None = None,
    lossless: bool = False,
    fallback: Fallback = "best",
    keep_metadata: bool = False,
    latents: bool = False,
    reconstruction: bool = False,
) -> Operation[Compressed]:
    """Return the operation that compresses images."""
    quality = demand(
        level=level,
        label=label,
        min_psnr_db=min_psnr_db,
        max_mse=max_mse,
        max_bytes=max_bytes,
        lossless=lossless or None,
    )
    quality.pop("label", None)
    if not isinstance(label, str | None):
        raise TypeError(f"label must be a string, not {label!r}")
    if keep_metadata and profile == "embedded":
        raise ValueError(
            "keep_metadata is for the profile 'file': an embedded stream has no place for it"
        )
    options = make_message(
        pb.CompressOptions,
        model=model or "",
        profile=choose(PROFILES, "profile", profile),
        fit=choose(FITS, "fit", fit),
        return_latents=latents,
        return_reconstruction=reconstruction,
        fallback=choose(FALLBACKS, "fallback", fallback),
        keep_metadata=keep_metadata,
        **quality,
    )
    return Operation(
        method="Compress",
        items_field="images",
        prepare=partial(_image_item, options),
        convert=partial(to_compressed, profile),
        batch_limits=Limits(max_items=256, max_bytes=8 * _MIB),
        stream_limits=Limits(max_items=64, max_bytes=_MIB),
        is_slow=not quality.keys() <= {"level", "level_eighths"} or fallback == "thorough",
        label=label,
        options=options,
    )


def decompress(
    *,
    model: str | None = None,
    profile: Profile | None = None,
    format: Format | None = None,  # noqa: A002
) -> Operation[Decompressed]:
    """Return the operation that decompresses streams.

    Its requests are small, because pixels are many times larger than streams.
    """
    chosen = format or "raw"
    options_for = _decompress_options(model, profile, choose(FORMATS, "format", chosen))
    return Operation(
        method="Decompress",
        items_field="streams",
        prepare=lambda source: Item.of(to_stream(source), options_for(source)),
        convert=partial(to_decompressed, chosen),
        batch_limits=Limits(max_items=256, max_bytes=_MIB // 2),
        stream_limits=Limits(max_items=64, max_bytes=_MIB // 4),
    )


def evaluate(
    *,
    models: Sequence[str] | None = None,
    baselines: Sequence[BaselineName] | None = None,
    profile: Profile = "file",
    fit: Fit = "refuse",
    level: float | None = None,
    reconstructions: bool = False,
) -> Operation[ImageEvaluation]:
    """Return the operation that measures images, one in a message.

    One takes long, what many models decoded of it may fill a message, and a run that pools is not
    begun again with smaller ones.
    """
    options = make_message(
        pb.EvaluateOptions,
        models=[models] if isinstance(models, str) else models or (),
        baselines=[choose(BASELINES, "baseline", name) for name in baselines or ()],
        skip_baselines=baselines is not None and not baselines,
        fit=choose(FITS, "fit", fit),
        profile=choose(PROFILES, "profile", profile),
        return_reconstructions=reconstructions,
        **demand(level=level),
    )
    limits = Limits(max_items=1, max_bytes=_MIB)
    return Operation(
        method="Evaluate",
        items_field="images",
        prepare=partial(_image_item, options),
        convert=lambda result, _, index: to_image_evaluation(result, index),
        stream_limits=limits,
        batch_limits=limits,
        pools=True,
        is_slow=True,
    )


def prepare_nothing(source: object) -> Item:
    """Refuse any input: the preparation of a call that takes none."""
    raise TypeError(f"this call takes no inputs, not {source!r}")


def _image_item(options: Message, source: ImageInput) -> Item:
    return Item.of(to_image(source), options)


def _decompress_options(
    model: str | None, profile: Profile | None, image_format: pb.ImageFormat.ValueType
) -> Callable[[StreamInput], pb.DecompressOptions]:
    """Return what finds a stream's options: what was given, else what a `Compressed` knows.

    A file names its own model, so that only an embedded stream's is sent.
    """

    @cache
    def options_of(chosen: Profile, maker: str) -> pb.DecompressOptions:
        return make_message(
            pb.DecompressOptions,
            model=model or maker,
            profile=choose(PROFILES, "profile", chosen),
            format=image_format,
        )

    def options_for(source: StreamInput) -> pb.DecompressOptions:
        known = source if isinstance(source, Compressed) else None
        chosen = profile or (known.profile if known else "file")
        return options_of(chosen, _version_of(known) if known and chosen == "embedded" else "")

    return options_for


def _version_of(made: Compressed) -> str:
    """Return NAME@VERSION, since another version may answer to the name by now."""
    return f"{made.model}@{made.fingerprint[:8]}"
