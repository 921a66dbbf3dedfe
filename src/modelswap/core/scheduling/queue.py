"""The queue of waiting requests, in the order in which they are served.

First come those that waited longer than their bound, in the order in which that ended; then the others
by priority, and inside one priority by start-time fair queueing between clients; background requests
come last.

The requests of one kind stand in a list of their own too: what is decided about the first one holds
for those behind it.

Fair queueing: a request gets the round after its client's last one, but never a round that has
passed. So a new client waits for at most one request of each other client.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from dataclasses import field
from heapq import heapify, heappop, heappush
from itertools import chain, product
from operator import attrgetter
from typing import TYPE_CHECKING, Final, NamedTuple

from modelswap.core.models.state import NEVER
from modelswap.deferred import dataclass
from modelswap.units import Seconds

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping

    from modelswap.core.commands import LeaseRequest
    from modelswap.core.spec import ClientId, ModelId, RequestId

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

    def among(self, ranks: Mapping[ModelId, int]) -> tuple[float, ...]:
        """Return its place where the models of one priority are in the order of *ranks*."""
        is_not_overdue, due, priority, round_, serial = self.order
        rank = 0 if self.is_overdue else ranks.get(self.request.model, 0)
        return is_not_overdue, due, priority, rank, round_, serial

    def set_overdue(self, *, is_overdue: bool) -> None:
        """Take the place that it has from now on."""
        self.is_overdue = is_overdue
        if is_overdue:
            self.order = (False, self.due, 0, 0, self.serial)
        else:
            background = self.request.background
            self.order = (True, background, -self.priority, self.round, self.serial)


_order = attrgetter("order")
_age_order = attrgetter("due", "serial")
_KINDS: Final = tuple(product((False, True), repeat=2))
"""All that two requests for one model can differ in: background, no_swap."""


def _due(request: LeaseRequest, arrived: Seconds, bound: Seconds) -> Seconds:
    """Return when a request becomes overdue; one that evicts no model never does."""
    if request.background or request.no_swap:
        return NEVER
    return Seconds(arrived + bound)


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
        self._may_age: list[QueuedRequest] = []
        """Those that will be overdue, the first one first."""
        self._by_id: dict[RequestId, QueuedRequest] = {}
        self._counts: dict[ModelId, int] = {}
        self._rounds: dict[ClientId, int] = {}
        self._round = 0
        self._serial = 0

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
        bound: Seconds,
    ) -> QueuedRequest:
        """Insert a request by its order; after *bound* it is overdue, which may be `NEVER`."""
        self._serial += 1
        round_ = max(self._round, self._rounds.get(request.client, -1) + 1)
        self._rounds[request.client] = round_
        due = _due(request, now, bound)
        queued = QueuedRequest(id_, request, priority, round_, self._serial, now, due)
        self._insert(queued)
        if due != NEVER:
            insort(self._may_age, queued, key=_age_order)
        self._by_id[id_] = queued
        self._counts[request.model] = self._counts.get(request.model, 0) + 1
        self.watched += request.watched
        self.background += request.background
        return queued

    def remove(self, queued: QueuedRequest, *, served: bool = False) -> None:
        """Remove an answered or cancelled request; a *served* one advances the rounds."""
        request = queued.request
        self._take_out(queued)
        if queued.due != NEVER and not queued.is_overdue:
            del self._may_age[bisect_left(self._may_age, _age_order(queued), key=_age_order)]
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
        elif len(self._rounds) > ROUNDS_KEPT + 2 * len(self.waiting):
            # A client whose round has passed is treated like a new one.
            self._rounds = {c: r for c, r in self._rounds.items() if r >= self._round}

    def find(self, id_: RequestId) -> QueuedRequest | None:
        return self._by_id.get(id_)

    @property
    def models(self) -> Collection[ModelId]:
        """Those that requests wait for."""
        return self._counts.keys()

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

    def heads(self, ranks: Mapping[ModelId, int]) -> Heads:
        """Return the first request of each kind in the order of decisions: `QueuedRequest.among`."""
        return Heads(self, ranks)

    def ahead_of(self, *, background: bool) -> list[QueuedRequest]:
        """Return the first of each kind that a new request may not overtake: the overdue ones.

        A background request may overtake no foreground request.
        """
        if background:
            return [first for first in self.first_of_each() if not first.request.background]
        if not self.waiting or not self.waiting[0].is_overdue:
            return []
        return [first for first in self.first_of_each() if first.is_overdue]

    def is_due(self, now: Seconds) -> bool:
        """Say whether `age` may have something to do."""
        return bool(self._may_age) and now >= self._may_age[0].due

    def next_due(self) -> Seconds:
        """Return when the next request becomes overdue; `NEVER`: none does."""
        return self._may_age[0].due if self._may_age else NEVER

    def age(self, now: Seconds) -> bool:
        """Move the requests that became overdue to the front; say whether there were any."""
        count = bisect_right(self._may_age, now, key=attrgetter("due"))
        aged, self._may_age = self._may_age[:count], self._may_age[count:]
        for queued in aged:
            self._take_out(queued)
            queued.set_overdue(is_overdue=True)
            self._insert(queued)
        return bool(aged)

    def set_bounds(self, bound: Callable[[ModelId], Seconds]) -> None:
        """Compute for each request anew when it becomes overdue."""
        waiting, self.waiting = self.waiting, []
        self._kinds.clear()
        self._may_age.clear()
        for queued in sorted(waiting, key=attrgetter("serial")):
            queued.due = _due(queued.request, queued.arrived, bound(queued.request.model))
            queued.set_overdue(is_overdue=False)
            self._insert(queued)
            if queued.due != NEVER:
                insort(self._may_age, queued, key=_age_order)

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


class Heads:
    """Iterates over the first request of each kind; *ranks*: as in `QueuedRequest.among`."""

    def __init__(self, queue: WaitQueue, ranks: Mapping[ModelId, int]) -> None:
        self._queue = queue
        self._ranks = ranks
        self._heap = [(queued.among(ranks), queued) for queued in queue.first_of_each()]
        heapify(self._heap)

    def __iter__(self) -> Iterator[QueuedRequest]:
        while self._heap:
            yield heappop(self._heap)[1]

    def follow(self, answered: QueuedRequest) -> None:
        """Add the request that comes after one of its kind that was answered."""
        following = self._queue.first_like(answered)
        if following is not None:
            heappush(self._heap, (following.among(self._ranks), following))
