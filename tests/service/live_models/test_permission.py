"""Who may change the models of a server."""

import pytest

from kompakt_client import AuthenticationError, Client
from kompakt_service.admin import is_local


@pytest.mark.parametrize(("admin", "peer_is_local"), [("off", True), ("local", False)])
def test_changes_are_refused_unless_allowed(serve, directory, monkeypatch, admin, peer_is_local):
    server = serve(directory, admin=admin)
    monkeypatch.setattr("kompakt_service.admin.is_local", lambda _: peer_is_local)
    with Client(f"127.0.0.1:{server.port}") as client:
        for change in (
            lambda: client.load_model("next/a1.safetensors"),
            lambda: client.promote_model("tiny-ae"),
            lambda: client.rollback_model("tiny-ae"),
            lambda: client.unload_model("tiny-ae"),
        ):
            with pytest.raises(AuthenticationError, match="--admin local") as caught:
                change()
            assert (caught.value.code, caught.value.reason) == (
                "PERMISSION_DENIED",
                "ADMIN_REFUSED",
            )


def test_nobody_may_change_models_unless_it_is_said(serve, directory):
    with (
        Client(f"127.0.0.1:{serve(directory).port}") as client,
        pytest.raises(AuthenticationError),
    ):
        client.load_model("next/a1.safetensors")


@pytest.mark.parametrize(
    ("peer", "local"),
    [
        ("ipv4:127.0.0.1:5000", True),
        ("ipv6:%5B::1%5D:5000", True),
        ("ipv6:%5B::ffff:127.0.0.1%5D:5000", True),
        ("unix:", True),
        ("ipv4:10.0.0.1:5000", False),
        ("ipv4:128.127.0.1:5000", False),
        ("ipv6:%5Bfe80::1%5D:5000", False),
    ],
)
def test_who_is_local(peer, local):
    assert is_local(peer) is local
