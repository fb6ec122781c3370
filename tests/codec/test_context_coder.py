"""The context model's entropy path against the specification in integers of any size."""

from collections.abc import Sequence
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from threadpoolctl import threadpool_limits

from kompakt_codec import context_layers
from kompakt_codec.context_coder import ContextEntropy
from kompakt_codec.errors import CheckpointError, CorruptStreamError, InvalidStreamError
from kompakt_codec.integer import LOG_SCALE_LIMIT, Lookup
from kompakt_codec.models._masked import MaskedPrior

LEVELS = 3
LATENTS = 5
SHAPE = (LATENTS, 1, 1)
MAX_SYMBOLS = [4, 7, 5]
SCALAR = [False] * LEVELS
MIXED = [False, True, True]
MACHINE = [[0, 2], [5, 7], [1, 3], [6, 4], [2, 0], [4, 6], [3, 1], [7, 5]]
"""docs/format.md's table."""
quantisers = st.sampled_from([SCALAR, MIXED])


def random_entropy(
    seed: int, *, latents: int = LATENTS, units: int = 3, dependent: list[bool] = SCALAR
) -> ContextEntropy:
    rng = np.random.default_rng(seed)
    hidden, outputs = latents * units, latents * 6
    sizes = [latents, hidden, hidden, outputs]
    weights = [rng.normal(0, 2500, (o, i)).astype(np.int16) for i, o in pairwise(sizes)]
    order = np.arange(latents)
    of_hidden, of_output = order.repeat(units), order.repeat(6)
    weights[0][order[None] >= of_hidden[:, None]] = 0
    weights[1][of_hidden[None] > of_hidden[:, None]] = 0
    weights[2][of_hidden[None] > of_output[:, None]] = 0
    shifts = [rng.normal(0, 3e6, (LEVELS, o)).astype(np.int64) for o in sizes[1:]]
    shifts[0] >>= 10
    return ContextEntropy(
        latents=latents,
        max_symbols=MAX_SYMBOLS,
        dependent=dependent,
        weights=weights,
        shifts=shifts,
        lookup=Lookup.make(),
    )


def random_symbols(
    seed: int, levels: Sequence[int], latents: int = LATENTS, *, dependent: list[bool] = SCALAR
) -> np.ndarray:
    """Any symbols that the levels have."""
    rng = np.random.default_rng(seed)
    rows = []
    for level in levels:
        indices = rng.integers(-MAX_SYMBOLS[level], MAX_SYMBOLS[level] + 1, latents).tolist()
        rows.append(symbols_of(indices, level, dependent))
    return np.array(rows, np.int16).reshape(-1, latents, 1, 1)


def symbols_of(indices: list[int], level: int, dependent: list[bool]) -> list[int]:
    state, symbols = 0, []
    for index in indices:
        symbols.append(2 * index + state % 2 if any(dependent) else index)
        state = MACHINE[state][index % 2] if dependent[level] else 0
    return symbols


