"""More work than there is time, memory or threads for: refused at once, and health answers."""

import threading
import time

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from kompakt.v1 import compression_pb2 as pb
from kompakt.v1 import compression_pb2_grpc as pb_grpc
from kompakt_service import compressing
from kompakt_service.errors import queue_full
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
    server = serve(max_pending_calls=2)
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
    labels = {"grpc_method": "Compress", "grpc_code": "RESOURCE_EXHAUSTED"}
    assert value(metrics_page(server), "grpc_server_handled_total", **labels) == 1
    assert value(metrics_page(server), "grpc_server_msg_received_total") == 1


def test_a_refused_call_counts_no_failed_streams(serve, digits, monkeypatch):
    server = serve()

    def refuse(*_):
        raise queue_full("the queue is full", 1.0)

    with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        stub = pb_grpc.CompressionServiceStub(channel)
        [made] = stub.Compress(pb.CompressRequest(images=[raw(digits[0])])).results
        request = pb.DecompressRequest(streams=[made.stream, pb.CompressedImage(data=b"none")])
        with monkeypatch.context() as patch:
            patch.setattr(Lanes, "admit", refuse)
            assert failure(lambda: stub.Decompress(request))[1] == "QUEUE_FULL"
        failed = {"operation": "decompress", "outcome": "INVALID_STREAM"}
        assert value(metrics_page(server), "kompakt_images_total", **failed) == 0
        stub.Decompress(request)
        assert value(metrics_page(server), "kompakt_images_total", **failed) == 1


def test_a_bulk_caller_leaves_room_and_turns_for_others(serve, held, digits):
    server = serve(call_threads=1, max_pending_calls=10)
    request = pb.CompressRequest(images=[raw(digits[0])])
    with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        stub = pb_grpc.CompressionServiceStub(channel)
        bulk = [stub.Compress.future(request, metadata=[("kompakt-caller", "bulk")])]
        assert held.entered.wait(10)
        bulk += [
            stub.Compress.future(request, metadata=[("kompakt-caller", "bulk")]) for _ in range(19)
        ]
        single = stub.Compress.future(request, metadata=[("kompakt-caller", "single")])
        refused = [call for call in bulk if call is not bulk[0]]
        for call in refused[-15:]:
            assert call.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        held.release.set()
        assert single.result(timeout=10).results[0].size_bytes > 0
        for call in bulk[:5]:
            assert call.result(timeout=10).results[0].size_bytes > 0


def test_a_message_that_cannot_be_parsed_is_an_error_of_the_call(serve):
    server = serve()
    with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        prefix = "/kompakt.v1.CompressionService/"
        with pytest.raises(grpc.RpcError) as caught:
            channel.unary_unary(prefix + "Compress")(b"\xff\xff")
        assert caught.value.code() is grpc.StatusCode.INTERNAL
        with pytest.raises(grpc.RpcError) as caught:
            list(channel.stream_stream(prefix + "StreamCompress")(iter([b"\xff\xff"])))
        assert caught.value.code() is grpc.StatusCode.INTERNAL
        with pytest.raises(grpc.RpcError) as caught:
            channel.stream_unary(prefix + "Compress")(iter([]))
        assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


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
    server = serve(max_queue_seconds=3600)
    many = pb.CompressRequest(images=[raw(digits[0])] * 200)
    with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        stub = pb_grpc.CompressionServiceStub(channel)
        held.release.set()
        stub.Compress(many)  # the pace is known from now on
        held.entered.clear()
        held.release.clear()
        for pace in server._lanes._load._paces.values():
            pace.seconds_per_pixel = 0.005
        running = []
        for _ in range(server._settings.num_lanes):
            running.append(stub.Compress.future(many))
            assert held.entered.wait(10)
            held.entered.clear()
        request = pb.CompressRequest(images=[raw(digits[0])])
        with pytest.raises(grpc.RpcError) as caught:
            stub.Compress(request, timeout=20)
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "longer than the call's deadline" in caught.value.details()
        held.release.set()
        for call in running:
            assert len(call.result(timeout=20).results) == 200


def test_a_call_whose_deadline_passes_between_items_stops(serve, digits, monkeypatch):
    server = serve(call_threads=1)
    read = compressing.read_image

    def slow(*arguments: object, **options: object) -> object:
        time.sleep(0.05)
        return read(*arguments, **options)

    monkeypatch.setattr(compressing, "read_image", slow)
    with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        stub = pb_grpc.CompressionServiceStub(channel)
        with pytest.raises(grpc.RpcError):
            stub.Compress(pb.CompressRequest(images=[raw(digits[0])] * 1000), timeout=0.3)
        # Its 50 s of work are dropped: the one thread is free for the next caller.
        assert stub.Compress(pb.CompressRequest(images=[raw(digits[0])]), timeout=10).results


def test_a_request_of_many_batches_is_admitted_as_a_whole(serve, digits):
    server = serve(max_batch_images=8, max_queue_seconds=1e-6)
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


def is_healthy(channel):
    health = health_pb2_grpc.HealthStub(channel)
    status = health.Check(health_pb2.HealthCheckRequest(), timeout=10).status
    return status == health_pb2.HealthCheckResponse.SERVING


def test_open_reflection_streams_do_not_silence_health(server):
    with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        open_forever = threading.Event()
        reflect = reflection_pb2_grpc.ServerReflectionStub(channel)
        streams = [
            reflect.ServerReflectionInfo(iter(lambda: open_forever.wait(60), True))
            for _ in range(20)
        ]
        assert is_healthy(channel)
        open_forever.set()
        for stream in streams:
            stream.cancel()


def own_connection(server):
    options = [("grpc.use_local_subchannel_pool", 1)]
    return grpc.insecure_channel(f"127.0.0.1:{server.port}", options)


def test_checks_of_health_that_never_say_of_what_keep_nobody_from_it(server):
    never = threading.Event()
    with own_connection(server) as idle, own_connection(server) as channel:
        check = idle.stream_unary("/grpc.health.v1.Health/Check")
        silent = [check.future(iter(lambda: never.wait(60), True)) for _ in range(20)]
        for _ in range(3):
            assert is_healthy(channel)
        never.set()
        for call in silent:
            call.cancel()


def test_open_reflection_streams_are_bounded_and_keep_nobody_from_it(server):
    never = threading.Event()
    request = reflection_pb2.ServerReflectionRequest(list_services="")

    def held():
        yield request
        never.wait(60)

    with own_connection(server) as greedy, own_connection(server) as channel:
        reflect = reflection_pb2_grpc.ServerReflectionStub(greedy)
        streams = [reflect.ServerReflectionInfo(held()) for _ in range(200)]
        mine = reflection_pb2_grpc.ServerReflectionStub(channel)
        (answer,) = mine.ServerReflectionInfo(iter([request]), timeout=10)
        assert "kompakt.v1.CompressionService" in str(answer)
        with pytest.raises(grpc.RpcError) as caught:
            next(reflect.ServerReflectionInfo(held()))
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        never.set()
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
