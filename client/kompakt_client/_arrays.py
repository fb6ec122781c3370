"""Arrays from and to bytes.

NumPy is imported in the functions: its import takes longer than that of all
the rest of the client.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

_CHANNELS = (1, 3)


def pixels_of(data: bytes, height: int, width: int, channels: int) -> npt.NDArray[np.uint8]:
    """Return raw pixels as an array, uint8 HWC, without a copy."""
    import numpy as np

    return np.frombuffer(data, np.uint8).reshape(height, width, channels)


def numbers_of(
    data: bytes, shape: tuple[int, ...], dtype: Literal["u1", "<i2"]
) -> npt.NDArray[np.generic]:
    """Return a tensor's numbers as an array, without a copy."""
    import numpy as np

    return np.frombuffer(data, np.dtype(dtype)).reshape(shape)


def is_array(value: object) -> bool:
    """Tell whether a value is a NumPy array, without importing NumPy for it."""
    numpy = sys.modules.get("numpy")
    return numpy is not None and isinstance(value, numpy.ndarray)


def is_image(array: npt.NDArray[Any]) -> bool:
    """Tell whether an array has the shape of one image, HW or HWC with 1 or 3 channels."""
    return array.ndim == 2 or (array.ndim == 3 and array.shape[2] in _CHANNELS)


def to_hwc(array: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    """Return an array of pixels as uint8 HWC.

    Raises ValueError for an array that is empty, or not uint8 of shape (height,
    width), (height, width, 1) or (height, width, 3), or has masked pixels.
    """
    import numpy as np

    if array.dtype.char != "B" or not is_image(array) or array.size == 0:
        raise ValueError(
            "an array of pixels must be uint8 of shape (height, width), (height, width, 1) "
            f"or (height, width, 3), not {array.dtype} of shape {array.shape}"
        )
    if np.ma.is_masked(array):  # which would become pixels of its fill value
        raise ValueError("masked pixels have no value: fill them first, as array.filled(0) does")
    return array[:, :, None] if array.ndim == 2 else array
