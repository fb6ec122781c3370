"""CRC-32C, as google-crc32c computes it (hardware where there is some)."""

import google_crc32c
import numpy as np
import numpy.typing as npt


def crc32c(data: bytes) -> int:
    """The CRC-32C of data, an integer below 2**32."""
    return int(google_crc32c.value(data))


def extend(value: int, data: bytes | npt.NDArray[np.uint8]) -> int:
    """The CRC-32C of what had the one given and of more data after it: bytes, or numbers (n,)."""
    return int(google_crc32c.extend(value, data))
