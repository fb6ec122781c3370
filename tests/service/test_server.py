"""The server as a process of its own and as part of a system."""

import base64
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2_grpc

from kompakt.v1 import compression_pb2 as pb
from kompakt.v1 import compression_pb2_grpc as pb_grpc
from kompakt_codec.errors import CheckpointError
from kompakt_service import pipeline
from kompakt_service.batcher import Batcher
from kompakt_service.server import Server, StartError
from kompakt_service.settings import SettingsError, load_settings
from tests.service.support import details, failure, raw, status_of

BIN = Path(sys.executable).parent


def metrics_page(server: Server) -> str:
    url = f"http://127.0.0.1:{server.metrics_port}/metrics"
    with urllib.request.urlopen(url) as response:
        return response.read().decode()


def value(page: str, name: str, **labels: str) -> float:
    """The sum of the series of a metric that have these labels."""
    total = 0.0
    for line in page.splitlines():
        series, _, number = line.rpartition(" ")
        if re.match(rf"{name}(\{{|$)", series) and all(
            f'{k}="{v}"' in series for k, v in labels.items()
        ):
            total += float(number)
    return total


def test_metrics_count_calls_stages_and_bytes(serve, digits):
    server = serve()
    with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        stub = pb_grpc.CompressionServiceStub(channel)
        made = stub.Compress(pb.CompressRequest(images=[raw(d) for d in digits[:3]]))
        failure(lambda: stub.Compress(pb.CompressRequest()))
        list(
            stub.StreamDecompress(
                iter(
                    [
                        pb.StreamDecompressRequest(options=pb.DecompressOptions()),
                        pb.StreamDecompressRequest(streams=[r.stream for r in made.results]),
                    ]
                )
            )
        )
    page = metrics_page(server)

    call = {"grpc_service": "kompakt.v1.CompressionService", "grpc_method": "Compress"}
    assert value(page, "grpc_server_started_total", **call, grpc_type="unary") == 2
    assert value(page, "grpc_server_handled_total", **call, grpc_code="OK") == 1
    assert value(page, "grpc_server_handled_total", **call, grpc_code="INVALID_ARGUMENT") == 1
    assert value(page, "grpc_server_handling_seconds_count", **call) == 2
    stream = {"grpc_method": "StreamDecompress", "grpc_type": "bidi_stream"}
    assert value(page, "grpc_server_msg_received_total", **stream) == 2
    assert value(page, "grpc_server_msg_sent_total", **stream) == 1
    for stage in ("image", "queue", "transform", "entropy"):
        for operation in ("compress", "decompress"):
            labels = {"stage": stage, "operation": operation, "model": "tiny-ae"}
            assert value(page, "kompakt_stage_duration_seconds_count", **labels) == 1
    assert value(page, "kompakt_images_total", operation="compress", outcome="OK") == 3
    size = sum(r.size_bytes for r in made.results)
    assert value(page, "kompakt_stream_bytes_total", model="tiny-ae") == size
    assert value(page, "kompakt_pixel_bytes_total", model="tiny-ae") == 3 * 784
    assert value(page, "kompakt_compression_ratio_count", model="tiny-ae") == 3
    assert value(page, "kompakt_model_info", architecture="vae") == 1


def test_health_of_the_server_and_of_each_service(channel):
    health = health_pb2_grpc.HealthStub(channel)
    for service in ("", "kompakt.v1.CompressionService", "kompakt.v1.ModelService"):
        response = health.Check(health_pb2.HealthCheckRequest(service=service))
        assert response.status == health_pb2.HealthCheckResponse.SERVING
    watch = health.Watch(health_pb2.HealthCheckRequest())
    assert next(watch).status == health_pb2.HealthCheckResponse.SERVING
    watch.cancel()


def buf_curl(*arguments: str) -> str:
    done = subprocess.run(
        [BIN / "buf", "curl", "--http2-prior-knowledge", "--protocol", "grpc", *arguments],
        capture_output=True,
        text=True,
        check=True,
        cwd="/",
    )
    return done.stdout


