"""Clients and servers that show each other certificates."""

from pathlib import Path

import grpc
import pytest

from kompakt_client import Client, UnavailableError
from tests.client.conftest import FAST, Blocking
from tests.client.fake_server import FakeServer, serve

PEM = Path(__file__).with_name("localhost.pem")
"""A certificate for localhost, signed with its own key, which stands beside it: for tests alone."""
NO_PAIR = "KOMPAKT_CERT and KOMPAKT_KEY must name a certificate and its own key"


@pytest.fixture(scope="module")
def target():
    """A server that lets in whoever has the certificate."""
    pem = PEM.read_bytes()
    credentials = grpc.ssl_server_credentials([(pem, pem)], pem, require_client_auth=True)
    server, target = serve(FakeServer(), credentials=credentials)
    yield target
    server.stop(None)


@pytest.fixture
def name_files(monkeypatch, tmp_path):
    """Put texts into files, and the files into the environment."""

    def name(**texts):
        for variable, text in texts.items():
            path = tmp_path / f"{variable}.pem"
            path.write_text(text)
            monkeypatch.setenv(f"KOMPAKT_{variable}", str(path))

    return name


def test_the_environment_gives_both_sides_certificates(target, monkeypatch):
    for variable in ("CA", "CERT", "KEY"):
        monkeypatch.setenv(f"KOMPAKT_{variable}", str(PEM))
    with Client.from_env(target=target) as client:
        assert client.models()
        assert "credentials=***" in repr(client)


def test_an_async_client_shows_its_certificate(target):
    pem = PEM.read_bytes()
    client = Blocking(target, credentials=grpc.ssl_channel_credentials(pem, pem, pem))
    assert client.models()
    client.close()


def test_without_a_certificate_nobody_is_let_in(target):
    credentials = grpc.ssl_channel_credentials(PEM.read_bytes())
    for given in (credentials, None):
        with (
            Client(target, credentials=given, retry=FAST, timeout=10) as client,
            pytest.raises(UnavailableError),
        ):
            client.models()


@pytest.mark.parametrize("text", ["", "no certificate", "-----BEGIN CERTIFICATE-----"])
def test_an_authority_that_is_none_is_refused_at_once(name_files, text):
    name_files(CA=text)
    with pytest.raises(ValueError, match="KOMPAKT_CA names a file that holds no certificate"):
        Client.from_env()


def test_a_certificate_needs_its_own_key(name_files):
    certificate, end, key = PEM.read_text().partition("-----END CERTIFICATE-----\n")
    name_files(CERT=key, KEY=certificate + end)
    with pytest.raises(ValueError, match=NO_PAIR):
        Client.from_env()
