"""Models are loaded, promoted, rolled back and unloaded while calls go on."""

import shutil
import threading
from pathlib import Path

import grpc
import numpy as np
import pytest

from kompakt.v1 import compression_pb2 as pb
from kompakt.v1 import compression_pb2_grpc as pb_grpc
from kompakt_client import ModelChangeError, UnknownModelError
from kompakt_client.cli import main
from kompakt_codec.checkpoint import Checkpoint
from kompakt_codec.codec import Codec
from kompakt_codec.errors import CheckpointError
from tests.service.live import Traffic, change_under_traffic, make_versions
from tests.service.support import failure, item_failure, metrics_page, raw, value
from tests.support import (
    make_any_size_checkpoint,
)

EMBEDDED = pb.FRAME_PROFILE_EMBEDDED


def test_a_version_answers_to_its_reference_until_it_is_promoted(client, digits):
    first = client.model()
    second = client.load_model("next/a1.safetensors")

    assert (second.name, second.is_current, second.is_default) == ("tiny-ae", False, False)
    assert [model.reference for model in client.models()] == [first.reference, second.reference]
    assert client.model("tiny-ae") == first
    assert client.compress(digits[0]).fingerprint == first.fingerprint
    asked = client.compress(digits[0], model=second.reference)
    assert (asked.model, asked.fingerprint) == ("tiny-ae", second.fingerprint)

    promoted = client.promote_model(second.reference)

    assert (promoted.is_current, promoted.is_default) == (True, True)
    assert client.compress(digits[0]).fingerprint == second.fingerprint
    assert [m.version for m in client.models()] == [second.version, first.version]


@pytest.mark.parametrize("profile", ["file", "embedded"])
def test_streams_of_an_earlier_version_still_decode(client, digits, profile):
    old = client.compress(digits[0], profile=profile, reconstruction=True, fallback="never")
    client.load_model("next/a1.safetensors", promote=True)
    new = client.compress(digits[0], profile=profile, reconstruction=True, fallback="never")

    for made in (old, new):
        assert np.array_equal(client.decompress(made).to_numpy(), made.reconstruction)
    assert old.fingerprint != new.fingerprint
    named = client.decompress(old.data, profile=profile, model=f"tiny-ae@{old.fingerprint[:8]}")
    assert np.array_equal(named.to_numpy(), old.reconstruction)


def test_a_file_decodes_by_its_own_version_under_its_models_name(client, digits):
    old = client.compress(digits[0], fallback="never", reconstruction=True)
    new = client.load_model("next/a1.safetensors", promote=True)

    by_name = client.decompress(old.data, model="tiny-ae")
    assert np.array_equal(by_name.to_numpy(), old.reconstruction)
    [failed] = client.decompress_batch([old.data], model=new.reference)
    assert failed.error.reason == "MODEL_MISMATCH"


def test_rolling_back_goes_back_step_by_step(client, digits):
    versions = [client.model().version]
    versions += [
        client.load_model(f"next/a{seed}.safetensors", promote=True).version for seed in (1, 2)
    ]

    assert client.rollback_model("tiny-ae").version == versions[1]
    assert client.rollback_model("tiny-ae").version == versions[0]
    with pytest.raises(ModelChangeError) as caught:
        client.rollback_model("tiny-ae")
    assert (caught.value.code, caught.value.reason) == ("FAILED_PRECONDITION", "NO_EARLIER_VERSION")
    assert client.compress(digits[0]).fingerprint == client.model().fingerprint
    assert client.model().version == versions[0]


def test_rolling_back_skips_what_is_not_loaded_any_more(client):
    first = client.model()
    second = client.load_model("next/a1.safetensors", promote=True)
    client.load_model("next/a2.safetensors", promote=True)
    client.unload_model(second.reference)

    assert client.rollback_model("tiny-ae").version == first.version


def test_a_new_name_is_current_at_once_and_unloaded_as_a_whole(client, digits):
    added = client.load_model("next/vae.safetensors")

    assert (added.name, added.is_current, added.is_default) == ("tiny-vae", True, False)
    made = client.compress(digits[0], model="tiny-vae", fallback="never")
    assert client.unload_model("tiny-vae", all_versions=True) == (added.reference,)
    with pytest.raises(UnknownModelError):
        client.compress(digits[0], model="tiny-vae")
    [failed] = client.decompress_batch([made])
    assert failed.error.reason == "MODEL_MISMATCH"


