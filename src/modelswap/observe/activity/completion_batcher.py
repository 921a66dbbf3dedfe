"""Completed requests are recorded in batches: log line, row, counters, capture and event.

Each of the five costs a few dictionary operations; going to each for every request costs more.

Guarantees: a completed request is recorded `GATHER` seconds later, or at once when `MOST` requests or
`MOST_HELD` bytes wait, or before a query (`flush`). The order is that of completion. Loop thread.
"""

from __future__ import annotations

from time import monotonic, time_ns
from typing import TYPE_CHECKING, Final, Protocol, TypeVar

from modelswap.observe.batcher import Batcher
from modelswap.observe.captures import CompleteExchange
from modelswap.observe.metrics.prometheus import CountedRequest
from modelswap.units import Bytes, Seconds

from .rows import ActivityRecord

if TYPE_CHECKING:
    from collections.abc import Callable

    from modelswap.observe.batcher import Later
    from modelswap.observe.captures import CaptureBuilder, Captures
    from modelswap.observe.logs.logs import Logs
    from modelswap.observe.metrics.prometheus import Metrics

    from .store import Store

GATHER: Final = Seconds(0.02)
"""Long enough for a batch under load, too short to be noticed in a list of requests."""
MOST: Final = 256  # requests in one batch, so that recording them does not block the loop for long
MOST_HELD: Final = Bytes(4 << 20)
"""Large bodies that wait in one batch: they count against no capture buffer yet."""

T = TypeVar("T")


class CompletedRequest(ActivityRecord, CountedRequest, CompleteExchange, Protocol):
    """A request that has ended."""

    def finalize(self, number: int, epoch: float) -> CaptureBuilder | None:
        """Compute its figures; return the capture that it built, if any.

        `number` is its id; `epoch` plus monotonic time is the time since 1970. Afterwards a `size`
        other than 0 says that the request is a complete exchange itself.
        """
        ...


class CompletionBatcher:
    def __init__(
        self,
        store: Store,
        captures: Captures,
        metrics: Metrics,
        logs: Logs,
        later: Later | None = None,
    ) -> None:
        self.store = store
        self._captures = captures
        self._metrics = metrics
        self._logs = logs
        batcher = Batcher(self._record, GATHER, most=MOST, most_bytes=MOST_HELD, later=later)
        self.add = batcher.add
        self.flush = batcher.flush
        """Record the requests that wait."""

    async def query(self, query: Callable[[], T]) -> T:
        """Run a slow query off the loop; it sees every request that has ended before."""
        self.flush()
        return await self.store.run_query(query)

    def _record(self, entries: list[CompletedRequest]) -> None:
        self._logs.flush()  # their lines wait there
        number = self.store.next_ids(len(entries))
        epoch = time_ns() / 1e9 - monotonic()
        builders: dict[int, CaptureBuilder] = {}
        complete: list[CompletedRequest] = []
        for entry in entries:
            builder = entry.finalize(number, epoch)
            if entry.size:
                complete.append(entry)
            elif builder is not None:
                builders[number] = builder
            number += 1
        if complete:
            self._captures.keep_all(complete)
        self.store.record(entries, builders)
        self._metrics.requests(entries)
