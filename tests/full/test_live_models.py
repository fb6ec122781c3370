"""Ten thousand calls through twenty promotions and unloads."""

from pathlib import Path

import pytest

from tests.service.conftest import start_server
from tests.service.live import Traffic, change_under_traffic, make_versions
from tests.support import make_checkpoint

pytestmark = [pytest.mark.full, pytest.mark.timeout(1800)]


def test_ten_thousand_calls_never_fail(tmp_path: Path):
    (tmp_path / "next").mkdir()
    make_checkpoint("ae", seed=0).save(tmp_path / "a.safetensors")
    codecs = make_versions(tmp_path)
    server = start_server(tmp_path, admin="local")
    try:
        with Traffic(server, codecs, threads=8) as traffic:
            change_under_traffic(server, traffic, promotions=20, least_calls=10_000)
    finally:
        server.stop(grace_seconds=0)
    assert traffic.calls >= 10_000
    assert traffic.fingerprints == set(codecs)
