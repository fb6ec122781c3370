"""When calls are tried again: by the policy alone, and against the server."""

import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kompakt_client import (
    DeadlineExceededError,
    InvalidRequestError,
    KompaktError,
    MessageTooLargeError,
    OverloadedError,
    RetryPolicy,
    UnavailableError,
)
from kompakt_client._retry import Retry
from tests.client.conftest import pixels
from tests.client.fake_server import Fault, grpc

UNAVAILABLE = Fault(grpc.StatusCode.UNAVAILABLE)
LOST = UnavailableError("lost", code="UNAVAILABLE")


def busy(retry_after):
    return OverloadedError("busy", code="RESOURCE_EXHAUSTED", retry_after=retry_after)


def start(policy, timeout, *, jitter=1.0, now=0.0):
    return Retry(policy, timeout, clock=lambda: now, jitter=lambda: jitter)


def test_waits_grow_to_a_limit():
    retry = start(RetryPolicy(max_attempts=6, initial_backoff=1, max_backoff=5), 100)

    assert [retry.delay_after(LOST) for _ in range(5)] == [1, 2, 4, 5, 5]
    with pytest.raises(UnavailableError):
        retry.delay_after(LOST)


@pytest.mark.parametrize("multiplier", [2, 2.0])
def test_waits_stay_at_their_limit_however_many(multiplier):
    policy = RetryPolicy(max_attempts=5000, initial_backoff=0.5, multiplier=multiplier)
    eager = RetryPolicy(max_attempts=5000, initial_backoff=0, multiplier=multiplier)

    assert policy.backoff(4999) == policy.max_backoff
    assert eager.backoff(4999) == 0


def test_jitter_is_full():
    assert start(RetryPolicy(), 100, jitter=0.0).delay_after(LOST) == 0


def test_the_wait_that_the_server_asks_for_is_kept():
    assert start(RetryPolicy(initial_backoff=1), 100, jitter=0.5).delay_after(busy(3)) == 3.5


@given(
    timeout=st.floats(0.01, 100),
    asked=st.floats(0, 100),
    jitter=st.floats(0, 1),
    n=st.integers(1, 9),
)
def test_no_wait_passes_the_deadline(timeout, asked, jitter, n):
    retry = start(RetryPolicy(max_attempts=n), timeout, jitter=jitter)

    try:
        delay = retry.delay_after(busy(asked))
    except OverloadedError:
        return
    assert asked <= delay < timeout


@pytest.mark.parametrize(
    "error",
    [
        KompaktError("unknown"),
        InvalidRequestError("wrong", code="INVALID_ARGUMENT"),
        MessageTooLargeError("large", code="RESOURCE_EXHAUSTED"),
        DeadlineExceededError("late", code="DEADLINE_EXCEEDED"),
    ],
)
def test_what_cannot_help_is_not_tried_again(error):
    with pytest.raises(type(error)):
        start(RetryPolicy(), 100).delay_after(error)


def test_a_deadline_in_a_further_attempt_tells_why_there_was_one():
    retry = start(RetryPolicy(), 100)
    retry.delay_after(LOST)

    with pytest.raises(UnavailableError, match="lost"):
        retry.delay_after(DeadlineExceededError("late", code="DEADLINE_EXCEEDED"))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"max_attempts": 0}, "max_attempts must be at least 1"),
        ({"initial_backoff": 2, "max_backoff": 1}, "initial_backoff must lie between"),
        ({"initial_backoff": -1}, "initial_backoff must lie between"),
        ({"multiplier": 0.5}, "multiplier must be at least 1"),
        ({"max_attempts": float("nan")}, "max_attempts must be at least 1, not nan"),
        ({"multiplier": float("nan")}, "multiplier must be at least 1 and finite, not nan"),
        ({"multiplier": float("inf")}, "multiplier must be at least 1 and finite, not inf"),
    ],
)
def test_a_policy_checks_its_numbers(settings, message):
    with pytest.raises(ValueError, match=message):
        RetryPolicy(**settings)


def test_a_lost_call_is_made_again(client, fake, image):
    fake.faults += [UNAVAILABLE] * 3

    compressed = client.compress(image)

    assert fake.num_calls("Compress") == 4
    assert np.array_equal(client.decompress(compressed).to_numpy(), image)


def test_attempts_end(client, fake, image):
    fake.faults += [UNAVAILABLE] * 4

    with pytest.raises(UnavailableError, match="injected UNAVAILABLE"):
        client.compress(image)

    assert fake.num_calls("Compress") == 4


def test_a_policy_of_one_attempt_makes_one(make_client, fake, image):
    fake.faults.append(UNAVAILABLE)

    with pytest.raises(UnavailableError):
        make_client(retry=RetryPolicy(max_attempts=1)).compress(image)

    assert fake.num_calls("Compress") == 1


def test_a_request_over_grpcs_own_retry_buffer_is_made_again(client, fake):
    fake.faults.append(UNAVAILABLE)

    client.compress(pixels(0, 60, 50_000))

    assert fake.num_calls("Compress") == 2


def test_a_busy_server_is_asked_again_when_it_says(client, fake, image):
    fake.faults.append(Fault(grpc.StatusCode.RESOURCE_EXHAUSTED, "QUEUE_FULL", retry_after=0.3))

    begun = time.monotonic()
    client.compress(image)

    assert time.monotonic() - begun >= 0.3
    assert fake.num_calls("Compress") == 2


def test_a_wait_past_the_deadline_is_not_begun(client, fake, image):
    fake.faults.append(Fault(grpc.StatusCode.RESOURCE_EXHAUSTED, "QUEUE_FULL", retry_after=60))

    with pytest.raises(OverloadedError) as caught:
        client.compress(image, timeout=5)

    assert caught.value.retry_after == 60
    assert fake.num_calls("Compress") == 1


def test_exhaustion_without_a_wait_is_not_tried_again(client, fake, image):
    fake.faults.append(Fault(grpc.StatusCode.RESOURCE_EXHAUSTED))

    with pytest.raises(MessageTooLargeError):
        client.compress(image)

    assert fake.num_calls("Compress") == 1


def test_a_slow_answer_passes_the_deadline(client, running, fake, image):
    fake.delay = 1.0

    with pytest.raises(DeadlineExceededError, match=f"no answer from {running.target} in time"):
        client.compress(image, timeout=0.2)

    assert fake.num_calls("Compress") == 1


def test_attempts_share_one_deadline(client, fake, image):
    fake.delay = 0.4
    fake.faults += [UNAVAILABLE] * 3

    with pytest.raises(UnavailableError):
        client.compress(image, timeout=1.0)

    assert fake.num_calls("Compress") <= 3


def test_a_token_is_asked_for_before_each_attempt(make_client, fake, image):
    fake.faults.append(UNAVAILABLE)
    tokens = iter(["first", "second"])

    make_client(token=lambda: next(tokens)).compress(image)

    sent = [metadata["authorization"] for metadata in fake.metadata]
    assert sent == ["Bearer first", "Bearer second"]
