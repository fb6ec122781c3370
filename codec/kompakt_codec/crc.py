"""CRC-32C, as google-crc32c computes it (hardware where there is some)."""

import google_crc32c


def crc32c(*parts: bytes) -> int:
    """The CRC-32C of the parts joined, an integer below 2**32."""
    value = 0
    for part in parts:
        value = google_crc32c.extend(value, part)
    return int(value)