def reference_frequencies(entropy: ContextEntropy, y: list[int], level: int, odd: int) -> list[int]:
    """docs/format.md's frequencies of the latent after y, in Python's integers."""
    i = len(y)
    padded = y + [0] * (entropy.latents - i)
    h: list[int] = padded
    for layer, drop in ((0, 2), (1, 12)):
        sums = reference_sums(entropy, layer, h, level)
        rounded = [(s + (1 << (drop - 1))) >> drop for s in sums]
        h = [min(max(r, r >> 3), 65536) if r > -524288 else -65536 for r in rounded]
    outputs = [(s + (1 << 13)) >> 14 for s in reference_sums(entropy, 2, h, level)]
    mine = outputs[i * 6 : (i + 1) * 6]
    mixtures = [mine[k : k + 3] for k in (0, 3)]
    top = max(logit for logit, _, _ in mixtures)
    exp = entropy.lookup.exp.tolist()
    sigmoid = entropy.lookup.sigmoid.tolist()
    shares = [exp[min(top - logit, 2047) + 1024] for logit, _, _ in mixtures]
    most = MAX_SYMBOLS[level]
    length = 2 * most + 1
    cells = [0]
    for index in range(-most, most):
        mass = 0
        for share, (_, mean, log_scale) in zip(shares, mixtures, strict=True):
            inverse = exp[min(max(log_scale, -LOG_SCALE_LIMIT), LOG_SCALE_LIMIT) + 1024]
            step = (((2 * index + 1 + odd) * 128 - mean) * inverse) >> 17
            mass += share * sigmoid[min(max(step + 2048, 0), 4095)]
        cells.append((mass // sum(shares) * ((1 << 24) - length)) >> 20)
    cells.append((1 << 24) - length)
    return [b - a + 1 for a, b in pairwise(cells)]


def reference_sums(entropy: ContextEntropy, layer: int, h: list[int], level: int) -> list[int]:
    rows = entropy.weights[layer].tolist()
    shifts = entropy.shifts[layer][level].tolist()
    products = [sum(w * x for w, x in zip(row, h, strict=True)) for row in rows]
    return [p + s for p, s in zip(products, shifts, strict=True)]


def reference_payload(entropy: ContextEntropy, symbols: np.ndarray, level: int) -> bytes:
    """The shortest bytes within the interval that the frequencies leave, by docs/format.md."""
    low, span, words, state = 0, (1 << 64) - 1, 0, 0
    y: list[int] = []
    dependent = entropy.quantiser.dependent
    for symbol in symbols.ravel().tolist():
        odd = state % 2
        frequencies = reference_frequencies(entropy, y, level, odd)
        assert sum(frequencies) == 1 << 24
        k = symbol >> 1 if any(dependent) else symbol
        state = MACHINE[state][k % 2] if dependent[level] else 0
        index = k + MAX_SYMBOLS[level]
        scale = span >> 24
        low, span = low + scale * sum(frequencies[:index]), scale * frequencies[index]
        while span < 1 << 32:
            low, span, words = low << 32, span << 32, words + 1
        y.append(symbol)
    bits = 32 * (words + 2)
    for length in range(bits // 8 + 1):
        shift = bits - 8 * length
        value = -(-low >> shift)
        if value << shift < low + span:
            return value.to_bytes(length, "big").rstrip(b"\0")
    raise AssertionError


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 2**32 - 1), dependent=quantisers)
def test_payloads_are_the_specifications(seed, dependent):
    entropy = random_entropy(seed, dependent=dependent)
    symbols = random_symbols(seed, range(LEVELS), dependent=dependent)
    payloads = entropy.encode(symbols, range(LEVELS))
    assert payloads == [reference_payload(entropy, one, level) for level, one in enumerate(symbols)]


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 2**32 - 1), count=st.integers(1, 9), dependent=quantisers)
def test_symbols_come_back_whatever_the_batch(seed, count, dependent):
    entropy = random_entropy(seed, dependent=dependent)
    levels = [i % LEVELS for i in range(count)]
    symbols = random_symbols(seed, levels, dependent=dependent)
    payloads = entropy.encode(symbols, levels)
    assert np.array_equal(entropy.decode(payloads, levels, SHAPE), symbols)
    for one, payload, level in zip(symbols, payloads, levels, strict=True):
        assert entropy.encode(one[None], [level]) == [payload]
        assert np.array_equal(entropy.decode([payload], [level], SHAPE)[0], one)


def test_one_and_two_threads_decode_the_same():
    entropy = random_entropy(1, latents=40, units=16)
    symbols = random_symbols(1, [0] * 64, 40)
    payloads = entropy.encode(symbols, [0] * 64)
    for count in (1, 2):
        with threadpool_limits(count):  # of BLAS, which multiplies the integers
            decoded = entropy.decode(payloads, [0] * 64, (40, 1, 1))
            assert np.array_equal(decoded, symbols)


