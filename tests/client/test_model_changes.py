"""Models are loaded, promoted and unloaded: from Python, and by `kompakt models`."""

import json

import grpc
import pytest

from kompakt_client import AuthenticationError, ModelChangeError, UnavailableError
from tests.client.fake_server import Fault

VERSION = "fake-ae@f1f1f1f1-22222222"


def test_a_checkpoint_is_loaded(client, fake):
    model = client.load_model("next/ae.safetensors")

    assert (model.reference, model.is_current) == (VERSION, False)
    assert fake.requests[-1].path == "next/ae.safetensors"
    assert client.load_model("a.safetensors", promote=True).is_current


def test_a_version_is_promoted_and_rolled_back(client):
    assert client.promote_model(VERSION).reference == VERSION
    assert client.rollback_model("fake-ae").version == "f1f1f1f1-11111111"


def test_a_version_or_a_model_is_unloaded(client, fake):
    assert client.unload_model(VERSION) == (VERSION,)
    assert not fake.requests[-1].all_versions
    client.unload_model("fake-ae", all_versions=True)
    assert fake.requests[-1].all_versions


def test_a_change_is_never_tried_twice(client, fake):
    fake.faults.append(Fault(grpc.StatusCode.UNAVAILABLE))

    with pytest.raises(UnavailableError):
        client.rollback_model("fake-ae")

    assert fake.num_calls("RollbackModel") == 1


def test_a_change_of_no_time_is_refused(client, fake):
    with pytest.raises(ValueError, match="a timeout must be a positive number of seconds, not 0"):
        client.load_model("a.safetensors", timeout=0)

    assert fake.calls == []


@pytest.mark.parametrize("arguments", [["load", "a"], ["unload", VERSION], ["rollback", "fake-ae"]])
def test_a_commands_timeout_is_that_of_the_change(run, fake, arguments):
    fake.delay = 1.0

    status, _, err = run("models", *arguments, "--timeout", "0.2")

    assert (status, "in time" in err[0]) == (1, True)


@pytest.mark.parametrize(
    ("code", "reason", "expected"),
    [
        (grpc.StatusCode.FAILED_PRECONDITION, "SELF_TEST_FAILED", ModelChangeError),
        (grpc.StatusCode.NOT_FOUND, "CHECKPOINT_NOT_FOUND", ModelChangeError),
        (grpc.StatusCode.PERMISSION_DENIED, "ADMIN_REFUSED", AuthenticationError),
    ],
)
def test_a_refused_change_says_why(client, fake, code, reason, expected):
    fake.faults.append(Fault(code, reason))

    with pytest.raises(expected) as caught:
        client.load_model("a.safetensors")

    assert caught.value.reason == reason
    assert not caught.value.of_item


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ["load", "a.safetensors"],
            f"loaded {VERSION}; `kompakt models promote {VERSION}` makes it current",
        ),
        (["load", "a.safetensors", "--promote"], f"{VERSION} is current"),
        (["promote", VERSION], f"{VERSION} is current"),
        (["rollback", "fake-ae"], "fake-ae@f1f1f1f1-11111111 is current"),
        (["unload", VERSION], f"unloaded {VERSION}"),
        (["unload", "fake-ae", "--all"], "unloaded fake-ae"),
    ],
)
def test_a_command_says_what_it_did(run, arguments, said):
    assert run("models", *arguments) == (0, said + "\n", [])


def test_a_change_as_a_document(run):
    _, out, _ = run("models", "load", "a.safetensors", "--json")

    assert json.loads(out) == [{"change": "load", "model": VERSION, "is_current": False}]


def test_a_refused_change_is_one_line(run, fake):
    fake.faults.append(Fault(grpc.StatusCode.PERMISSION_DENIED, "ADMIN_REFUSED"))

    assert run("models", "promote", VERSION) == (1, "", ["kompakt: injected ADMIN_REFUSED"])


def test_all_versions_are_those_of_a_name(run, fake):
    assert run("models", "unload", VERSION, "--all") == (
        2,
        "",
        [f"kompakt: --all unloads all versions of a model: name fake-ae, not {VERSION}"],
    )
    assert fake.calls == []


def test_a_change_needs_to_know_of_what(run):
    status, _, err = run("models", "load")

    assert status == 2
    assert err[-1].startswith("kompakt models load: the following arguments are required: PATH")