def test_what_cannot_be_done_is_refused_with_a_reason(server, directory):
    (directory / "broken.safetensors").write_bytes(b"not one")
    (directory / "notes.txt").write_text("notes")
    outside = directory.parent / "outside.safetensors"
    shutil.copy(directory / "a.safetensors", outside)
    (directory / "link.safetensors").symlink_to(outside)
    current = next(iter(server.store)).version
    invalid, missing = grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND
    precondition = grpc.StatusCode.FAILED_PRECONDITION
    cases = {
        **dict.fromkeys(
            ["", ".", "..", "../outside.safetensors", str(outside), "link.safetensors", "a\0b"],
            (invalid, "INVALID_FIELD"),
        ),
        "notes.txt": (invalid, "INVALID_FIELD"),
        "nothing.safetensors": (missing, "CHECKPOINT_NOT_FOUND"),
        "n" * 256 + ".safetensors": (missing, "CHECKPOINT_NOT_FOUND"),
        "broken.safetensors": (invalid, "INVALID_CHECKPOINT"),
        "a.safetensors": (grpc.StatusCode.ALREADY_EXISTS, "VERSION_LOADED"),
        str(directory / "a.safetensors"): (grpc.StatusCode.ALREADY_EXISTS, "VERSION_LOADED"),
    }
    with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        admin = pb_grpc.ModelAdminServiceStub(channel)
        for path, expected in cases.items():
            request = pb.LoadModelRequest(path=path)
            assert failure(lambda r=request: admin.LoadModel(r)) == expected, path
        for model in ("nobody", "tiny-ae@", "tiny-ae@ffffffffffff", "tiny-ae@x"):
            promote, unload = (
                pb.PromoteModelRequest(model=model),
                pb.UnloadModelRequest(model=model),
            )
            assert failure(lambda r=promote: admin.PromoteModel(r)) == (missing, "UNKNOWN_MODEL")
            assert failure(lambda r=unload: admin.UnloadModel(r)) == (missing, "UNKNOWN_MODEL")
        rollback = pb.RollbackModelRequest(name="nobody")
        assert failure(lambda: admin.RollbackModel(rollback)) == (missing, "UNKNOWN_MODEL")
        for request in (
            pb.UnloadModelRequest(model=current.reference),
            pb.UnloadModelRequest(model="tiny-ae"),
            pb.UnloadModelRequest(model="tiny-ae", all_versions=True),
        ):
            in_use = (precondition, "MODEL_IN_USE")
            assert failure(lambda r=request: admin.UnloadModel(r)) == in_use
    assert server.store.snapshot().registry.revision == 0


def test_versions_that_begin_alike_must_be_told_apart_by_an_admin(client, directory, digits):
    """A checkpoint of the same entropy path in another file, as a retrained decoder would be."""
    twin = make_twin(directory / "a.safetensors", directory / "next/twin.safetensors")
    loaded = client.load_model(twin)
    assert loaded.fingerprint == client.model().fingerprint
    assert loaded.version != client.model().version

    with pytest.raises(Exception, match="can mean") as caught:
        client.promote_model(f"tiny-ae@{loaded.fingerprint[:8]}")
    assert caught.value.reason == "INVALID_FIELD"

    made = client.compress(digits[0], model=f"tiny-ae@{loaded.fingerprint}", profile="embedded")
    assert client.decompress(made).model == "tiny-ae"
    assert client.promote_model(loaded.reference).is_current


def make_twin(path: Path, twin: Path) -> str:
    """The same model in a file of other bytes."""
    checkpoint = Checkpoint.load(path)
    training = checkpoint.header.training.model_copy(update={"command": "again"})
    checkpoint.header = checkpoint.header.model_copy(update={"training": training})
    checkpoint.save(twin)
    return f"next/{twin.name}"


@pytest.mark.parametrize("fault", ["other symbols", "no stream", "a defect"])
def test_a_model_that_fails_its_self_test_never_becomes_visible(
    client, server, digits, monkeypatch, fault
):
    before = server.store.snapshot()
    sound = Codec.decode

    def decode(codec, frames):
        symbols = sound(codec, frames)
        if codec.fingerprint == before.get("").codec.fingerprint:
            return symbols
        assert server.store.snapshot() is before
        if fault == "a defect":
            raise ZeroDivisionError("of all things")
        return [one + 1 for one in symbols] if fault == "other symbols" else symbols[1:]

    monkeypatch.setattr(Codec, "decode", decode)
    with pytest.raises(ModelChangeError, match="takes no traffic") as caught:
        client.load_model("next/a1.safetensors", promote=True)

    assert (caught.value.code, caught.value.reason) == ("FAILED_PRECONDITION", "SELF_TEST_FAILED")
    assert server.store.snapshot() is before
    assert client.decompress(client.compress(digits[0])).model == "tiny-ae"


