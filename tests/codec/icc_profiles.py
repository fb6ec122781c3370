"""ICC profiles made by hand: matrices of any primaries, greys of any gamma, an ideal press."""

import struct

import numpy as np
from PIL import ImageCms

ADOBE_RGB = ((0.60974, 0.31111, 0.01947), (0.20528, 0.62567, 0.06087), (0.14919, 0.06322, 0.74457))
SRGB = ((0.43607, 0.22249, 0.01392), (0.38515, 0.71687, 0.09708), (0.14307, 0.06061, 0.71410))
"""XYZ of red, green and blue under D50."""
_D50 = (0.9642, 1.0, 0.8249)


def profile(space: bytes, tags: dict[bytes, bytes], *, device: bytes, pcs: bytes) -> bytes:
    directory, data = b"", b""
    start = 128 + 4 + 12 * len(tags)
    for name, body in tags.items():
        padded = body + bytes(-len(body) % 4)
        directory += name + struct.pack(">II", start + len(data), len(body))
        data += padded
    header = struct.pack(">I4xI", start + len(data), 0x02100000) + device + space + pcs
    header = (header + bytes(12) + b"acsp").ljust(68, b"\0") + xyz_numbers(_D50)
    return header.ljust(128, b"\0") + struct.pack(">I", len(tags)) + directory + data


def xyz_numbers(values: tuple[float, ...]) -> bytes:
    return struct.pack(">3i", *(round(value * 65536) for value in values))


def xyz(values: tuple[float, ...]) -> bytes:
    return b"XYZ \0\0\0\0" + xyz_numbers(values)


def gamma_curve(gamma: float) -> bytes:
    return b"curv\0\0\0\0" + struct.pack(">IH", 1, round(gamma * 256))


def rgb_profile(primaries: tuple[tuple[float, ...], ...], gamma: float) -> bytes:
    tags = {b"wtpt": xyz(_D50)}
    for name, primary in zip(b"rgb", primaries, strict=True):
        tags[bytes([name]) + b"XYZ"] = xyz(primary)
        tags[bytes([name]) + b"TRC"] = gamma_curve(gamma)
    return profile(b"RGB ", tags, device=b"mntr", pcs=b"XYZ ")


def grey_profile(gamma: float) -> bytes:
    tags = {b"wtpt": xyz(_D50), b"kTRC": gamma_curve(gamma)}
    return profile(b"GRAY", tags, device=b"mntr", pcs=b"XYZ ")


def press_profile() -> bytes:
    """CMYK whose black alone prints: L* falls with K, and the other inks do nothing."""
    ramp = bytes(range(256))
    grid = np.zeros((2, 2, 2, 2, 3), np.uint8)  # in the order C, M, Y, K
    grid[..., 0, :] = (255, 128, 128)
    grid[..., 1, :] = (0, 128, 128)
    identity = b"".join(struct.pack(">i", 65536 * (i % 4 == 0)) for i in range(9))
    table = b"mft1\0\0\0\0" + bytes([4, 3, 2, 0]) + identity + ramp * 4 + grid.tobytes() + ramp * 3
    tags = {b"wtpt": xyz(_D50), b"A2B0": table}
    return profile(b"CMYK", tags, device=b"prtr", pcs=b"Lab ")


def srgb_profile() -> bytes:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