@settings(deadline=None, max_examples=60)
@given(payload=st.binary(max_size=30), level=st.integers(0, LEVELS - 1), dependent=quantisers)
def test_any_bytes_give_symbols_or_a_typed_error(payload, level, dependent):
    entropy = random_entropy(2, dependent=dependent)
    (result,) = entropy.decode([payload], [level], SHAPE)
    if isinstance(result, np.ndarray):
        assert result.shape == (LATENTS, 1, 1)
        symbols = result.ravel().tolist()
        indices = [n >> 1 for n in symbols] if any(dependent) else symbols
        assert max(map(abs, indices)) <= MAX_SYMBOLS[level]
        assert symbols_of(indices, level, dependent) == symbols
    else:
        assert isinstance(result, (CorruptStreamError, InvalidStreamError))


def test_a_payload_over_the_limit_fails_without_its_neighbours():
    entropy = random_entropy(3)
    symbols = random_symbols(3, [1])
    sound = entropy.encode(symbols, [1])[0]
    first, second = entropy.decode([bytes(500), sound], [0, 1], SHAPE)
    assert isinstance(first, InvalidStreamError)
    assert np.array_equal(second, symbols[0])


@pytest.mark.parametrize("dependent", [SCALAR, MIXED])
def test_a_saved_path_is_the_same_path(dependent):
    entropy = random_entropy(4, dependent=dependent)
    again = ContextEntropy.from_tensors(entropy.tensors())
    assert again.fingerprint == entropy.fingerprint
    assert again.quantiser == entropy.quantiser
    symbols = random_symbols(4, [0, 2], dependent=dependent)
    assert again.encode(symbols, [0, 2]) == entropy.encode(symbols, [0, 2])


@pytest.mark.parametrize("dependent", [SCALAR, MIXED])
def test_every_number_of_the_path_is_in_its_fingerprint(dependent):
    entropy = random_entropy(5, dependent=dependent)
    fingerprints = {entropy.fingerprint}
    tensors = entropy.tensors()
    for key in tensors:
        if key == "sizes":
            continue
        changed = {**tensors, key: tensors[key].clone()}
        flat = changed[key].view(-1)
        lower = key in ("exp", "dependent")
        flat[-1] = flat[-1] - 1 if lower else flat[-1] + (0 if key == "sigmoid" else 1)
        if key == "sigmoid":
            flat[0] = 1 - int(flat[0])
            flat[1:] = torch.maximum(flat[1:], flat[0])
        fingerprints.add(ContextEntropy.from_tensors(changed).fingerprint)
    assert len(fingerprints) == len(tensors)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("max_symbols", torch.tensor([0, 4, 4], dtype=torch.int32)),
        ("max_symbols", torch.tensor([4, 4, 4000], dtype=torch.int32)),
        ("max_symbols", torch.tensor([4], dtype=torch.int32)),
        ("sizes", torch.tensor([0, 15, 30], dtype=torch.int32)),
        ("sizes", torch.tensor([5, 14, 30], dtype=torch.int32)),
        ("sizes", torch.tensor([5, 2**30, 30], dtype=torch.int32)),
        ("sizes", torch.tensor([1, 200_000, 3], dtype=torch.int32)),
        ("weight1", torch.zeros(3, dtype=torch.int16)),
        ("shift0", torch.zeros((3, 15), dtype=torch.int32)),
        ("shift0", torch.zeros((2, 15), dtype=torch.int64)),
        ("shift2", torch.full((3, 30), 2**60)),
        ("dependent", torch.tensor([0, 0, 0], dtype=torch.int32)),
        ("dependent", torch.tensor([0, 2, 1], dtype=torch.int32)),
        ("dependent", torch.tensor([1], dtype=torch.int32)),
        ("dependent", torch.tensor([0, 1, 1], dtype=torch.int16)),
        ("exp", torch.ones(7, dtype=torch.int32)),
        ("sigmoid", torch.full((4096,), 2**21, dtype=torch.int32)),
    ],
)
def test_damaged_paths_are_refused(key, value):
    tensors = {**random_entropy(6).tensors(), key: value}
    with pytest.raises(CheckpointError):
        ContextEntropy.from_tensors(tensors)


