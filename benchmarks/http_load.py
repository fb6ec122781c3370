"""A load generator for HTTP/1.1 peers, as light as the one for gRPC: bare keep-alive sockets."""

import argparse
import asyncio
import itertools
import sys
import time
from collections.abc import Iterator, Sequence

from benchmarks.load import add_load_arguments
from benchmarks.requestfile import read_requests
from benchmarks.sample import Recorder

_END_OF_HEAD = b"\r\n\r\n"
_LENGTH = b"content-length:"


class Caller(asyncio.Protocol):
    """One connection that posts one request after another until the time is up."""

    def __init__(self, requests: Iterator[bytes], recorder: Recorder) -> None:
        self.ended = asyncio.get_running_loop().create_future()
        self._requests = requests
        self._recorder = recorder
        self._received = b""
        self._started = 0.0
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send the first request."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._send()

    def data_received(self, data: bytes) -> None:
        """Send the next request when an answer is complete."""
        self._received += data
        if not is_complete(self._received):
            return
        now = time.perf_counter()
        status = self._received.split(b" ", 2)[1]
        self._received = b""
        if status != b"200":
            self._recorder.failed(f"HTTP {status.decode()}")
            self._close()
            return
        self._recorder.succeeded(self._started, now)
        if self._recorder.is_over(now):
            self._close()
        else:
            self._send()

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell that there is no more to come."""
        if not self.ended.done():
            self._recorder.failed(f"connection lost: {exc}")
            self.ended.set_result(None)

    def _send(self) -> None:
        assert self._transport is not None
        self._started = time.perf_counter()
        self._transport.write(next(self._requests))

    def _close(self) -> None:
        assert self._transport is not None
        self.ended.set_result(None)
        self._transport.close()


def is_complete(received: bytes) -> bool:
    """Whether an answer with a Content-Length is all there."""
    head, end, body = received.partition(_END_OF_HEAD)
    if not end:
        return False
    at = head.lower().find(_LENGTH)
    if at < 0:
        raise ValueError(f"an answer without Content-Length: {head!r}")
    return len(body) >= int(head[at + len(_LENGTH) :].split(b"\r\n", 1)[0])


def post(path: str, body: bytes, content_type: str = "application/octet-stream") -> bytes:
    """A request as it goes over the wire."""
    return (
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: {content_type}\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    ).encode() + body


async def run(target: str, requests: Sequence[bytes], in_flight: int, recorder: Recorder) -> None:
    """Generate the load until the time is up."""
    host, _, port = target.rpartition(":")
    loop = asyncio.get_running_loop()
    numbered = itertools.cycle(requests)
    recorder.start()
    made = [
        await loop.create_connection(lambda: Caller(numbered, recorder), host, int(port))
        for _ in range(in_flight)
    ]
    await asyncio.gather(*(caller.ended for _, caller in made))


def main(argv: Sequence[str] | None = None) -> int:
    """Print one sample."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.http_load", description=__doc__)
    add_load_arguments(parser)
    arguments = parser.parse_args(argv)
    recorder = Recorder(arguments.warm_up, arguments.seconds)
    requests = read_requests(arguments.requests)
    asyncio.run(run(arguments.target, requests, arguments.in_flight, recorder))
    print(recorder.sample().to_json())
    return 0


if __name__ == "__main__":
    sys.exit(main())
