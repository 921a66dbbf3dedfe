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

from modelswap.observe.batcher import Batcher
from modelswap.observe.captures import Whole
from modelswap.observe.metrics.prometheus import Finished
from modelswap.units import Bytes, Seconds

from .rows import ActivityRecord

if TYPE_CHECKING:
    from collections.abc import Callable

    from modelswap.observe.batcher import Later
    from modelswap.observe.captures import CaptureBuilder, Captures
    from modelswap.observe.metrics.prometheus import Metrics

    from .store import Store

GATHER: Final = Seconds(0.02)
MOST: Final = 256
MOST_HELD: Final = Bytes(4 << 20)
"""Bytes of large bodies."""

T = TypeVar("T")


class CompletedRequest(ActivityRecord, Finished, Whole, Protocol):
    """A request that is over."""

    def finalize(self, number: int, epoch: float) -> CaptureBuilder | None:
        """Work out its figures; return the capture it gathered, if any.

        *number* is its id, *epoch* what monotonic time is behind the clock's. A `size` other than 0
        says afterwards that it is a whole capture itself.
        """
        ...


class CompletionBatcher:
    """Takes what is over to store, captures and counters."""

    def __init__(
        self, store: Store, captures: Captures, metrics: Metrics, later: Later | None = None
    ) -> None:
        self.store = store
        self._captures = captures
        self._metrics = metrics
        batcher = Batcher(self._record, GATHER, most=MOST, most_bytes=MOST_HELD, later=later)
        self.add = batcher.add
        self.flush = batcher.flush
        """Record what waits."""

    async def ask(self, question: Callable[[], T]) -> T:
        """Ask the books something slow, off the loop; all that has ended before is in them."""
        self.flush()
        return await self.store.ask(question)

    def _record(self, entries: list[CompletedRequest]) -> None:
        number = self.store.next_ids(len(entries))
        epoch = time_ns() / 1e9 - monotonic()
        drafts: dict[int, CaptureBuilder] = {}
        whole: list[CompletedRequest] = []
        for entry in entries:
            draft = entry.finalize(number, epoch)
            if entry.size:
                whole.append(entry)
            elif draft is not None:
                drafts[number] = draft
            number += 1
        if whole:
            self._captures.keep_all(whole)
        self.store.record(entries, drafts)
        self._metrics.requests(entries)
