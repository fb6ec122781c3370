"""How clients are configured and shown."""

from fractions import Fraction

import numpy as np
import pytest

from kompakt_client import AsyncClient, Client
from kompakt_client._config import DEFAULT_MESSAGE_BYTES

BOTH = pytest.mark.parametrize("cls", [Client, AsyncClient])


@BOTH
def test_the_environment_configures_a_client(cls, monkeypatch):
    monkeypatch.setenv("KOMPAKT_TARGET", "images.example:443")
    monkeypatch.setenv("KOMPAKT_TIMEOUT", "2.5")
    monkeypatch.setenv("KOMPAKT_TOKEN", "secret")

    client = cls.from_env()

    assert client.target == "images.example:443"
    assert repr(client) == f"{cls.__name__}('images.example:443', token=***, timeout=2.5)"


def test_an_empty_environment_means_the_defaults():
    assert repr(Client.from_env()) == repr(Client()) == "Client('localhost:50051', timeout=30)"


def test_what_is_given_wins_over_the_environment(monkeypatch):
    monkeypatch.setenv("KOMPAKT_TARGET", "images.example:443")
    monkeypatch.setenv("KOMPAKT_TIMEOUT", "nonsense")

    assert repr(Client.from_env(target="here:1", timeout=4)) == "Client('here:1', timeout=4)"


@pytest.mark.parametrize("value", ["soon", "-1", "0", "nan", "inf"])
def test_a_wrong_timeout_names_its_variable(monkeypatch, value):
    monkeypatch.setenv("KOMPAKT_TIMEOUT", value)

    with pytest.raises(ValueError, match=f"KOMPAKT_TIMEOUT must be a positive .*, not '{value}'"):
        Client.from_env()


def test_a_timeout_of_more_than_a_year_names_its_variable(monkeypatch):
    monkeypatch.setenv("KOMPAKT_TIMEOUT", "1e30")

    with pytest.raises(
        ValueError, match=r"KOMPAKT_TIMEOUT must be at most 31536000 .*, not '1e30'"
    ):
        Client.from_env()


@pytest.mark.parametrize(("given", "missing"), [("CERT", "KEY"), ("KEY", "CERT")])
def test_half_a_certificate_names_the_other_half(monkeypatch, tmp_path, given, missing):
    path = tmp_path / "file.pem"
    path.write_bytes(b"")
    monkeypatch.setenv(f"KOMPAKT_{given}", str(path))

    with pytest.raises(ValueError, match=f"KOMPAKT_{given} needs KOMPAKT_{missing}"):
        Client.from_env()


def test_an_unreadable_certificate_names_its_variable(monkeypatch, tmp_path):
    monkeypatch.setenv("KOMPAKT_CA", str(tmp_path / "missing.pem"))

    with pytest.raises(ValueError, match="KOMPAKT_CA names a file that cannot be read"):
        Client.from_env()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"timeout": 0}, "a timeout must be a positive number of seconds, not 0"),
        ({"timeout": float("inf")}, "a timeout must be a positive number"),
        ({"timeout": 1e30}, r"a timeout must be at most 31536000 seconds, a year, not 1e\+30"),
        ({"max_message_bytes": 0}, "max_message_bytes must be positive, not 0"),
        ({"max_message_bytes": 1 << 31}, "max_message_bytes must be at most 2147483647, not 2147"),
        ({"connections": 0}, "connections must be at least 1, not 0"),
        ({"target": ""}, "target must be HOST:PORT, not ''"),
        ({"target": "http://here:1"}, "target must be HOST:PORT, not the URL 'http://here:1'"),
        ({"target": "HTTPS://here"}, "target must be HOST:PORT, not the URL 'HTTPS://here'"),
    ],
)
@BOTH
def test_settings_are_checked_at_once(cls, settings, message):
    with pytest.raises(ValueError, match=message):
        cls(**settings)


@BOTH
@pytest.mark.parametrize("seconds", [np.float32(20), Fraction(20)])
def test_a_timeout_may_be_any_number_and_is_kept_as_a_float(cls, seconds):
    client = cls(timeout=seconds)

    for timeout in (None, seconds):  # a float32 of the time of day is off by minutes
        assert type(client._settings.patience(timeout).timeout) is float
    assert repr(client) == f"{cls.__name__}('localhost:50051', timeout=20)"


def test_no_given_target_stands_for_another(monkeypatch):
    monkeypatch.setenv("KOMPAKT_TARGET", "elsewhere:1")

    with pytest.raises(ValueError, match="target must be HOST:PORT, not ''"):
        Client.from_env(target="")


@BOTH
@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"target": None}, "target must be a string, not None"),
        ({"timeout": "5"}, "timeout must be a number of seconds, not '5'"),
        ({"token": b"secret"}, "a token must be a string, not bytes"),
    ],
)
def test_settings_of_another_type_are_refused(cls, settings, message):
    with pytest.raises(TypeError, match=message):
        cls(**settings)


def test_secrets_are_not_shown(running, image):
    with Client(running.target, token="secret") as client:
        client.compress(image)
        shown = repr(client) + repr(vars(client)["_settings"])

    assert "secret" not in shown


@pytest.mark.parametrize("token", ["secret\n", "s\x7fcret", "sécret"])
@BOTH
def test_a_token_that_no_header_can_hold_is_refused_without_being_shown(cls, monkeypatch, token):
    monkeypatch.setenv("KOMPAKT_TOKEN", token)
    for make, name in ((lambda: cls(token=token), "a token"), (cls.from_env, "KOMPAKT_TOKEN")):
        with pytest.raises(ValueError, match=f"^{name} must be plain ASCII") as caught:
            make()
        assert "cret" not in str(caught.value)


@pytest.mark.parametrize("method", ["compress", "compress_many"])
def test_a_token_is_checked_when_it_is_asked_for(make_client, fake, image, method):
    client = make_client(token=lambda: "secret\n")

    with pytest.raises(ValueError, match="a token must be plain ASCII"):
        list(getattr(client, method)([image] if method == "compress_many" else image))

    assert fake.calls == []


@BOTH
def test_the_channel_is_made_at_the_first_call(cls):
    assert vars(cls("nowhere.invalid:1"))["_channels"] == {}


def test_one_mechanism_retries_and_messages_are_large():
    options = dict(Client()._settings.channel_options())

    assert options["grpc.enable_retries"] == 0
    assert options["grpc.keepalive_time_ms"] == 30_000
    assert options["grpc.max_receive_message_length"] == DEFAULT_MESSAGE_BYTES == 64 * 2**20


def test_no_token_means_no_metadata(client, fake, image):
    client.compress(image)

    assert "authorization" not in fake.metadata[0]


def test_a_token_goes_with_calls_and_streams(make_client, fake, image):
    client = make_client(token="secret")

    client.compress(image)
    list(client.compress_many([image]))

    assert [sent["authorization"] for sent in fake.metadata] == ["Bearer secret"] * 2
