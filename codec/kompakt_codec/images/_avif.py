"""The sizes in an AVIF file, told before a decoder takes memory for them.

A file says its size in several places (ISO/IEC 14496-12 and 23008-12): in the property ``ispe`` or
the head of a track, in the data of a grid, and in the AV1 data. libavif believes each in its turn,
and makes one fit the other only when it has the pixels. So all are held to the limits.
"""

import struct
from collections.abc import Iterator

from kompakt_codec.errors import ImageTooLargeError, InvalidImageError
from kompakt_codec.images._pixels import ImageLimits
from kompakt_codec.images.av1 import (
    DELIMITER,
    FRAME,
    FRAME_HEADER,
    FRAME_HEADER_AGAIN,
    METADATA,
    PADDING,
    SEQUENCE_HEADER,
    SequenceHeader,
    read_sequence_header,
    read_units,
)

_MOST_STEPS = 1 << 17
"""Boxes, items, extents, chunks and AV1 units that are looked at."""
_MOST_ITEMS = 1 << 13
"""libavif looks for each item among all."""
_MOST_PICTURES = 16
"""How many times the limit the headers and frames may have together: layers, alpha, previews."""
_FRAMES = (FRAME, FRAME_HEADER, FRAME_HEADER_AGAIN)
_BEFORE_FRAMES = (DELIMITER, SEQUENCE_HEADER, METADATA, PADDING)
_MATRIX_END = 52
"""Bytes of a track's head from its duration to its size."""


def check_avif(data: bytes, limits: ImageLimits) -> None:
    """Raise ImageTooLargeError if any picture in an AVIF file is over a limit.

    InvalidImageError is for boxes that are cut, contradict each other or are too many; what else
    is malformed is left to the decoder. The time is bounded by the file's length.
    """
    try:
        _Check(memoryview(data), limits).run()
    except (struct.error, IndexError) as error:
        raise InvalidImageError("the AVIF file cannot be read: a box of it is cut") from error


class _Numbers:
    """Numbers of some bytes one after the other."""

    def __init__(self, data: memoryview) -> None:
        self._data = data
        self._position = 0

    def take(self, count: int) -> int:
        end = self._position + count
        if end > len(self._data):
            raise struct.error("out of data")
        value = int.from_bytes(self._data[self._position : end], "big")
        self._position = end
        return value


_Extents = tuple[tuple[int, int], ...]


