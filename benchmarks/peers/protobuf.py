"""Just enough of protobuf's wire format to ask the peers without their packages."""


def message(field: int, value: bytes) -> bytes:
    """A length-delimited field: bytes, a string or a message."""
    return _varint(field << 3 | 2) + _varint(len(value)) + value


def infer_request(
    model: str, name: str, datatype: str, shape: tuple[int, ...], data: bytes
) -> bytes:
    """KServe's inference.ModelInferRequest with one input."""
    tensor = (
        message(1, name.encode())
        + message(2, datatype.encode())
        + message(3, b"".join(map(_varint, shape)))
    )
    return message(1, model.encode()) + message(5, tensor) + message(7, data)


def _varint(value: int) -> bytes:
    parts = []
    while value > 0x7F:
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*parts, value])