def test_a_path_that_looks_ahead_is_refused():
    entropy = random_entropy(7)
    entropy.weights[0][0, 0] = 1
    with pytest.raises(CheckpointError, match="ahead"):
        ContextEntropy(
            latents=LATENTS,
            max_symbols=MAX_SYMBOLS,
            weights=entropy.weights,
            shifts=entropy.shifts,
            lookup=entropy.lookup,
        )


@pytest.mark.parametrize("dependent", [SCALAR, MIXED])
def test_the_training_prior_and_its_integers_agree_in_rate(dependent):
    torch.manual_seed(0)
    prior = MaskedPrior(LATENTS, 8, 2, LEVELS, step=1 + any(dependent))
    for parameter in prior.parameters():
        parameter.data.add_(0.1 * torch.randn_like(parameter))
    entropy = ContextEntropy.freeze(prior, max_symbols=[20] * LEVELS, dependent=dependent)
    symbols = random_symbols(8, [1] * 200, dependent=dependent)
    y = torch.from_numpy(symbols).float().flatten(1)
    with torch.no_grad():
        estimated = prior.bits(y, y, torch.ones(200, dtype=torch.int64)).mean().item()
    payloads = entropy.encode(symbols, [1] * 200)
    real = 8 * float(np.mean([len(p) for p in payloads]))
    assert estimated - 2 < real < estimated + 8


@pytest.mark.parametrize(("dependent", "symbol"), [(SCALAR, 8), (MIXED, 16), (MIXED, 1)])
def test_symbols_that_a_level_does_not_have_are_refused(dependent, symbol):
    entropy = random_entropy(10, dependent=dependent)
    symbols = np.zeros((1, *SHAPE), np.int16)
    symbols[0, 0] = symbol
    with pytest.raises(ValueError, match="quantiser"):
        entropy.encode(symbols, [1])


def test_lookup_tables_are_what_their_names_say():
    lookup = Lookup.make()
    assert lookup.exp[1024] == 1 << 16
    assert lookup.sigmoid[2048] == 1 << 19
    assert Fraction(int(lookup.exp[1024 + 256]), 1 << 16) == pytest.approx(np.exp(-1), rel=1e-4)


@pytest.mark.parametrize(
    ("sizes", "weights"),
    [((1, 65, 3), (0, 65 * 65, 3 * 65)), ((1, 1, 27), (0, 1, 27))],
    ids=["units", "components"],
)
def test_a_checkpoint_of_too_many_units_is_refused_before_memory_is_taken(
    monkeypatch, sizes, weights
):
    tensors = random_entropy(2).tensors()
    monkeypatch.setattr(context_layers, "_masks", None)
    tensors["sizes"] = torch.tensor(sizes, dtype=torch.int32)
    for index, count in enumerate(weights):
        tensors[f"weight{index}"] = torch.zeros(count, dtype=torch.int16)
    with pytest.raises(CheckpointError, match="at most 64 hidden units and 8 components"):
        ContextEntropy.from_tensors(tensors)


def test_a_path_of_too_many_components_is_refused():
    entropy = random_entropy(9)
    outputs = LATENTS * 3 * 9
    with pytest.raises(CheckpointError, match="do not fit"):
        ContextEntropy(
            latents=LATENTS,
            max_symbols=MAX_SYMBOLS,
            weights=[*entropy.weights[:2], np.zeros((outputs, LATENTS * 3), np.int16)],
            shifts=[*entropy.shifts[:2], np.zeros((LEVELS, outputs), np.int64)],
            lookup=entropy.lookup,
        )
