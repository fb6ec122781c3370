"""A server without a network, which answers the streams of a run when it is told to."""

from collections import deque
from dataclasses import dataclass, field

from kompakt.v1 import compression_pb2 as pb
from kompakt_client import (
    MessageTooLargeError,
    OverloadedError,
    RetryPolicy,
    UnavailableError,
)
from kompakt_client._commands import Patience
from kompakt_client._many import Run
from kompakt_client._operations import compress
from tests.client.fake_codec import make_status

STUBBORN = RetryPolicy(max_attempts=1000, initial_backoff=0.01, max_backoff=0.01)
LOST = UnavailableError("lost", code="UNAVAILABLE")
TOO_LARGE = MessageTooLargeError("large", code="RESOURCE_EXHAUSTED")
BUSY = OverloadedError("busy", code="RESOURCE_EXHAUSTED", retry_after=0.5)


@dataclass(eq=False)
class Stream:
    """A stream of a server that answers when it is told to."""

    wait: bool
    unanswered: deque = field(default_factory=deque)
    num_items: int = 0
    ended: bool = False
    closed: bool = False

    def send(self, message):
        assert not self.ended
        if message is None:
            self.ended = True
            return
        self.unanswered.append((self.num_items, list(message.images)))
        self.num_items += len(message.images)

    def close(self):
        self.closed = True

    def answer(self, refuse=lambda _: False, pick=0):
        """Answer the message that was sent first, or another; an image's pixels are its stream."""
        first, images = self.unanswered[pick]
        del self.unanswered[pick]
        results = [
            pb.CompressResult(index=number, status=make_status(8, "busy", retry_after=0.01))
            if refuse(image)
            else pb.CompressResult(index=number, stream=pb.CompressedImage(data=image.encoded))
            for number, image in enumerate(images, first)
        ]
        return pb.StreamCompressResponse(results=results)


class Server:
    """The streams that a run opens, and what it handed out."""

    def __init__(self, operation=None, timeout=10.0, retry=STUBBORN, **settings):
        self.streams = []
        self.operation = operation or compress()
        self.results = []
        patience = Patience(timeout=timeout, retry=retry)
        self.run = Run(self.operation, patience, "server", self._open, **settings)

    def _open(self, number, method, message, wait):
        assert (number, method) in [(n, f"Stream{self.operation.method}") for n in range(3)]
        stream = Stream(wait)
        stream.send(message)
        self.streams.append(stream)
        return stream

    @property
    def open(self):
        return [stream for stream in self.streams if not stream.closed]

    @property
    def busy(self):
        return [stream for stream in self.open if stream.unanswered]

    def feed(self, count, start=0):
        for number in range(start, start + count):
            self.run.add(self.operation.prepare(str(number).encode()))

    def answer(self, stream=None, **how):
        stream = stream or self.busy[0]
        self.run.handle(stream, stream.answer(**how))
        self.take()

    def take(self):
        while self.run.has_result:
            self.results.append(self.run.pop())

    def pass_time(self, seconds):
        self.run.waited += seconds
        self.run.tick()

    def end_streams(self):
        for stream in self.open:
            if stream.ended and not stream.unanswered:
                stream.closed = True
                self.run.handle(stream, None)


def sizes(stream):
    return [len(images) for _, images in stream.unanswered]
