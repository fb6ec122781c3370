"""The server as part of a system: metrics, health, reflection, defects."""

import base64
import json
import os
import socket
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from kompakt.v1 import compression_pb2 as pb
from kompakt.v1 import compression_pb2_grpc as pb_grpc
from kompakt_codec.errors import CheckpointError
from kompakt_service import health
from kompakt_service.lanes import Lanes
from kompakt_service.ports import Reader, StartError, hold_port
from kompakt_service.server import Server
from kompakt_service.settings import load_settings
from tests.service.live import eventually
from tests.service.support import failure, metrics_page, raw, value

BIN = Path(sys.executable).parent


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


def test_a_reader_of_metrics_that_goes_away_leaves_no_trace(server, capfd):
    for sent in (b"", b"GET /metr"):
        connection = socket.create_connection(("127.0.0.1", server.metrics_port))
        connection.sendall(sent)
        time.sleep(0.1)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.close()  # with a reset, as health checks of load balancers do
    assert "kompakt_build_info" in metrics_page(server)
    time.sleep(0.1)
    assert capfd.readouterr().err == ""


def test_a_reader_of_metrics_that_asks_for_nothing_is_hung_up_on(server, monkeypatch, capfd):
    monkeypatch.setattr(Reader, "timeout", 0.1)
    with socket.create_connection(("127.0.0.1", server.metrics_port)) as connection:
        connection.settimeout(20)
        assert connection.recv(1) == b""
    assert capfd.readouterr().err == ""


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


def test_the_command_asks_the_server_itself_and_no_proxy(server, capfd):
    command = [BIN / "kompakt", "health", "--target", f"127.0.0.1:{server.port}"]
    nowhere = "http://127.0.0.1:1"
    environment = {k: v for k, v in os.environ.items() if k.lower() != "no_proxy"}
    subprocess.run(command, check=True, env={**environment, "http_proxy": nowhere})
    assert capfd.readouterr().out == "SERVING\n"


@pytest.mark.parametrize("port", ["", "tcp://10.0.0.1:50051"])
def test_the_command_asks_the_usual_port_where_the_environment_names_none(
    monkeypatch, capsys, port
):
    monkeypatch.delenv("KOMPAKT_TARGET", raising=False)
    monkeypatch.setenv("KOMPAKT_PORT", port)
    with pytest.raises(SystemExit):
        health.main(["--help"])
    assert "(default: localhost:50051)" in capsys.readouterr().out


@pytest.mark.parametrize("timeout", ["0", "-1", "nan", "inf", "soon"])
def test_the_command_takes_no_timeout_that_is_none(capsys, timeout):
    with pytest.raises(SystemExit) as caught:
        health.main(["--timeout", timeout])
    assert caught.value.code == 2
    assert "--timeout" in capsys.readouterr().err


def test_the_command_says_which_service_there_is_not(server, capsys):
    target = f"127.0.0.1:{server.port}"
    assert health.main(["--target", target, "--service", "kompakt.v1.Nothing"]) == 1
    why = "NOT_FOUND: no such service: 'kompakt.v1.Nothing'"
    assert capsys.readouterr().err == f"kompakt health: {target}: {why}\n"


def test_the_command_says_how_long_no_answer_came(capsys):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        target = f"127.0.0.1:{silent.getsockname()[1]}"
        assert health.main(["--target", target, "--timeout", "0.2"]) == 1
    why = "DEADLINE_EXCEEDED: no answer within 0.2 s"
    assert capsys.readouterr().err == f"kompakt health: {target}: {why}\n"


def test_the_command_says_why_what_is_there_cannot_be_asked(server, capsys):
    target = f"127.0.0.1:{server.metrics_port}"
    assert health.main(["--target", target]) == 1
    complaint = capsys.readouterr().err
    assert complaint.startswith(f"kompakt health: {target}: UNAVAILABLE: ")
    assert "HTTP/2" in complaint


def test_a_malformed_message_of_reflection_is_said(server, caplog):
    with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        ask = channel.stream_stream(
            "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"
        )
        with pytest.raises(grpc.RpcError) as caught:
            next(ask(iter([b"\xff"])))
    assert caught.value.code() is grpc.StatusCode.INTERNAL
    assert caught.value.details() == "the message cannot be parsed"
    assert not caplog.records


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


def test_an_upload_that_its_caller_cancels_is_counted_so(serve):
    server = serve()

    def count(**labels):
        return value(metrics_page(server), "grpc_server_handled_total", **labels)

    with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        stub = pb_grpc.CompressionServiceStub(channel)
        large = pb.CompressRequest(images=[pb.Image(encoded=bytes(1 << 25))])
        for _ in range(20):  # some arrive before they are cancelled
            upload = stub.Compress.future(large)
            time.sleep(0.01)
            upload.cancel()
        assert eventually(lambda: count(grpc_method="Compress") >= 1)
    assert eventually(lambda: value(metrics_page(server), "kompakt_pending_calls") == 0)
    # On a machine that is very busy gRPC's news may come later than they are waited for.
    assert count(grpc_method="Compress", grpc_code="UNIMPLEMENTED") <= 2


def test_the_log_names_the_caller_of_a_call_that_is_over(serve, caplog):
    server = serve()
    gate = threading.Event()

    def requests():
        gate.wait(60)
        yield pb.CompressRequest()

    def logged():
        return [r for r in caplog.records if r.message == "call"]

    with (
        caplog.at_level("INFO", "kompakt_service"),
        grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel,
    ):
        compress = channel.stream_unary(
            "/kompakt.v1.CompressionService/Compress",
            request_serializer=pb.CompressRequest.SerializeToString,
        )
        grpc.channel_ready_future(channel).result(60)
        for _ in range(5):
            with pytest.raises(grpc.RpcError):
                compress(requests(), timeout=0.5)
        assert eventually(lambda: len(logged()) == 5)
        gate.set()
    assert all(r.peer.startswith("ipv4:127.0.0.1:") for r in logged())


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


def test_a_defect_is_an_internal_error_without_its_inner_life(serve, digits, monkeypatch, caplog):
    server = serve()

    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("secret")

    monkeypatch.setattr(Lanes, "run", broken)
    with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        stub = pb_grpc.CompressionServiceStub(channel)
        with pytest.raises(grpc.RpcError) as caught:
            stub.Compress(pb.CompressRequest(images=[raw(digits[0])]))
    assert caught.value.code() is grpc.StatusCode.INTERNAL
    assert "secret" not in caught.value.details()
    assert "secret" in caplog.text


@pytest.mark.parametrize("host", ["::1", "[::1]"])
def test_an_ipv6_address_is_listened_on(serve, host):
    try:
        hold_port("::1", 0).close()
    except StartError:
        pytest.skip("no IPv6 here")
    server = serve(host=host)
    with grpc.insecure_channel(f"[::1]:{server.port}") as channel:
        info = pb_grpc.ModelServiceStub(channel).GetServerInfo(pb.GetServerInfoRequest())
    assert info.device == "cpu"
    with socket.create_connection(("::1", server.metrics_port)):
        pass
    with pytest.raises(StartError, match=rf"cannot listen on \[::1\]:{server.port}: is the port"):
        serve(host=host, port=server.port)


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
