import google.protobuf.wrappers_pb2 as wrappers
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.http_load import is_complete, post
from benchmarks.peers.protobuf import infer_request, message
from benchmarks.requestfile import read_requests, write_requests


@given(requests=st.lists(st.binary(max_size=300)))
def test_a_file_of_requests_gives_them_back(tmp_path_factory, requests):
    path = tmp_path_factory.mktemp("requests") / "file"
    assert read_requests(write_requests(path, requests)) == requests


@given(value=st.binary(min_size=1, max_size=70_000))
def test_a_message_is_what_protobuf_writes(value):
    assert message(1, value) == wrappers.BytesValue(value=value).SerializeToString()


def test_an_inference_request_holds_its_fields_in_their_places():
    tensor = b"\x0a\x01x\x12\x05UINT8\x1a\x03\x01\xac\x02"  # name, datatype, packed shape (1, 300)
    wanted = b"\x0a\x01m" + b"\x2a" + bytes([len(tensor)]) + tensor + b"\x3a\x02ab"
    assert infer_request("m", "x", "UINT8", (1, 300), b"ab") == wanted


@given(body=st.binary(max_size=100), cut=st.integers(1, 10))
def test_an_answer_is_complete_with_its_last_byte(body, cut):
    head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\nServer: x\r\n\r\n".encode()
    answer = head + body
    assert is_complete(answer)
    assert not is_complete(answer[:-cut])


def test_an_answer_of_unknown_length_is_an_error():
    with pytest.raises(ValueError, match="Content-Length"):
        is_complete(b"HTTP/1.1 200 OK\r\n\r\nbody")


def test_a_post_tells_the_length_of_its_body():
    assert post("/a", b"body").endswith(b"Content-Length: 4\r\n\r\nbody")
