"""Many images through real servers, which stop and come back."""

from collections.abc import Iterator

import numpy as np
import pytest

from kompakt_client import Client
from tests.client.conftest import FAST
from tests.service.conftest import start_server


@pytest.fixture
def service(checkpoints) -> Iterator[list]:
    servers = [start_server(checkpoints)]
    yield servers
    servers[-1].stop(grace_seconds=0)


@pytest.mark.parametrize("ordered", [True, False])
def test_a_server_that_is_replaced_loses_and_doubles_nothing(service, checkpoints, digits, ordered):
    port = service[0].port
    with Client(f"127.0.0.1:{port}", retry=FAST, connections=2) as client:
        expected = [one.unwrap().data for one in client.compress_batch(digits)]
        made = {}
        for result in client.compress_many(digits, ordered=ordered):
            assert result.index not in made
            made[result.index] = result.data
            if len(made) == 20:
                service[-1].stop(grace_seconds=0)
                service.append(start_server(checkpoints, port=port))

    assert [made[n] for n in range(len(digits))] == expected


def test_streams_come_back_as_images(service, digits):
    with Client(f"127.0.0.1:{service[0].port}") as client:
        made = [one.unwrap() for one in client.compress_many(digits, reconstruction=True)]
        back = [one.unwrap() for one in client.decompress_many(made, ordered=False)]

    for one in back:
        assert np.array_equal(one.to_numpy(), made[one.index].reconstruction)
    assert len(back) == len(digits)
