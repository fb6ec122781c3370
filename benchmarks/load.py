"""A load generator for gRPC: so many calls in flight, or one stream with so many messages.

Requests were serialised before and answers are not parsed, so that the server is the limit.
"""

import argparse
import asyncio
import functools
import itertools
import sys
import threading
import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import TypeAlias

import grpc
import grpc.aio

from benchmarks.requestfile import read_requests
from benchmarks.sample import Recorder

Unary: TypeAlias = "grpc.UnaryUnaryMultiCallable[bytes, bytes]"
Stream: TypeAlias = "grpc.aio.StreamStreamMultiCallable[bytes, bytes]"

CHANNEL_OPTIONS = [
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    # Each channel a connection of its own: that is how workers on one port share the load.
    ("grpc.use_local_subchannel_pool", 1),
]


class Caller:
    """Keeps unary calls in flight, by callbacks: faster than grpc.aio, and than threads."""

    def __init__(
        self, target: str, method: str, requests: Sequence[bytes], connections: int
    ) -> None:
        self._channels = [
            grpc.insecure_channel(target, options=CHANNEL_OPTIONS) for _ in range(connections)
        ]
        self._calls: list[Unary] = [channel.unary_unary(method) for channel in self._channels]
        self._requests = itertools.cycle(requests)
        self._ended = threading.Semaphore(0)

    def run(self, in_flight: int, recorder: Recorder) -> None:
        """Generate the load until the time is up. A call that fails is not followed by another."""
        for channel in self._channels:
            grpc.channel_ready_future(channel).result(10)
        recorder.start()
        for number in range(in_flight):
            self._send(self._calls[number % len(self._calls)], recorder)
        for _ in range(in_flight):
            self._ended.acquire()

    def close(self) -> None:
        """Close the connections."""
        for channel in self._channels:
            channel.close()

    def _send(self, call: Unary, recorder: Recorder) -> None:
        started = time.perf_counter()
        future = call.future(next(self._requests))
        future.add_done_callback(functools.partial(self._answered, call, recorder, started))

    def _answered(
        self,
        call: Unary,
        recorder: Recorder,
        started: float,
        future: "grpc.Future[bytes]",
    ) -> None:
        now = time.perf_counter()
        if error := future.exception():
            recorder.failed(error.code().name)  # type: ignore[attr-defined]
            self._ended.release()
            return
        recorder.succeeded(started, now)
        if recorder.is_over(now):
            self._ended.release()
        else:
            self._send(call, recorder)


async def stream(
    target: str, method: str, messages: Sequence[bytes], in_flight: int, recorder: Recorder
) -> None:
    """Keep so many messages of one stream unanswered until the time is up."""
    async with grpc.aio.insecure_channel(target, options=CHANNEL_OPTIONS) as channel:
        await channel.channel_ready()
        open_stream: Stream = channel.stream_stream(method)
        call = open_stream()
        numbered = itertools.cycle(messages[1:])
        sent: deque[float] = deque()
        recorder.start()
        try:
            await call.write(messages[0])
            for _ in range(in_flight):
                sent.append(time.perf_counter())
                await call.write(next(numbered))
            while not recorder.is_over(time.perf_counter()):
                if await call.read() is grpc.aio.EOF:
                    recorder.failed((await call.code()).name)
                    return
                recorder.succeeded(sent.popleft(), time.perf_counter())
                sent.append(time.perf_counter())
                await call.write(next(numbered))
        except grpc.aio.AioRpcError as exc:
            recorder.failed(exc.code().name)
        call.cancel()


def add_load_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags that every generator has."""
    parser.add_argument("--target", required=True, help="host:port")
    parser.add_argument("--requests", type=Path, required=True, help="file of requests")
    parser.add_argument("--in-flight", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--warm-up", type=float, default=0.5, help="seconds before the count")


def main(argv: Sequence[str] | None = None) -> int:
    """Print one sample."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.load", description=__doc__)
    add_load_arguments(parser)
    parser.add_argument("--method", required=True, help="/package.Service/Method")
    parser.add_argument("--connections", type=int, default=1)
    parser.add_argument("--stream", action="store_true", help="one stream instead of calls")
    arguments = parser.parse_args(argv)
    requests = read_requests(arguments.requests)
    recorder = Recorder(arguments.warm_up, arguments.seconds)
    if arguments.stream:
        asyncio.run(
            stream(arguments.target, arguments.method, requests, arguments.in_flight, recorder)
        )
        print(recorder.sample().to_json())
        return 0
    caller = Caller(arguments.target, arguments.method, requests, arguments.connections)
    caller.run(arguments.in_flight, recorder)
    print(recorder.sample().to_json())
    caller.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
