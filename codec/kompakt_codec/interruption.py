"""Long work that stops when nobody waits for it any more."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_CHECK: ContextVar[Callable[[], None] | None] = ContextVar("check", default=None)


@contextmanager
def interruptible(check: Callable[[], None]) -> Iterator[None]:
    """While the block runs, this thread's long work calls ``check`` at every step: it may raise."""
    token = _CHECK.set(check)
    try:
        yield
    finally:
        _CHECK.reset(token)


def check_interruption() -> None:
    """Raise what the ``check`` of an ``interruptible`` block around raises, if there is one."""
    check = _CHECK.get()
    if check is not None:
        check()
