"""Failures turned into exceptions."""

import copy
import pickle
import re
from pathlib import Path

import grpc
import pytest
from google.rpc import error_details_pb2

import kompakt
import kompakt_client
from kompakt_client import _errors
from kompakt_client._errors import REASONS
from kompakt_client._status import error_of_item
from tests.client.fake_codec import make_status
from tests.client.fake_server import Fault

PROTO = Path(kompakt.__path__[0], "v1", "compression.proto").read_text()
CODES = {code.name for code in grpc.StatusCode}
EXCEPTIONS = {
    name: value
    for name, value in vars(kompakt_client).items()
    if isinstance(value, type) and issubclass(value, Exception)
}


def test_every_reason_of_the_contract_has_a_class():
    comments = " ".join(re.findall(r"//(.*)", PROTO))
    words = set(re.findall(r"\b[A-Z]+(?:_[A-Z]+)+\b", comments))
    enums = set(re.findall(r"^  ([A-Z0-9_]+) = \d+;", PROTO, re.MULTILINE))

    assert words - enums - CODES == set(REASONS)


@pytest.mark.parametrize(("reason", "expected"), REASONS.items())
def test_the_reason_decides(reason, expected):
    error = error_of_item(make_status(13, "it failed", reason=reason))

    assert type(error) is expected
    assert (str(error), error.reason, error.code) == ("it failed", reason, "INTERNAL")


@pytest.mark.parametrize(
    ("code", "retry_after", "expected"),
    [
        ("INVALID_ARGUMENT", None, kompakt_client.InvalidRequestError),
        ("NOT_FOUND", None, kompakt_client.UnknownModelError),
        ("DATA_LOSS", None, kompakt_client.CorruptStreamError),
        ("FAILED_PRECONDITION", None, kompakt_client.ModelMismatchError),
        ("UNAUTHENTICATED", None, kompakt_client.AuthenticationError),
        ("PERMISSION_DENIED", None, kompakt_client.AuthenticationError),
        ("DEADLINE_EXCEEDED", None, kompakt_client.DeadlineExceededError),
        ("UNAVAILABLE", None, kompakt_client.UnavailableError),
        ("RESOURCE_EXHAUSTED", None, kompakt_client.MessageTooLargeError),
        ("RESOURCE_EXHAUSTED", 2.5, kompakt_client.OverloadedError),
        ("INTERNAL", None, kompakt_client.ServerError),
        ("UNIMPLEMENTED", None, kompakt_client.ServerError),
        ("UNKNOWN", None, kompakt_client.ServerError),
    ],
)
def test_without_a_reason_the_code_decides(code, retry_after, expected):
    number = grpc.StatusCode[code].value[0]

    error = error_of_item(make_status(number, "it failed", retry_after=retry_after))

    assert type(error) is expected
    assert (error.code, error.reason, error.retry_after) == (code, "", retry_after)


def test_reasons_of_others_are_not_taken_for_ours():
    error = error_of_item(make_status(3, "no", reason="INVALID_IMAGE", domain="other.dev"))

    assert type(error) is kompakt_client.InvalidRequestError
    assert error.reason == ""


def test_a_nearest_quality_that_is_not_told_is_none():
    error = error_of_item(make_status(9, "no", reason="QUALITY_UNREACHABLE"))

    assert (error.size_bytes, error.mse, error.psnr_db) == (None, None, None)


def test_the_server_names_fields(client, fake, image):
    fake.faults.append(
        Fault(grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD", field="options.model")
    )

    with pytest.raises(kompakt_client.InvalidRequestError) as caught:
        client.compress(image)

    [violation] = caught.value.violations
    assert (violation.field, violation.description) == ("options.model", "no")
    assert isinstance(caught.value.__cause__, grpc.RpcError)


@pytest.mark.parametrize("details", [b"", b"\xff\xff", b"\x1a\x05\x0a\x03abc"])
def test_details_that_cannot_be_read_are_left_out(client, fake, image, details):
    fake.faults.append(Fault(grpc.StatusCode.INVALID_ARGUMENT, details=details))

    with pytest.raises(kompakt_client.InvalidRequestError, match="injected") as caught:
        client.compress(image)

    assert caught.value.reason == ""


def test_a_detail_that_cannot_be_read_is_left_out():
    status = make_status(3, "no", reason="INVALID_IMAGE")
    status.details[0].value = b"\xff\xff"

    assert error_of_item(status).reason == ""


@pytest.mark.parametrize(("told", "expected"), [(-5, 0.0), (10**18, 1e18)])
def test_any_wait_that_is_told_is_a_number_of_seconds(told, expected):
    status = make_status(8, "busy", retry_after=1)
    [detail] = status.details
    retry = error_details_pb2.RetryInfo()
    retry.retry_delay.seconds = told
    detail.Pack(retry)

    assert error_of_item(status).retry_after == expected


def test_a_server_that_is_not_there_is_named(make_client, image):
    with pytest.raises(kompakt_client.UnavailableError, match=r"cannot reach 127\.0\.0\.1:1: "):
        make_client(target="127.0.0.1:1").compress(image)


def test_the_drawn_tree_is_the_tree():
    drawn = re.findall(r"[├└]── (\w+)", _errors.__doc__)

    assert set(drawn) | {"KompaktError"} == set(EXCEPTIONS)
    assert all(issubclass(cls, kompakt_client.KompaktError) for cls in EXCEPTIONS.values())


@pytest.mark.parametrize("through", [copy.copy, lambda error: pickle.loads(pickle.dumps(error))])
def test_errors_travel_between_processes(through):
    error = kompakt_client.WrongSizeError("no", code="INVALID_ARGUMENT", reason="WRONG_SIZE")

    back = through(error)

    assert type(back) is type(error)
    assert (str(back), back.code, back.reason) == ("no", "INVALID_ARGUMENT", "WRONG_SIZE")
