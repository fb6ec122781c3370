"""Compiled loops: what numpy has no array operation for, and Python is too slow for."""

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import ParamSpec, TypeVar, cast

import numba
from numba.core import config

_Parameters = ParamSpec("_Parameters")
_Result = TypeVar("_Result")


def kernel(function: Callable[_Parameters, _Result]) -> Callable[_Parameters, _Result]:
    """Compile at the first call, for good where a cache can be written; runs without the GIL.

    The cache lies where NUMBA_CACHE_DIR says, else in the user's cache directory, if there is one.
    """
    try:
        compiled = numba.njit(function, cache=_HAS_CACHE, nogil=True)
    except RuntimeError:  # no place for a cache
        compiled = numba.njit(function, nogil=True)
    return cast(Callable[_Parameters, _Result], compiled)


def _use_cache_of_this_source() -> bool:
    """Numba looks at the source of a loop, not at that of the loops which it calls.

    False where there is no place for a cache.
    """
    digest = hashlib.sha256(numba.__version__.encode())
    for path in sorted(Path(__file__).parent.rglob("*.py")):
        digest.update(path.read_bytes())
    given: str = config.CACHE_DIR  # type: ignore[attr-defined]
    base = Path(given or os.path.expanduser("~/.cache/kompakt"))  # noqa: PTH111
    if not given and not base.is_absolute():  # a user without a home
        return False
    config.CACHE_DIR = str(base / f"loops-{digest.hexdigest()[:16]}")  # type: ignore[attr-defined]
    return True


_HAS_CACHE = _use_cache_of_this_source()
