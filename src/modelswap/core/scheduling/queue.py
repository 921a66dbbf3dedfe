"""The queue of waiting requests, in the order in which they are served.

First come those that waited longer than the bound, oldest first; then the others by priority, and
inside one priority by start-time fair queueing between clients; background requests come last.

Fair queueing: a request gets the round after its client's last one, but never a round that has
passed. So a new client waits for at most one request of each other client.
"""

from __future__ import annotations

from bisect import insort
from itertools import takewhile
from math import inf
from operator import attrgetter
from typing import TYPE_CHECKING, Final

from modelswap.deferred import dataclass
from modelswap.units import Seconds

if TYPE_CHECKING:
    from collections.abc import Iterator

    from modelswap.core.commands import LeaseRequest
    from modelswap.core.spec import ClientId, ModelId, RequestId

NEVER: Final = Seconds(inf)
"""Later than every time."""
ROUNDS_KEPT: Final = 64
"""Clients whose round is remembered, beside those that wait: a few hundred bytes each."""


@dataclass(slots=True, eq=False)
class QueuedRequest:
    """One waiting request; after `due` no later request may overtake it."""

    id: RequestId
    request: LeaseRequest
    priority: int
    round: int
    serial: int
    arrived: Seconds
    due: Seconds
    is_overdue: bool = False
    position: int = 0
    """The last reported one; 0: not reported yet."""

    @property
    def order(self) -> tuple[bool, float, int, int, int]:
        if self.is_overdue:
            return (False, self.due, 0, 0, self.serial)
        return (True, self.request.background, -self.priority, self.round, self.serial)


_order = attrgetter("order")


def _due(request: LeaseRequest, arrived: Seconds, max_wait: Seconds | None) -> Seconds:
    """Return when a request becomes overdue; one that evicts no model never does."""
    if max_wait is None or request.background or request.no_swap:
        return NEVER
    return Seconds(arrived + max_wait)


class WaitQueue:
    def __init__(self) -> None:
        self.waiting: list[QueuedRequest] = []
        self.watched = 0
        """How many of them want reports of their position."""
        self.background = 0
        self._by_id: dict[RequestId, QueuedRequest] = {}
        self._counts: dict[ModelId, int] = {}
        self._rounds: dict[ClientId, int] = {}
        self._round = 0
        self._serial = 0
        self._first_due = NEVER  # not later than the earliest `due` that lies ahead

    def __len__(self) -> int:
        return len(self.waiting)

    def __iter__(self) -> Iterator[QueuedRequest]:
        """Iterate over a copy, in order, so that the loop may remove."""
        return iter(tuple(self.waiting))

    def add(
        self,
        id_: RequestId,
        request: LeaseRequest,
        priority: int,
        now: Seconds,
        max_wait: Seconds | None,
    ) -> QueuedRequest:
        """Insert a request by its order."""
        self._serial += 1
        round_ = max(self._round, self._rounds.get(request.client, -1) + 1)
        self._rounds[request.client] = round_
        due = _due(request, now, max_wait)
        queued = QueuedRequest(id_, request, priority, round_, self._serial, now, due)
        insort(self.waiting, queued, key=_order)
        self._by_id[id_] = queued
        self._counts[request.model] = self._counts.get(request.model, 0) + 1
        self._first_due = min(self._first_due, due)
        self.watched += request.watched
        self.background += request.background
        return queued

    def remove(self, queued: QueuedRequest, *, served: bool = False) -> None:
        """Remove an answered or cancelled request; a *served* one advances the rounds."""
        request = queued.request
        self.waiting.remove(queued)
        del self._by_id[queued.id]
        self._counts[request.model] -= 1
        if not self._counts[request.model]:
            del self._counts[request.model]
        self.watched -= request.watched
        self.background -= request.background
        if served:
            self._round = max(self._round, queued.round)
        if not self.waiting:  # no client has an advantage over another any more
            self._rounds.clear()
            self._round = 0
            self._first_due = NEVER
        elif len(self._rounds) > ROUNDS_KEPT + 2 * len(self.waiting):
            # A client whose round has passed is treated like a new one.
            self._rounds = {c: r for c, r in self._rounds.items() if r >= self._round}

    def find(self, id_: RequestId) -> QueuedRequest | None:
        return self._by_id.get(id_)

    def count(self, model: ModelId) -> int:
        return self._counts.get(model, 0)

    def of(self, model: ModelId) -> list[QueuedRequest]:
        return [q for q in self.waiting if q.request.model == model]

    def overdue(self) -> Iterator[QueuedRequest]:
        """Iterate over those that may not be overtaken: they come first."""
        return takewhile(lambda q: q.is_overdue, self.waiting)

    def foreground(self) -> Iterator[QueuedRequest]:
        return (q for q in self.waiting if not q.request.background)

    def is_due(self, now: Seconds) -> bool:
        """Say whether `age` may have something to do."""
        return now >= self._first_due

    def next_due(self) -> Seconds | None:
        """Return a time before which no request becomes overdue; `None`: none ever does."""
        return None if self._first_due == NEVER else self._first_due

    def age(self, now: Seconds) -> bool:
        """Move the requests that became overdue to the front; say whether there were any."""
        if not self.is_due(now):
            return False
        late = [q for q in self.waiting if not q.is_overdue and q.due <= now]
        for queued in late:
            queued.is_overdue = True
        self._first_due = min((q.due for q in self.waiting if not q.is_overdue), default=NEVER)
        if late:
            self.waiting.sort(key=_order)
        return bool(late)

    def set_max_wait(self, max_wait: Seconds | None) -> None:
        """Compute for each request anew when it becomes overdue."""
        for queued in self.waiting:
            queued.due = _due(queued.request, queued.arrived, max_wait)
            queued.is_overdue = False
        self._first_due = min((q.due for q in self.waiting), default=NEVER)
        self.waiting.sort(key=_order)
