"""The range coder of docs/format.md, for many streams side by side (Martin 1979).

A 64-bit state over 32-bit words and 24-bit probabilities. ``put``, ``peek`` and ``skip`` are for
the compiled loops of the entropy paths; arrays of states go in and out of them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

from kompakt_codec.jit import kernel

PRECISION = 24
_PRECISION = np.uint64(PRECISION)
_WORD = np.uint64(32)
_LEAST = np.uint64(1 << 32)
_FULL = np.uint64((1 << 64) - 1)
_ZERO, _ONE, _BYTE = np.uint64(0), np.uint64(1), np.uint64(8)

States = npt.NDArray[np.uint64]
"""(N, 3) or (3,): low, range and words written; or distance from low, range and words read."""
Words = npt.NDArray[np.uint32]


@kernel
def put(state: States, words: Words, left: np.uint64, frequency: np.uint64) -> None:
    """Code a symbol of one stream: its cumulative frequency and its frequency, of 2**24."""
    scale = state[1] >> _PRECISION
    low = state[0] + scale * left
    count = state[2]
    if low < state[0]:
        _carry(words, count)
    span = scale * frequency
    if span < _LEAST:
        words[count] = np.uint32(low >> _WORD)
        state[2] = count + _ONE
        low <<= _WORD
        span <<= _WORD
    state[0], state[1] = low, span


@kernel
def peek(state: States) -> np.uint64:
    """Where the next symbol of one stream lies, below 2**24; from there on: in none."""
    target: np.uint64 = state[0] // (state[1] >> _PRECISION)
    return target


@kernel
def skip(state: States, words: Words, left: np.uint64, frequency: np.uint64) -> None:
    """Step over the symbol that ``peek`` has told."""
    scale = state[1] >> _PRECISION
    distance = state[0] - scale * left
    span = scale * frequency
    if span < _LEAST:
        count = state[2]
        distance <<= _WORD
        if count < np.uint64(len(words)):  # zeros follow a payload without end
            distance |= np.uint64(words[count])
        state[2] = count + _ONE
        span <<= _WORD
    state[0], state[1] = distance, span


@kernel
def find(
    state: States, words: Words, cumulative: npt.NDArray[np.uint32], start: int, length: int
) -> int:
    """Step over the next symbol; where its cumulative frequency stands, or -1 for none.

    That is in the ``length`` + 1 numbers from ``start`` on.
    """
    target = peek(state)
    low, high = start, start + length
    if target >= cumulative[high]:
        return -1
    while high - low > 1:
        middle = (low + high) // 2
        if target >= cumulative[middle]:
            low = middle
        else:
            high = middle
    left = np.uint64(cumulative[low])
    skip(state, words, left, np.uint64(cumulative[low + 1]) - left)
    return low


@kernel
def put_all(
    state: States,
    words: Words,
    lefts: npt.NDArray[np.uint32],
    frequencies: npt.NDArray[np.uint32],
) -> None:
    """``put`` for symbols of one stream one after another, without a round trip to memory each."""
    low, span, count = state[0], state[1], np.int64(state[2])
    for i in range(len(lefts)):
        scale = span >> _PRECISION
        added = low + scale * np.uint64(lefts[i])
        if added < low:
            _carry(words, np.uint64(count))
        low, span = added, scale * np.uint64(frequencies[i])
        if span < _LEAST:
            words[count] = np.uint32(low >> _WORD)
            count += 1
            low <<= _WORD
            span <<= _WORD
    state[0], state[1], state[2] = low, span, count


@kernel
def find_all(
    state: States,
    words: Words,
    cumulative: npt.NDArray[np.uint32],
    likely: int,
    reach: int,
    found: npt.NDArray[np.int32],
) -> bool:
    """Fill ``found`` with symbols of one stream and one table; False if one lies in none.

    The table stands around ``likely``, where the cumulative frequency of the symbol 0 is, from
    -reach to reach.
    """
    distance, span, count = state[0], state[1], np.int64(state[2])
    for i in range(len(found)):
        scale = span >> _PRECISION
        left = scale * np.uint64(cumulative[likely])
        right = scale * np.uint64(cumulative[likely + 1])
        symbol = 0
        if not left <= distance < right:
            symbol, left, right = _search(distance, scale, cumulative, likely, reach)
            if distance >= right:
                return False
        found[i] = symbol
        distance -= left
        span = right - left
        if span < _LEAST:
            distance <<= _WORD
            if count < len(words):  # zeros follow a payload without end
                distance |= np.uint64(words[count])
            count += 1
            span <<= _WORD
    state[0], state[1], state[2] = distance, span, count
    return True


@kernel
def _search(
    distance: np.uint64,
    scale: np.uint64,
    cumulative: npt.NDArray[np.uint32],
    likely: int,
    reach: int,
) -> tuple[int, np.uint64, np.uint64]:
    """The last symbol that begins at a distance or before, and where it begins and ends."""
    low, high = -reach, reach
    if distance < scale * np.uint64(cumulative[likely]):
        high = -1
    else:
        low = 1
    while low < high:
        middle = (low + high + 1) >> 1
        if distance >= scale * np.uint64(cumulative[likely + middle]):
            low = middle
        else:
            high = middle - 1
    left = scale * np.uint64(cumulative[likely + low])
    return low, left, scale * np.uint64(cumulative[likely + low + 1])


@kernel
def _carry(words: Words, count: np.uint64) -> None:
    position = np.int64(count) - 1
    words[position] += np.uint32(1)
    while words[position] == 0:
        position -= 1
        words[position] += np.uint32(1)


@dataclass(frozen=True, slots=True)
class RangeEncoders:
    """N streams in the making; each has room for some number of words."""

    states: States
    words: Words

    @classmethod
    def start(cls, count: int, most_bits: int) -> Self:
        """Streams that will hold no more than so many bits each."""
        states = np.zeros((count, 3), np.uint64)
        states[:, 1] = _FULL
        # Untouched pages take no memory.
        return cls(states, np.empty((count, most_bits // 32 + 2), np.uint32))

    def finish(self) -> list[bytes]:
        """End every stream with the shortest payload of its interval ("Termination")."""
        out = np.empty((len(self.states), 4 * self.words.shape[1] + 8), np.uint8)
        ends = _finish(self.states, self.words, out)
        return [row[:end].tobytes() for row, end in zip(out, ends.tolist(), strict=True)]


@kernel
def _finish(states: States, words: Words, out: npt.NDArray[np.uint8]) -> npt.NDArray[np.int64]:
    ends = np.zeros(len(states), np.int64)
    for i in range(len(states)):
        tail, num_bytes = _shortest(states[i, 0], states[i, 1])
        if num_bytes < 0:
            _carry(words[i], states[i, 2])
        end = np.int64(states[i, 2])
        for k in range(end):
            for j in range(4):
                out[i, 4 * k + j] = np.uint8((words[i, k] >> np.uint32(24 - 8 * j)) & 255)
        end *= 4
        for j in range(num_bytes):
            out[i, end] = np.uint8(
                (tail >> (np.uint64(56) - _BYTE * np.uint64(j))) & np.uint64(255)
            )
            end += 1
        while end and out[i, end - 1] == 0:
            end -= 1
        ends[i] = end
    return ends


@kernel
def _shortest(low: np.uint64, span: np.uint64) -> tuple[np.uint64, int]:
    """The value in [low, low + span) of the fewest leading bytes, and how many.

    -1 stands for 2**64: no byte, but a carry.
    """
    last = low + span - _ONE
    if low == _ZERO:
        return low, 0
    if last < low:
        return _ZERO, -1
    for num_bytes in range(1, 8):
        rest = (_ONE << (np.uint64(64) - _BYTE * np.uint64(num_bytes))) - _ONE
        value = (low + rest) & ~rest
        if low <= value <= last:  # a sum beyond 2**64 is not above low
            return value, num_bytes
    return low, 8


@dataclass(frozen=True, slots=True)
class RangeDecoders:
    """N streams that are read."""

    states: States
    words: Words

    @classmethod
    def open(cls, payloads: Sequence[bytes]) -> Self:
        """At the start of every payload."""
        size = max([8, *(-len(payload) % 4 + len(payload) for payload in payloads)])
        data = b"".join([payload.ljust(size, b"\0") for payload in payloads])
        words = np.frombuffer(data, ">u4").reshape(len(payloads), -1).astype(np.uint32)
        states = np.empty((len(payloads), 3), np.uint64)
        states[:, 0] = words[:, 0].astype(np.uint64) << _WORD | words[:, 1]
        states[:, 1] = _FULL
        states[:, 2] = 2
        return cls(states, words)