def test_reflection_serves_a_stranger(server, digits):
    base = f"http://127.0.0.1:{server.port}"
    methods = buf_curl(base, "--list-methods")
    assert "kompakt.v1.CompressionService/Compress" in methods
    assert "grpc.health.v1.Health/Check" in methods
    encoded = base64.b64encode(digits[0].tobytes()).decode()
    request = {
        "images": [
            {
                "raw": {
                    "data": encoded,
                    "height": 28,
                    "width": 28,
                }
            }
        ]
    }
    answer = buf_curl(base + "/kompakt.v1.CompressionService/Compress", "-d", json.dumps(request))
    assert json.loads(answer)["results"][0]["stream"]["data"].startswith("y0tQ")


class Held:
    """Stops the device inside a batch until it is released."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.entered = threading.Event()
        self.release = threading.Event()
        compute = Batcher._compute

        def held(batcher: Batcher, jobs: list) -> None:
            self.entered.set()
            assert self.release.wait(30)
            compute(batcher, jobs)

        monkeypatch.setattr(Batcher, "_compute", held)


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
    read = pipeline.read_image

    def slow(*arguments: object) -> object:
        time.sleep(0.05)
        return read(*arguments)

    monkeypatch.setattr(pipeline, "read_image", slow)
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


def test_a_stream_that_meets_its_deadline_is_counted_so(serve, digits):
    server = serve()
    gate = threading.Event()

    def requests():
        yield pb.StreamCompressRequest(options=pb.CompressOptions(), images=[raw(digits[0])])
        gate.wait(10)

    with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        stub = pb_grpc.CompressionServiceStub(channel)
        with pytest.raises(grpc.RpcError) as caught:
            list(stub.StreamCompress(requests(), timeout=0.5))
        gate.set()
        assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    labels = {"grpc_method": "StreamCompress", "grpc_code": "DEADLINE_EXCEEDED"}
    for _ in range(100):  # the server notices a moment after the client
        if value(metrics_page(server), "grpc_server_handled_total", **labels):
            break
        time.sleep(0.05)
    assert value(metrics_page(server), "grpc_server_handled_total", **labels) == 1


def test_each_models_part_of_a_mixed_request_is_timed_by_itself(serve, digits):
    server = serve()
    with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        stub = pb_grpc.CompressionServiceStub(channel)
        streams = []
        for model in ("tiny-ae", "tiny-vae"):
            options = pb.CompressOptions(model=model)
            request = pb.CompressRequest(images=[raw(digits[0])], options=options)
            streams.append(stub.Compress(request).results[0].stream)
        answer = stub.Decompress(pb.DecompressRequest(streams=streams * 50))
    page = metrics_page(server)
    stage = {"operation": "decompress", "stage": "transform"}
    total = value(page, "kompakt_stage_duration_seconds_sum", **stage)
    assert total == pytest.approx(answer.timings.transform.ToTimedelta().total_seconds(), abs=1e-4)


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


def test_a_defect_is_an_internal_error_without_its_inner_life(serve, digits, monkeypatch, caplog):
    server = serve()

    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("secret")

    monkeypatch.setattr(Batcher, "submit", broken)
    with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        stub = pb_grpc.CompressionServiceStub(channel)
        with pytest.raises(grpc.RpcError) as caught:
            stub.Compress(pb.CompressRequest(images=[raw(digits[0])]))
    assert caught.value.code() is grpc.StatusCode.INTERNAL
    assert "secret" not in caught.value.details()
    assert "secret" in caplog.text


def test_a_taken_port_is_said(server, checkpoints):
    for taken in ({"port": server.port}, {"metrics_port": server.metrics_port}):
        settings = {"models": checkpoints, "host": "127.0.0.1", "port": 0, "metrics_port": 0}
        second = Server(load_settings(settings | taken))
        with pytest.raises(StartError, match=r"cannot (listen|serve metrics) on"):
            second.start()
        second.stop(0)


def test_a_directory_without_checkpoints_or_with_a_broken_one(tmp_path, checkpoints):
    with pytest.raises(CheckpointError, match="no checkpoint"):
        Server(load_settings({"models": tmp_path}))
    (tmp_path / "x.safetensors").write_bytes(b"not one")
    with pytest.raises(CheckpointError, match=r"x\.safetensors: not a checkpoint"):
        Server(load_settings({"models": tmp_path}))
    with pytest.raises(CheckpointError, match="default model 'nope' is not among tiny-ae"):
        Server(load_settings({"models": checkpoints, "default_model": "nope"}))


def start_process(checkpoints: Path, *flags: str, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [BIN / "kompakt", "serve", "--models", checkpoints, *flags],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **environment},
    )


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_command_serves_until_a_signal(checkpoints, digits, number):
    process = start_process(
        checkpoints, "--port", "0", KOMPAKT_METRICS_PORT="0", KOMPAKT_LOG_FORMAT="json"
    )
    assert process.stderr is not None
    records = []
    while not records or records[-1]["message"] != "serving":
        records.append(json.loads(process.stderr.readline()))
    port = records[-1]["port"]
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        stub = pb_grpc.CompressionServiceStub(channel)
        assert stub.Compress(pb.CompressRequest(images=[raw(digits[0])])).results
    process.send_signal(number)
    _, rest = process.communicate(timeout=20)
    assert process.returncode == 0
    assert json.loads(rest.splitlines()[-1])["message"] == "stopped"


def test_a_second_signal_cuts_the_waiting_short(checkpoints):
    process = start_process(
        checkpoints,
        "--port",
        "0",
        "--metrics-port",
        "0",
        "--grace-seconds",
        "600",
        "--log-format",
        "json",
    )
    assert process.stderr is not None
    while (record := json.loads(process.stderr.readline()))["message"] != "serving":
        pass
    gate = threading.Event()
    with grpc.insecure_channel(f"127.0.0.1:{record['port']}") as channel:
        stub = pb_grpc.CompressionServiceStub(channel)

        def requests():
            yield pb.StreamCompressRequest(options=pb.CompressOptions(), images=[pb.Image()])
            gate.wait(60)

        stream = stub.StreamCompress(requests())
        assert next(stream).results  # and the stream stays open
        process.send_signal(signal.SIGTERM)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(timeout=1.5)
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=20)
        gate.set()
    assert process.returncode == 0


@pytest.mark.parametrize(
    ("flags", "environment", "status", "message"),
    [
        (["--port", "99999"], {}, 2, "port (--port, KOMPAKT_PORT): Input should be less than"),
        ([], {"KOMPAKT_MAX_IMAGES": "many"}, 2, "max_images (--max-images, KOMPAKT_MAX_IMAGES)"),
        (["--device", "tpu"], {}, 2, "device (--device, KOMPAKT_DEVICE): must be auto, cpu"),
        (["--device", "cuda:99"], {}, 2, "no such GPU"),
        (["--models", "/nowhere"], {}, 2, "/nowhere is not a directory"),
        (["--config", "/nowhere.toml"], {}, 2, "/nowhere.toml does not exist"),
        (["--default-model", "nope"], {}, 1, "'nope' is not among"),
    ],
)
def test_a_wrong_setting_is_one_line_that_names_it(
    checkpoints, flags, environment, status, message
):
    process = start_process(checkpoints, *flags, **environment)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == status
    lines = [line for line in stderr.splitlines() if "model loaded" not in line]
    assert len(lines) == 1
    assert message in lines[0]


def test_settings_come_from_flags_over_environment_over_file(tmp_path, checkpoints, monkeypatch):
    file = tmp_path / "kompakt.toml"
    file.write_text("port = 1\nmetrics_port = 2\nmax_images = 3\n")
    monkeypatch.setenv("KOMPAKT_METRICS_PORT", "20")
    monkeypatch.setenv("KOMPAKT_MAX_IMAGES", "30")
    settings = load_settings({"max_images": "300", "models": checkpoints}, file)
    assert (settings.port, settings.metrics_port, settings.max_images) == (1, 20, 300)


@pytest.mark.parametrize(
    ("text", "message"), [("prot = 1", "unknown setting prot"), ("port = [", "kompakt.toml")]
)
def test_a_wrong_file_is_said(tmp_path, text, message):
    file = tmp_path / "kompakt.toml"
    file.write_text(text)
    with pytest.raises(SettingsError, match=message):
        load_settings({}, file)
