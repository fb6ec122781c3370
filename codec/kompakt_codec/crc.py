"""CRC-32C, as google-crc32c computes it (hardware where there is some)."""

import google_crc32c


def crc32c(data: bytes) -> int:
    """The CRC-32C of data, an integer below 2**32."""
    return int(google_crc32c.value(data))


def extend(value: int, data: bytes) -> int:
    """The CRC-32C of what had the one given and of more data after it."""
    return int(google_crc32c.extend(value, data))
