"""Callers that never stop, and somebody who changes the models under them."""

import fcntl
import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

from kompakt_client import Client
from kompakt_codec.codec import Codec
from kompakt_codec.frame import Profile
from kompakt_service.call import Call
from kompakt_service.server import Server
from kompakt_service.store import ModelStore
from tests.support import make_checkpoint, real_digits

NAME = "tiny-ae"
FOREVER = Call(math.inf, lambda: True)


class Traffic:
    """Threads that compress and decompress in both profiles, and check every answer.

    An answer must be wholly of one version: its stream is what a codec of the answer's fingerprint
    makes of the image, and decodes to what that codec decodes it to.
    """

    def __init__(self, server: Server, codecs: dict[str, Codec], *, threads: int) -> None:
        self.calls = 0
        self.fingerprints: set[str] = set()
        self._codecs = codecs
        self.failures: list[BaseException] = []
        self._target = f"127.0.0.1:{server.port}"
        self._images = real_digits(8)
        self._rounds = [0] * threads
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._run, args=(i,)) for i in range(threads)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()
        self._check()

    def await_round(self, *, least_calls: int = 0) -> None:
        """Wait until every thread has begun and ended a round, and for so many calls in all."""
        goal = [done + 2 for done in self._rounds]
        while self.calls < least_calls or any(map(int.__lt__, self._rounds, goal)):
            self._check()
            self._stop.wait(0.001)

    def _check(self) -> None:
        if self.failures:
            raise self.failures[0]

    def _run(self, number: int) -> None:
        try:
            with Client(self._target) as client:
                while not self._stop.is_set():
                    self._round(client, self._images[self._rounds[number] % 8])
                    self._rounds[number] += 1
        except BaseException as exc:
            self.failures.append(exc)

    def _round(self, client: Client, image: np.ndarray) -> None:
        profile = "file" if self.calls % 2 else "embedded"
        made = client.compress(image, profile=profile, fallback="never", reconstruction=True)
        back = client.decompress(made)
        with self._lock:
            self.calls += 2
            self.fingerprints.add(made.fingerprint)
        assert made.model == back.model == NAME
        assert np.array_equal(back.to_numpy(), made.reconstruction)
        codec = self._codecs[made.fingerprint]
        [decoded] = codec.decompress([made.data], profile=Profile(profile))
        assert np.abs(decoded.astype(int) - made.reconstruction).max() <= 1


def make_versions(directory: Path) -> dict[str, Codec]:
    """Write three versions beside the first one into ``next``; the codecs by fingerprint."""
    checkpoints = [make_checkpoint("ae", seed=seed) for seed in range(4)]
    for number, checkpoint in enumerate(checkpoints[1:], 1):
        checkpoint.save(directory / f"next/v{number}.safetensors")
    return {checkpoint.header.fingerprint: Codec(checkpoint) for checkpoint in checkpoints}


def change_under_traffic(
    server: Server, traffic: Traffic, *, promotions: int, least_calls: int
) -> None:
    """Load and promote versions in turn, unload those before the last, and roll back at times.

    A version is unloaded when every caller has ended the round in which it may have met it.
    """
    traffic.await_round()
    with Client(f"127.0.0.1:{server.port}") as admin:
        for count in range(promotions):
            before = admin.model(NAME)
            after = admin.load_model(f"next/v{count % 3 + 1}.safetensors")
            admin.promote_model(after.reference)
            traffic.await_round(least_calls=(count + 1) * least_calls // promotions)
            if count % 5 == 3:
                assert admin.rollback_model(NAME).version == before.version
                traffic.await_round()
                before = after
            admin.unload_model(before.reference)


def eventually(condition: Callable[[], bool], seconds: float = 30) -> bool:
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.02)
    return condition()


def references(store: ModelStore) -> list[str]:
    return [version.reference for version in store.snapshot().loaded]


@contextmanager
def another_change(state_file: Path) -> Iterator[None]:
    """As long as the block runs, another process is at a change of the models."""
    with state_file.with_name(f"{state_file.name}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
