"""Finished requests, entered into the books several at once.

Row, counters, capture and event of one request are a few dictionary operations
each; what costs is going to each of them for every request. So finished ones
wait for a moment and are taken along together.

Law: what is added is in the books `GATHER` seconds later, at once when `MOST`
wait or somebody asks (`settle` before every question), in the order in which it
ended. It refuses to hold on to more than `MOST_HELD` bytes of large bodies. Loop
thread.
"""

from __future__ import annotations

from time import monotonic, time_ns
from typing import TYPE_CHECKING, Final, Protocol, TypeVar

from modelswap.observe.captures import Whole
from modelswap.observe.metrics.prometheus import Finished

from .rows import ActivityRecord

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from modelswap.observe.captures import CaptureBuilder, Captures
    from modelswap.observe.metrics.prometheus import Metrics

    from .store import Store

    Later = Callable[[float, Callable[[], None]], asyncio.TimerHandle]

GATHER: Final = 0.02
MOST: Final = 256
MOST_HELD: Final = 4 << 20
"""Bytes of large bodies."""

T = TypeVar("T")


class CompletedRequest(ActivityRecord, Finished, Whole, Protocol):
    """A request that is over."""

    def settle(self, number: int, epoch: float) -> CaptureBuilder | None:
        """Work out its figures; return the capture it gathered, if any.

        *number* is its id, *epoch* what monotonic time is behind the clock's. A `size` other than 0
        says afterwards that it is a whole capture itself.
        """
        ...


class CompletionBatcher:
    """Takes what is over to store, captures and counters."""

    def __init__(self, store: Store, captures: Captures, metrics: Metrics, later: Later) -> None:
        """*later*: the loop's `call_later`."""
        self.store = store
        self._captures = captures
        self._metrics = metrics
        self._later = later
        self._waiting: list[CompletedRequest] = []
        self._held = 0
        self._due: asyncio.TimerHandle | None = None

    def add(self, entry: CompletedRequest, held: int = 0) -> None:
        """Enter it soon. *held*: the bytes of its body, when that is large."""
        waiting = self._waiting
        waiting.append(entry)
        if self._due is None:
            self._due = self._later(GATHER, self.settle)
        elif len(waiting) >= MOST:
            self.settle()
            return
        if held:
            self._held += held
            if self._held >= MOST_HELD:
                self.settle()

    async def ask(self, question: Callable[[], T]) -> T:
        """Ask the books something slow, off the loop; all that has ended before is in them."""
        self.settle()
        return await self.store.ask(question)

    def settle(self) -> None:
        """Enter what waits."""
        if self._due is not None:
            self._due.cancel()
            self._due = None
        entries, self._waiting = self._waiting, []
        self._held = 0
        if not entries:
            return
        number = self.store.next_ids(len(entries))
        epoch = time_ns() / 1e9 - monotonic()
        drafts: dict[int, CaptureBuilder] = {}
        whole: list[CompletedRequest] = []
        for entry in entries:
            draft = entry.settle(number, epoch)
            if entry.size:
                whole.append(entry)
            elif draft is not None:
                drafts[number] = draft
            number += 1
        if whole:
            self._captures.keep_all(whole)
        self.store.record(entries, drafts)
        self._metrics.requests(entries)
