"""Items that are gathered for a moment and delivered together.

Guarantees: `deliver` gets what was added, in its order, `delay` after the first item, or at once when
`most` items or `most_bytes` wait, or at `flush`. It is not called with an empty list. Loop thread.
"""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING, Generic, TypeVar

from modelswap.units import Bytes, Seconds

if TYPE_CHECKING:
    from collections.abc import Callable

    Later = Callable[[Seconds, Callable[[], None]], asyncio.TimerHandle]

T = TypeVar("T")


class Batcher(Generic[T]):
    __slots__ = (
        "_delay", "_deliver", "_items", "_later", "_most", "_most_bytes", "_size", "_timer",
        "add_without_timer",
    )  # fmt: skip

    def __init__(
        self,
        deliver: Callable[[list[T]], None],
        delay: Seconds,
        *,
        most: int = sys.maxsize,
        most_bytes: Bytes = Bytes(sys.maxsize),
        later: Later | None = None,
    ) -> None:
        """`later`: the running loop's `call_later`, or what replaces it in a test."""
        self._deliver = deliver
        self._delay = delay
        self._later = later
        self._most = most
        self._most_bytes = most_bytes
        self._items: list[T] = []
        self._size = 0
        self._timer: asyncio.TimerHandle | None = None
        self.add_without_timer: Callable[[T], None] = self._items.append
        """Add an item to those that the next `flush` delivers; it starts no timer, and has no bound."""

    def add(self, item: T, size: int = 0) -> None:
        """Deliver an item soon. `size`: the bytes that it holds, where that is much."""
        items = self._items
        items.append(item)
        if self._timer is None:
            later = self._later or asyncio.get_running_loop().call_later
            self._timer = later(self._delay, self.flush)
        elif len(items) >= self._most:
            self.flush()
            return
        if size:
            self._size += size
            if self._size >= self._most_bytes:
                self.flush()

    def flush(self) -> None:
        if self._items:
            items = self._items.copy()
            self.discard()
            self._deliver(items)

    def discard(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._items.clear()
        self._size = 0
