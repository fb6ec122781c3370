"""When a failed call is tried again."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable
from dataclasses import dataclass

from kompakt_client._errors import DeadlineExceededError, KompaktError


@dataclass(frozen=True, kw_only=True, slots=True)
class RetryPolicy:
    """How often and how fast a call is tried again.

    Tried again are UNAVAILABLE, and RESOURCE_EXHAUSTED where the server said
    when to come back; each is safe, since such calls have no side effects (a change
    of models is tried once). The wait before attempt n is drawn evenly from 0 to
    initial_backoff x multiplier^(n-2) (exponential backoff with full jitter), after
    whatever wait the server asked for. Nothing is tried that could not begin before
    the deadline.

    `RetryPolicy(max_attempts=1)` never tries again.
    """

    max_attempts: int = 5
    """Attempts in all, the first included."""
    initial_backoff: float = 0.2
    """The longest wait before the second attempt, in seconds."""
    max_backoff: float = 5.0
    """The longest wait before any attempt, in seconds."""
    multiplier: float = 2.0
    """How much longer each wait may be than the one before."""

    def __post_init__(self) -> None:
        if not self.max_attempts >= 1:
            raise ValueError(f"max_attempts must be at least 1, not {self.max_attempts}")
        if not 0 <= self.initial_backoff <= self.max_backoff:
            raise ValueError(
                "initial_backoff must lie between 0 and max_backoff, "
                f"not {self.initial_backoff} with {self.max_backoff}"
            )
        if not 1 <= self.multiplier < math.inf:
            raise ValueError(f"multiplier must be at least 1 and finite, not {self.multiplier}")

    def backoff(self, attempt: int) -> float:
        """Return the longest wait after the attempt of this number, from 1, in seconds."""
        try:
            return min(self.initial_backoff * self.multiplier ** (attempt - 1), self.max_backoff)
        except OverflowError:
            return self.max_backoff if self.initial_backoff else 0.0


DEFAULT_RETRY = RetryPolicy()


class Retry:
    """The attempts of one call, which share one deadline."""

    def __init__(
        self,
        policy: RetryPolicy,
        timeout: float,
        *,
        clock: Callable[[], float] = time.monotonic,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._policy = policy
        self._clock = clock
        self._jitter = jitter
        self._deadline = clock() + timeout
        self._attempt = 1
        self._last: KompaktError | None = None
        """Why the attempt before was not enough."""

    @property
    def failed(self) -> bool:
        """Whether an attempt has failed."""
        return self._last is not None

    def remaining(self) -> float:
        """Return the seconds left for the next attempt."""
        return self._deadline - self._clock()

    def delay_after(self, error: KompaktError) -> float:
        """Return the seconds to wait before the next attempt, or raise the error.

        If the deadline cut a further attempt short, the error is that of the attempt
        before, which says more.
        """
        if isinstance(error, DeadlineExceededError) and self._last is not None:
            raise self._last from error
        if not error.retryable or self._attempt >= self._policy.max_attempts:
            raise error
        backoff = self._jitter() * self._policy.backoff(self._attempt)
        delay = (error.retry_after or 0.0) + backoff
        if delay >= self.remaining():
            raise error
        self._attempt += 1
        self._last = error
        return delay