def test_a_file_that_changes_later_changes_nothing(client, directory, digits):
    made = client.compress(digits[0], fallback="never", reconstruction=True)
    path = directory / "a.safetensors"
    size = path.stat().st_size
    with path.open("r+b") as file:  # in place, as `cp` does
        file.seek(size // 2)
        file.write(bytes(size - size // 2))

    again = client.compress(digits[0], fallback="never", reconstruction=True)
    assert again.data == made.data
    assert np.array_equal(again.reconstruction, made.reconstruction)


def test_a_stream_ends_with_the_version_that_it_began_with(server, client, digits):
    first = client.model()
    gate = threading.Event()

    def requests():
        yield pb.StreamCompressRequest(options=pb.CompressOptions(), images=[raw(digits[0])])
        gate.wait(30)
        yield pb.StreamCompressRequest(images=[raw(digits[1])])

    with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        answers = pb_grpc.CompressionServiceStub(channel).StreamCompress(requests())
        made = [next(answers)]
        client.load_model("next/a1.safetensors", promote=True)
        client.unload_model(first.reference)
        gate.set()
        made += answers

    assert [answer.fingerprint for answer in made] == [first.fingerprint] * 2
    assert all(answer.results[0].stream.data for answer in made)


def test_a_decompressing_stream_keeps_what_was_loaded_when_it_began(server, client, digits):
    first = client.model()
    old = client.compress(digits[0], fallback="never")
    gate = threading.Event()

    def requests():
        stream = pb.CompressedImage(data=old.data)
        yield pb.StreamDecompressRequest(options=pb.DecompressOptions(), streams=[stream])
        gate.wait(30)
        yield pb.StreamDecompressRequest(streams=[stream])

    with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        stub = pb_grpc.CompressionServiceStub(channel)
        answers = stub.StreamDecompress(requests())
        images = [next(answers).results[0].image]
        client.load_model("next/a1.safetensors", promote=True)
        client.unload_model(first.reference)
        gate.set()
        images += [answer.results[0].image for answer in answers]
        assert images[0] == images[1]
        late = stub.Decompress(
            pb.DecompressRequest(streams=[pb.CompressedImage(data=old.data), pb.CompressedImage()])
        )
    assert item_failure(late.results[0].status)[1] == "MODEL_MISMATCH"


def test_versions_are_compared_side_by_side(client, digits):
    other = client.load_model("next/a1.safetensors")

    evaluation = client.evaluate(
        [digits[0]], models=["tiny-ae", other.reference, "tiny-ae"], baselines=[]
    )

    assert [m.codec for m in evaluation.pooled] == ["tiny-ae", other.reference]
    assert [m.codec for m in client.evaluate([digits[0]], baselines=[]).pooled] == ["tiny-ae"]


def test_metrics_follow(server, client):
    first = client.model()
    second = client.load_model("next/a1.safetensors")
    page = metrics_page(server)
    assert value(page, "kompakt_model_info", version=first.version, current="true") == 1
    assert value(page, "kompakt_model_info", version=second.version, current="false") == 1

    client.promote_model(second.reference)
    client.unload_model(first.reference)

    page = metrics_page(server)
    assert value(page, "kompakt_model_info", version=first.version) == 0
    assert value(page, "kompakt_model_info", version=second.version, current="true") == 1
    assert value(page, "kompakt_model_info", model="tiny-ae") == 1


def test_two_files_of_one_model_at_the_start_are_said(serve, directory):
    shutil.copy(directory / "next/a1.safetensors", directory / "b.safetensors")
    with pytest.raises(CheckpointError, match="keep one of them in a sub-directory"):
        serve(directory)


def test_the_self_test_passes_for_any_size(client, directory, digits):
    make_any_size_checkpoint().save(directory / "next/any.safetensors")

    assert client.load_model("next/any.safetensors").levels == 3
    assert client.compress(digits[0][:20, :17], model="tiny-any").height == 20


def test_the_command_shows_versions(server, client, capsys):
    second = client.load_model("next/a1.safetensors")

    assert main(["models", "--target", f"127.0.0.1:{server.port}"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].startswith("tiny-ae (default)")
    assert lines[2].startswith(f"  {second.reference} ")


def test_calls_never_fail_while_models_come_and_go(server, directory):
    codecs = make_versions(directory)
    with Traffic(server, codecs, threads=4) as traffic:
        change_under_traffic(server, traffic, promotions=20, least_calls=1000)
    assert traffic.calls >= 1000
    assert traffic.fingerprints == set(codecs)
