"""More work than there is time, memory or threads for: refused at once, and health answers."""

import threading
import time

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2_grpc

from kompakt.v1 import compression_pb2 as pb
from kompakt.v1 import compression_pb2_grpc as pb_grpc
from kompakt_service import compressing
from kompakt_service.lanes import Lanes
from tests.service.support import details, failure, metrics_page, raw, status_of, value


class Held:
    """Stops the device inside a batch until it is released."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.entered = threading.Event()
        self.release = threading.Event()
        compute = Lanes._compute

        def held(lanes: Lanes, jobs: list) -> int:
            self.entered.set()
            assert self.release.wait(30)
            return compute(lanes, jobs)

        monkeypatch.setattr(Lanes, "_compute", held)


@pytest.fixture
def held(monkeypatch):
    held = Held(monkeypatch)
    yield held
    held.release.set()


def test_a_full_queue_refuses_at_once_with_a_hint_and_health_answers(serve, held, digits):
    server = serve(max_queue_pixels=784, call_threads=8)
    request = pb.CompressRequest(images=[raw(digits[0])])
    with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        stub = pb_grpc.CompressionServiceStub(channel)
        first = stub.Compress.future(request)
        assert held.entered.wait(10)
        with pytest.raises(grpc.RpcError) as caught:
            stub.Compress(request)
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        found = details(status_of(caught.value))
        assert found["ErrorInfo"].reason == "QUEUE_FULL"
        assert 0 < found["RetryInfo"].retry_delay.ToTimedelta().total_seconds() <= 10
        health = health_pb2_grpc.HealthStub(channel)
        status = health.Check(health_pb2.HealthCheckRequest()).status
        assert status == health_pb2.HealthCheckResponse.SERVING
        held.release.set()
        assert first.result(timeout=10).results[0].size_bytes > 0


def test_too_many_calls_are_refused_while_they_would_wait_for_a_thread(serve, held, digits):
    server = serve(call_threads=1, max_pending_calls=3)
    request = pb.CompressRequest(images=[raw(digits[0])])
    with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        stub = pb_grpc.CompressionServiceStub(channel)
        accepted = [stub.Compress.future(request)]
        assert held.entered.wait(10)
        accepted += [stub.Compress.future(request) for _ in range(2)]
        refused = []
        while not refused:  # calls arrive one after another on one connection
            call = stub.Compress.future(request)
            try:
                call.result(timeout=0.5)
            except grpc.FutureTimeoutError:
                accepted.append(call)
            except grpc.RpcError as exc:
                refused.append((exc.code(), details(status_of(exc))["ErrorInfo"].reason))
        assert refused == [(grpc.StatusCode.RESOURCE_EXHAUSTED, "QUEUE_FULL")]
        held.release.set()
        for call in accepted:
            assert call.result(timeout=10).results[0].size_bytes > 0


def test_work_whose_deadline_has_passed_is_dropped(serve, held, digits):
    server = serve()
    request = pb.CompressRequest(images=[raw(digits[0])])
    with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        stub = pb_grpc.CompressionServiceStub(channel)
        first = stub.Compress.future(request)
        assert held.entered.wait(10)
        with pytest.raises(grpc.RpcError) as caught:
            stub.Compress(request, timeout=0.2)
        assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        held.release.set()
        first.result(timeout=10)
        stub.Compress(request)
    page = metrics_page(server)
    assert value(page, "kompakt_images_total", outcome="OK") == 2


def test_work_that_would_outlast_its_deadline_is_refused_at_once(serve, held, digits):
    server = serve()
    many = pb.CompressRequest(images=[raw(digits[0])] * 1000)
    with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        stub = pb_grpc.CompressionServiceStub(channel)
        held.release.set()
        stub.Compress(many)  # the drain rate is known from now on
        held.entered.clear()
        held.release.clear()
        waiting = stub.Compress.future(many)
        assert held.entered.wait(10)
        server._batcher._recent_seconds = server._batcher._recent_pixels  # 1 pixel a second
        request = pb.CompressRequest(images=[raw(digits[0])])
        with pytest.raises(grpc.RpcError) as caught:
            stub.Compress(request, timeout=20)
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "longer than the call's deadline" in caught.value.details()
        held.release.set()
        assert len(waiting.result(timeout=20).results) == 1000


def test_a_call_whose_deadline_passes_between_items_stops(serve, digits, monkeypatch):
    server = serve(call_threads=1)
    read = compressing.read_image

    def slow(*arguments: object) -> object:
        time.sleep(0.05)
        return read(*arguments)

    monkeypatch.setattr(compressing, "read_image", slow)
    with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        stub = pb_grpc.CompressionServiceStub(channel)
        with pytest.raises(grpc.RpcError):
            stub.Compress(pb.CompressRequest(images=[raw(digits[0])] * 1000), timeout=0.3)
        # Its 50 s of work are dropped: the one thread is free for the next caller.
        assert stub.Compress(pb.CompressRequest(images=[raw(digits[0])]), timeout=10).results


def test_a_request_of_many_batches_is_served_by_a_small_queue(serve, digits):
    server = serve(max_batch_images=8, max_queue_pixels=784)
    with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        stub = pb_grpc.CompressionServiceStub(channel)
        made = stub.Compress(pb.CompressRequest(images=[raw(d) for d in digits[:100]]))
    assert len(made.results) == 100


def test_an_answer_over_the_message_limit_is_refused_before_it_is_made(serve, digits):
    server = serve(max_message_bytes=50_000)
    with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        stub = pb_grpc.CompressionServiceStub(channel)
        stream = stub.Compress(pb.CompressRequest(images=[raw(digits[0])])).results[0].stream
        request = pb.DecompressRequest(streams=[stream] * 64)
        assert failure(lambda: stub.Decompress(request)) == (
            grpc.StatusCode.INVALID_ARGUMENT,
            "TOO_MANY_IMAGES",
        )
        assert len(stub.Decompress(pb.DecompressRequest(streams=[stream] * 50)).results) == 50
        options = pb.CompressOptions(model="tiny-vae")
        other = stub.Compress(pb.CompressRequest(images=[raw(digits[0])], options=options))
        mixed = pb.DecompressRequest(streams=[stream, other.results[0].stream] * 32)
        assert failure(lambda: stub.Decompress(mixed)) == (
            grpc.StatusCode.INVALID_ARGUMENT,
            "TOO_MANY_IMAGES",
        )


def test_open_reflection_streams_do_not_silence_health(server):
    with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        open_forever = threading.Event()
        reflect = reflection_pb2_grpc.ServerReflectionStub(channel)
        streams = [
            reflect.ServerReflectionInfo(iter(lambda: open_forever.wait(60), True))
            for _ in range(20)
        ]
        health = health_pb2_grpc.HealthStub(channel)
        status = health.Check(health_pb2.HealthCheckRequest(), timeout=10).status
        assert status == health_pb2.HealthCheckResponse.SERVING
        open_forever.set()
        for stream in streams:
            stream.cancel()


def test_a_stop_finishes_what_was_accepted(serve, held, digits):
    server = serve()
    with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        stub = pb_grpc.CompressionServiceStub(channel)
        accepted = stub.Compress.future(pb.CompressRequest(images=[raw(digits[0])]))
        assert held.entered.wait(10)
        stopping = threading.Thread(target=server.stop, args=(20,))
        stopping.start()
        held.release.set()
        assert accepted.result(timeout=10).results[0].size_bytes > 0
        stopping.join(10)
        assert not stopping.is_alive()
        with pytest.raises(grpc.RpcError) as caught:
            stub.Compress(pb.CompressRequest(images=[raw(digits[0])]), timeout=5)
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
