"""Turns: what many callers wait for, taken from one caller after another."""

from collections import deque
from collections.abc import Callable, Hashable, Iterator
from typing import Generic, Protocol, TypeVar


class Waiting(Protocol):
    """What can wait for its turn."""

    @property
    def caller(self) -> str:
        """Whose turn it takes."""
        ...

    @property
    def key(self) -> Hashable:
        """What may be taken together has equal keys."""
        ...


_Waiting = TypeVar("_Waiting", bound=Waiting)


class FairQueue(Generic[_Waiting]):
    """A queue that serves its callers in turn, however much each has in it.

    Not thread-safe: whoever owns it has a lock.
    """

    def __init__(self) -> None:
        # In the order of their next turn; each caller's keys likewise. No deque is ever empty.
        self._callers: dict[str, dict[Hashable, deque[_Waiting]]] = {}

    def put(self, item: _Waiting) -> None:
        """Queue an item behind the others of its caller and key."""
        self._callers.setdefault(item.caller, {}).setdefault(item.key, deque()).append(item)

    def pop(self, may_have: Callable[[str], bool] | None = None) -> _Waiting | None:
        """Take the next caller's next item; None if there is none.

        Callers for which ``may_have`` is false are passed over and keep their turn.
        """
        for caller, keys in self._callers.items():
            if may_have is None or may_have(caller):
                return self._take(caller, next(iter(keys)))
        return None

    def take(self, key: Hashable, fits: Callable[[_Waiting], bool]) -> Iterator[_Waiting]:
        """Take items of one key, one of each caller in turn, until one does not fit."""
        while callers := [caller for caller, keys in self._callers.items() if key in keys]:
            for caller in callers:
                if not fits(self._callers[caller][key][0]):
                    return
                yield self._take(caller, key)

    def _take(self, caller: str, key: Hashable) -> _Waiting:
        keys = self._callers.pop(caller)
        items = keys.pop(key)
        item = items.popleft()
        if items:
            keys[key] = items
        if keys:
            self._callers[caller] = keys  # behind the others
        return item
