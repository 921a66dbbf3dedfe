"""The waiting line: whose turn comes first.

The order is: those that waited longer than the bound, oldest first; then the others by priority,
and inside one priority by turns between clients; background requests last.

Turns are start-time fair queueing: a request gets the round after its client's last one, but never
a round that has passed. So a flood from one client fills later and later rounds, and a client that
comes new waits for at most one request of each other client. It refuses to know about models' states.
"""

from __future__ import annotations

from bisect import insort
from dataclasses import dataclass
from itertools import takewhile
from math import inf
from typing import TYPE_CHECKING, Final

from modelswap.units import Seconds

if TYPE_CHECKING:
    from collections.abc import Iterator

    from modelswap.core.commands import LeaseRequest
    from modelswap.core.spec import ClientId, ModelId, RequestId

NEVER: Final = Seconds(inf)
ROUNDS_KEPT: Final = 64
"""Clients that are remembered beside those who wait."""


@dataclass(slots=True, eq=False)
class QueuedRequest:
    """One waiting request; `due` is when nobody may overtake it any more."""

    request: LeaseRequest
    priority: int
    round: int
    serial: int
    arrived: Seconds
    due: Seconds
    is_overdue: bool = False
    position: int = 0
    """As it was last told; 0: not in the queue, or not told."""

    @property
    def order(self) -> tuple[bool, float, int, int, int]:
        if self.is_overdue:
            return (False, self.due, 0, 0, self.serial)
        return (True, self.request.background, -self.priority, self.round, self.serial)


def _order(waiter: QueuedRequest) -> tuple[bool, float, int, int, int]:
    return waiter.order


def _is_patient(request: LeaseRequest, max_wait: Seconds | None) -> bool:
    """Say whether it never becomes overdue: who allows no eviction needs nobody to make room."""
    return max_wait is None or request.background or request.no_swap


class WaitQueue:
    def __init__(self) -> None:
        self.waiters: list[QueuedRequest] = []
        self._by_id: dict[RequestId, QueuedRequest] = {}
        self._counts: dict[ModelId, int] = {}
        self._rounds: dict[ClientId, int] = {}
        self._round = 0
        self._serial = 0
        self._first_due = NEVER  # not later than the earliest `due` that lies ahead
        self.watched = 0
        self.background = 0

    def __len__(self) -> int:
        return len(self.waiters)

    def __iter__(self) -> Iterator[QueuedRequest]:
        """Walk a copy, in order: whoever walks may remove."""
        return iter(tuple(self.waiters))

    def enter(
        self, request: LeaseRequest, priority: int, now: Seconds, max_wait: Seconds | None
    ) -> QueuedRequest:
        """Put a new request where its turn is."""
        self._serial += 1
        turn = max(self._round, self._rounds.get(request.client, -1) + 1)
        self._rounds[request.client] = turn
        due = NEVER if _is_patient(request, max_wait) else Seconds(now + (max_wait or 0))
        waiter = QueuedRequest(request, priority, turn, self._serial, now, due)
        insort(self.waiters, waiter, key=_order)
        self._by_id[request.id] = waiter
        self._counts[request.model] = self._counts.get(request.model, 0) + 1
        self._first_due = min(self._first_due, due)
        self.watched += request.watched
        self.background += request.background
        return waiter

    def remove(self, waiter: QueuedRequest, *, served: bool = False) -> None:
        """Take out one that was answered or has gone; *served* ones move the rounds on."""
        request = waiter.request
        self.waiters.remove(waiter)
        del self._by_id[request.id]
        self._counts[request.model] -= 1
        if not self._counts[request.model]:
            del self._counts[request.model]
        self.watched -= request.watched
        self.background -= request.background
        if served:
            self._round = max(self._round, waiter.round)
        if not self.waiters:  # nobody waits: no client has an advantage to give back
            self._rounds.clear()
            self._round = 0
            self._first_due = NEVER
        elif len(self._rounds) > ROUNDS_KEPT + 2 * len(self.waiters):
            # A round that has passed gives nobody a later turn than a newcomer's.
            self._rounds = {c: r for c, r in self._rounds.items() if r >= self._round}

    def find(self, request: RequestId) -> QueuedRequest | None:
        return self._by_id.get(request)

    def count(self, model: ModelId) -> int:
        return self._counts.get(model, 0)

    def of(self, model: ModelId) -> list[QueuedRequest]:
        return [w for w in self.waiters if w.request.model == model]

    def overdue(self) -> Iterator[QueuedRequest]:
        """Walk those that nobody may overtake: they stand first."""
        return takewhile(lambda w: w.is_overdue, self.waiters)

    def foreground(self) -> Iterator[QueuedRequest]:
        return (w for w in self.waiters if not w.request.background)

    def is_due(self, now: Seconds) -> bool:
        """Say whether `age` may have something to do."""
        return now >= self._first_due

    def next_due(self) -> Seconds | None:
        """Return a moment at which somebody may become overdue; none is earlier."""
        return None if self._first_due == NEVER else self._first_due

    def age(self, now: Seconds) -> bool:
        """Move those whose time has come to the front; say whether there were any."""
        if not self.is_due(now):
            return False
        late = [w for w in self.waiters if not w.is_overdue and w.due <= now]
        for waiter in late:
            waiter.is_overdue = True
        self._first_due = min((w.due for w in self.waiters if not w.is_overdue), default=NEVER)
        if late:
            self.waiters.sort(key=_order)
        return bool(late)

    def set_bound(self, max_wait: Seconds | None) -> None:
        """Count everybody's time anew under another bound."""
        for waiter in self.waiters:
            is_patient = _is_patient(waiter.request, max_wait)
            waiter.due = NEVER if is_patient else Seconds(waiter.arrived + (max_wait or 0))
            waiter.is_overdue = False
        self._first_due = min((w.due for w in self.waiters), default=NEVER)
        self.waiters.sort(key=_order)