class _Check:
    def __init__(self, file: memoryview, limits: ImageLimits) -> None:
        self._file = file
        self._limits = limits
        self._steps = 0
        self._pixels = 0
        self._bytes = 0

    def run(self) -> None:
        for meta in self._inside(self._file, b"meta"):
            self._check_items(meta[4:])
        for track in self._inside(self._file, b"moov", b"trak"):
            self._check_track(track)

    def _step(self) -> None:
        self._steps += 1
        if self._steps > _MOST_STEPS:
            raise InvalidImageError("the AVIF file cannot be read: it has too many parts")

    def _boxes(self, data: memoryview) -> Iterator[tuple[bytes, memoryview]]:
        """Name and content of each box, up to one that is cut, where libavif stops too."""
        position = 0
        while position + 8 <= len(data):
            self._step()
            size, name = struct.unpack_from(">I4s", data, position)
            start = position + 8
            if size == 1:
                (size,) = struct.unpack_from(">Q", data, start)
                start += 8
            if name == b"uuid":
                start += 16
            end = position + size if size else len(data)
            if not start <= end <= len(data):
                return
            yield name, data[start:end]
            position = end

    def _inside(self, data: memoryview, *path: bytes) -> Iterator[memoryview]:
        """The content of all boxes at a path of names."""
        for name, content in self._boxes(data):
            if name == path[0]:
                if path[1:]:
                    yield from self._inside(content, *path[1:])
                else:
                    yield content

    def _check_items(self, meta: memoryview) -> None:
        for size in self._inside(meta, b"iprp", b"ipco", b"ispe"):
            width, height = struct.unpack_from(">II", size, 4)
            self._limits.check_size(height, width)
        pictures, grids = self._kinds(meta)
        stored = b"".join(self._inside(meta, b"idat"))
        known: dict[tuple[bool, _Extents], int] = {}
        for places in self._inside(meta, b"iloc"):
            for item, in_meta, extents in self._items(_Numbers(places)):
                source = memoryview(stored) if in_meta else self._file
                if item in grids:
                    self._check_grid(self._joined(source, extents))
                if item not in pictures:
                    continue
                # Encoders store equal tiles once.
                key = in_meta, extents
                before = self._pixels
                if key in known:
                    self._add(known[key])
                else:
                    self._check_picture(self._joined(source, extents))
                    known[key] = self._pixels - before

    def _kinds(self, meta: memoryview) -> tuple[set[int], set[int]]:
        """The numbers of the items that are AV1 pictures, and grids of them."""
        pictures: set[int] = set()
        grids: set[int] = set()
        for info in self._inside(meta, b"iinf"):
            for entry in self._inside(info[6 if info[0] == 0 else 8 :], b"infe"):
                numbers = _Numbers(entry)
                version = numbers.take(4) >> 24
                item = numbers.take(2 if version == 2 else 4)
                numbers.take(2)
                kind = numbers.take(4).to_bytes(4, "big")
                if kind == b"av01":
                    pictures.add(item)
                elif kind == b"grid":
                    grids.add(item)
        return pictures, grids

    def _items(self, numbers: _Numbers) -> Iterator[tuple[int, bool, _Extents]]:
        """Number, whether its bytes are in the box ``idat``, and extents of each item."""
        version = numbers.take(4) >> 24
        widths = numbers.take(2)
        offset, length, base, index = (widths >> shift & 0xF for shift in (12, 8, 4, 0))
        seen: set[int] = set()
        for _ in range(numbers.take(2 if version < 2 else 4)):
            self._step()
            item = numbers.take(2 if version < 2 else 4)
            if item in seen or len(seen) == _MOST_ITEMS:
                raise InvalidImageError("the AVIF file cannot be read: an item twice, or too many")
            seen.add(item)
            in_meta = version > 0 and numbers.take(2) & 0xF == 1
            numbers.take(2)
            start = numbers.take(base)
            extents = []
            for _ in range(numbers.take(2)):
                self._step()
                numbers.take(index if version > 0 else 0)
                extents.append((start + numbers.take(offset), numbers.take(length)))
            yield item, in_meta, tuple(extents)

    def _joined(self, source: memoryview, extents: _Extents) -> memoryview:
        parts = [source[start : start + length] for start, length in extents]
        self._bytes += sum(map(len, parts))
        if self._bytes > 2 * len(self._file):
            raise InvalidImageError("the AVIF file cannot be read: its items overlap")
        return parts[0] if len(parts) == 1 else memoryview(b"".join(parts))

    def _check_grid(self, data: memoryview) -> None:
        numbers = _Numbers(data)
        width = 4 if numbers.take(4) >> 16 & 1 else 2
        columns, rows = numbers.take(width), numbers.take(width)
        self._limits.check_size(rows, columns)

    def _check_track(self, track: memoryview) -> None:
        """Of its samples only the first is ever decoded; other chunks' heads are looked at."""
        for head in self._inside(track, b"tkhd"):
            start = 4 + (32 if head[0] == 1 else 20) + _MATRIX_END
            width, height = struct.unpack_from(">II", head, start)
            self._limits.check_size(height >> 16, width >> 16)
        for table in self._inside(track, b"mdia", b"minf", b"stbl"):
            kinds = [
                name for box in self._inside(table, b"stsd") for name, _ in self._boxes(box[8:])
            ]
            if b"av01" not in kinds:
                continue
            sizes = list(self._inside(table, b"stsz"))
            if len(sizes) > 1:
                raise InvalidImageError("the AVIF file cannot be read: sizes of samples twice")
            for index, start in enumerate(self._chunks(table)):
                if index == 0 and sizes:
                    self._check_picture(self._file[start : start + _first_size(sizes[0])])
                else:
                    self._check_picture(self._file[start:], only_head=True)

    def _chunks(self, table: memoryview) -> Iterator[int]:
        """Where each chunk of samples begins."""
        for name, content in self._boxes(table):
            if name in (b"stco", b"co64"):
                numbers = _Numbers(content)
                numbers.take(4)
                for _ in range(numbers.take(4)):
                    self._step()
                    yield numbers.take(4 if name == b"stco" else 8)

    def _check_picture(self, obus: memoryview, *, only_head: bool = False) -> None:
        sequence: SequenceHeader | None = None
        for kind, data in read_units(obus):
            self._step()
            if only_head and kind not in _BEFORE_FRAMES:
                return
            if kind == SEQUENCE_HEADER:
                sequence = read_sequence_header(data)
                height, width = sequence.size
            elif kind not in _FRAMES:
                continue
            elif sequence is None:  # a decoder of several tiles would take the one before's
                raise InvalidImageError("the AVIF file cannot be read: a frame has no header")
            else:
                height, width = sequence.frame_size(data)
            self._limits.check_size(height, width)
            if not only_head:
                self._add(height * width)

    def _add(self, pixels: int) -> None:
        self._pixels += pixels
        if self._pixels > _MOST_PICTURES * self._limits.max_pixels:
            raise ImageTooLargeError(
                f"the AVIF file's pictures are together over {_MOST_PICTURES} times "
                f"the limit of {self._limits.max_pixels} pixels"
            )


def _first_size(sizes: memoryview) -> int:
    """Bytes of the first sample, by the box ``stsz``."""
    of_all, count = struct.unpack_from(">II", sizes, 4)
    if of_all or not count:
        return int(of_all)
    (first,) = struct.unpack_from(">I", sizes, 12)
    return int(first)
