"""Compiled loops: what numpy has no array operation for, and Python is too slow for."""

from collections.abc import Callable
from typing import ParamSpec, TypeVar, cast

import numba

_Parameters = ParamSpec("_Parameters")
_Result = TypeVar("_Result")


def kernel(function: Callable[_Parameters, _Result]) -> Callable[_Parameters, _Result]:
    """Compile at the first call, for good where a cache can be written; runs without the GIL.

    The cache lies beside the source or in the user's cache directory, or where NUMBA_CACHE_DIR
    says.
    """
    try:
        compiled = numba.njit(function, cache=True, nogil=True)
    except RuntimeError:  # no place for a cache
        compiled = numba.njit(function, nogil=True)
    return cast(Callable[_Parameters, _Result], compiled)
