"""The queue of waiting requests, in the order in which they are served.

First come those that waited longer than the bound, oldest first; then the others by priority, and
inside one priority by start-time fair queueing between clients; background requests come last.

The requests of one kind stand in a list of their own too: what is decided about the first one holds
for those behind it.

Fair queueing: a request gets the round after its client's last one, but never a round that has
passed. So a new client waits for at most one request of each other client.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import OrderedDict
from dataclasses import field
from itertools import chain, product, takewhile
from math import inf
from operator import attrgetter
from typing import TYPE_CHECKING, Final, NamedTuple

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


class Kind(NamedTuple):
    """Requests of one kind get the same answer, but for their place in the queue."""

    model: ModelId
    background: bool
    no_swap: bool


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
    kind: Kind = field(init=False)
    order: tuple[bool, float, int, int, int] = field(init=False)
    """Its place: no two have the same."""

    def __post_init__(self) -> None:
        request = self.request
        self.kind = Kind(request.model, request.background, request.no_swap)
        self.set_overdue(is_overdue=False)

    def set_overdue(self, *, is_overdue: bool) -> None:
        """Take the place that it has from now on."""
        self.is_overdue = is_overdue
        if is_overdue:
            self.order = (False, self.due, 0, 0, self.serial)
        else:
            background = self.request.background
            self.order = (True, background, -self.priority, self.round, self.serial)


_order = attrgetter("order")
_KINDS: Final = tuple(product((False, True), repeat=2))
"""All that two requests for one model can differ in: background, no_swap."""


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
        self.changes = 0
        """Counts every change of the order."""
        self._kinds: dict[Kind, list[QueuedRequest]] = {}
        """In order; no list is empty."""
        self._may_age: OrderedDict[RequestId, QueuedRequest] = OrderedDict()
        """Those that will be overdue, the first one first: all have the same bound."""
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
        self._insert(queued)
        if due != NEVER:
            self._may_age[id_] = queued
        self._by_id[id_] = queued
        self._counts[request.model] = self._counts.get(request.model, 0) + 1
        self._first_due = min(self._first_due, due)
        self.watched += request.watched
        self.background += request.background
        return queued

    def remove(self, queued: QueuedRequest, *, served: bool = False) -> None:
        """Remove an answered or cancelled request; a *served* one advances the rounds."""
        request = queued.request
        self._take_out(queued)
        self._may_age.pop(queued.id, None)
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
        """Return the requests for a model, in order."""
        kinds = (Kind(model, background, no_swap) for background, no_swap in _KINDS)
        return sorted(chain.from_iterable(self._kinds.get(kind, ()) for kind in kinds), key=_order)

    def first_of_each(self) -> list[QueuedRequest]:
        """Return the first request of each kind, the kinds in no order."""
        return [requests[0] for requests in self._kinds.values()]

    def first_like(self, queued: QueuedRequest) -> QueuedRequest | None:
        """Return the first request of the same kind."""
        requests = self._kinds.get(queued.kind)
        return None if requests is None else requests[0]

    def ahead_of(self, *, background: bool) -> list[QueuedRequest]:
        """Return the first of each kind that a new request may not overtake: the overdue ones.

        A background request may overtake no foreground request.
        """
        if background:
            return [first for first in self.first_of_each() if not first.request.background]
        if not self.waiting or not self.waiting[0].is_overdue:
            return []
        return [first for first in self.first_of_each() if first.is_overdue]

    def overdue(self) -> Iterator[QueuedRequest]:
        """Iterate over those that may not be overtaken: they come first."""
        return takewhile(lambda q: q.is_overdue, self.waiting)

    def is_due(self, now: Seconds) -> bool:
        """Say whether `age` may have something to do."""
        return now >= self._first_due

    def next_due(self) -> Seconds:
        """Return a time before which no request becomes overdue; `NEVER`: none does."""
        return self._first_due

    def age(self, now: Seconds) -> bool:
        """Move the requests that became overdue to the front; say whether there were any."""
        if not self.is_due(now):
            return False
        found = False
        self._first_due = NEVER
        while self._may_age:
            queued = next(iter(self._may_age.values()))
            if queued.due > now:
                self._first_due = queued.due
                break
            del self._may_age[queued.id]
            self._take_out(queued)
            queued.set_overdue(is_overdue=True)
            self._insert(queued)
            found = True
        return found

    def set_max_wait(self, max_wait: Seconds | None) -> None:
        """Compute for each request anew when it becomes overdue."""
        waiting, self.waiting = self.waiting, []
        self._kinds.clear()
        self._may_age.clear()
        for queued in sorted(waiting, key=attrgetter("serial")):
            queued.due = _due(queued.request, queued.arrived, max_wait)
            queued.set_overdue(is_overdue=False)
            self._insert(queued)
            if queued.due != NEVER:
                self._may_age[queued.id] = queued
        self._first_due = next((q.due for q in self._may_age.values()), NEVER)

    def _insert(self, queued: QueuedRequest) -> None:
        self.changes += 1
        insort(self.waiting, queued, key=_order)
        insort(self._kinds.setdefault(queued.kind, []), queued, key=_order)

    def _take_out(self, queued: QueuedRequest) -> None:
        self.changes += 1
        requests = self._kinds[queued.kind]
        for where in (self.waiting, requests):
            del where[bisect_left(where, queued.order, key=_order)]
        if not requests:
            del self._kinds[queued.kind]
