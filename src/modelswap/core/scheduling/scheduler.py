"""Who runs, who waits, and in which order: events in, decisions out.

One owner feeds it one event at a time. A method never blocks and never calls out: what must happen
is in the list it returns. It refuses to know of processes and timers: those are the room's.

Laws, each checked after every step by `tests/core/test_simulation.py`:

* a request waits in the line or runs: one place only, and it is answered once;
* a swap never stops a model with running requests;
* once a request is overdue, nobody who came after that moment and stands in its way is granted;
* who was in the line when a load ends is served by it: a load is never for nothing;
* a background request neither overtakes the others nor takes a model from them;
* no model is stopped for a request that allows no swap.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, assert_never

from modelswap.core.commands import Fail, Grant, LeaseRequest, Reason
from modelswap.core.models.lifecycle import Phase
from modelswap.core.models.state import LONG_AGO
from modelswap.core.placement.policy import ANYWHERE, NO_FACTS, EvictionMode, NeverFits, Question
from modelswap.core.spec import ClientId, RequestId

from .admission import (
    LATER,
    AdmissionRequest,
    ClusterView,
    Refuse,
    Serve,
    Swap,
    Wait,
    decide,
    displaces,
)
from .queue import NEVER, WaitQueue

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from modelswap.core.failure import Failure
    from modelswap.core.models.state import ModelState
    from modelswap.core.placement.policy import Facts, Placement, Policy
    from modelswap.core.spec import ModelId
    from modelswap.units import Seconds

    from .admission import Verdict
    from .queue import QueuedRequest


@dataclass(frozen=True, slots=True)
class Start:
    model: ModelId
    why: str
    placement: Placement = ANYWHERE


@dataclass(frozen=True, slots=True)
class Stop:
    model: ModelId
    why: str
    how: EvictionMode = EvictionMode.STOP


Decision = Grant | Fail | Start | Stop

NOTHING: Final[tuple[()]] = ()

OURSELVES: Final = ClientId("")
"""Whose turn it is when nobody asked: preload and restore."""


@dataclass(slots=True, eq=False)
class PendingSwap:
    """A swap in progress: whose exit it waits for, and who had to leave (most recent first)."""

    awaiting: set[ModelId]
    evicted: tuple[ModelId, ...] = ()
    placement: Placement = ANYWHERE


class Scheduler:
    def __init__(
        self,
        seats: dict[ModelId, ModelState],
        policy: Policy,
        *,
        max_wait: Seconds | None,
        queue_limit: int,
    ) -> None:
        self.line = WaitQueue()
        self.coming: dict[ModelId, PendingSwap] = {}
        self.leaving: set[ModelId] = set()
        self.epoch = 1
        """Changes whenever a verdict other than "too many running" may have changed."""
        self._seats = seats
        self._policy = policy
        self._facts = NO_FACTS
        self._max_wait = max_wait
        self._queue_limit = queue_limit
        self._is_closed = False
        self._wishes = 0

    # Requests

    def on_arrived(
        self, request: LeaseRequest, now: Seconds, *, is_new: bool = True
    ) -> Sequence[Decision]:
        """Decide about a new request; it joins the line only if it must wait."""
        if self._is_closed:
            return (Fail(request.id, Reason.SHUTTING_DOWN),)
        out = self._walk(now) if self.line.is_due(now) else []
        rivals = self._rivals(background=request.background)
        ask = AdmissionRequest(
            model=request.model, rivals=rivals, is_new=is_new, no_swap=request.no_swap
        )
        verdict = self._decide(ask, now)
        is_full = len(self.line) >= self._queue_limit
        if isinstance(verdict, Wait) and is_full and is_new and request.id >= 0:
            return [*out, Fail(request.id, Reason.QUEUE_FULL, "the queue is full", LATER)]
        waiter = self._enter(request, now)
        if isinstance(verdict, Serve) and not (request.background or request.no_swap):
            self._seats[request.model].clear_in = self.epoch
        return [*out, *self._carry_out(verdict, waiter, now)]

    def on_cancelled(self, request: RequestId, now: Seconds) -> Sequence[Decision]:
        """Forget a waiting request. One that was granted ends by `on_finished`."""
        waiter = self.line.find(request)
        if waiter is None:
            return NOTHING
        self.line.remove(waiter)
        model = waiter.request.model
        self._drop_unwanted(model)
        # Only these may have held others up.
        if waiter.is_overdue or self.line.background or not self.line.count(model):
            return self._walk(now)
        return NOTHING

    def on_finished(self, model: ModelId, now: Seconds) -> Sequence[Decision]:
        """Look for somebody to run in the place that became free."""
        seat = self._seats[model]
        out: list[Decision] = []
        if not seat.in_flight and model in self.leaving and seat.phase is Phase.READY:
            out.append(Stop(model, "its last request has ended"))
        if len(self.line) and (not seat.in_flight or self.line.count(model)):
            out += self._walk(now)
        return out

    def on_time(self, now: Seconds) -> Sequence[Decision]:
        """Put those first that have waited too long."""
        return self._walk(now)

    def wish(self, model: ModelId, now: Seconds) -> tuple[RequestId, Sequence[Decision]]:
        """Want a model without a request: answered under a negative id, never counted as running."""
        self._wishes += 1
        wish = RequestId(-self._wishes)
        return wish, self.on_arrived(LeaseRequest(wish, model, OURSELVES, background=True), now)

    # Models

    def on_ready(self, model: ModelId, now: Seconds) -> Sequence[Decision]:
        self.epoch += 1
        return [*self._welcome(model, now), *self._walk(now)]

    def on_start_failed(self, model: ModelId, why: Failure, now: Seconds) -> Sequence[Decision]:
        """Tell everybody who waited; bring back what had to leave, if that is wanted."""
        self.epoch += 1
        coming = self.coming.pop(model, None)
        seat = self._seats[model]
        rest = seat.rest_left(now)
        out = self._fail(self.line.of(model), Reason.LOAD_FAILED, why.text, rest, why)
        if coming is not None and coming.evicted and seat.spec.restore_on_failure:
            out += self.wish(coming.evicted[0], now)[1]
        return out

    def on_stopped(self, model: ModelId, now: Seconds) -> Sequence[Decision]:
        """Go on with the swaps that waited for this, and with who waits for the model itself."""
        self.epoch += 1
        self.leaving.discard(model)
        out: list[Decision] = []
        for target, coming in tuple(self.coming.items()):
            if model in coming.awaiting:
                coming.awaiting.remove(model)
                if not coming.awaiting:
                    out += self._go(target, now)
        return [*out, *self._walk(now)]

    def on_stuck(self, model: ModelId, now: Seconds) -> Sequence[Decision]:
        """Let nobody wait for a process that does not even obey a kill."""
        self.epoch += 1
        out: list[Decision] = []
        for target, coming in tuple(self.coming.items()):
            if model in coming.awaiting:
                del self.coming[target]
                why = f"{model}, which must leave first, was killed but does not exit"
                out += self._fail(self.line.of(target), Reason.LOAD_FAILED, why, LATER)
        return [*out, *self._walk(now)]

    def on_stopping(self, model: ModelId) -> None:
        """Take note that a process was asked to leave."""
        self.epoch += 1
        self.leaving.discard(model)

    def forget_swap(self, model: ModelId) -> None:
        """Let nothing that was decided earlier start the model later."""
        self.epoch += 1
        self.coming.pop(model, None)
        for coming in self.coming.values():
            coming.evicted = tuple(m for m in coming.evicted if m != model)

    def adopt(self, model: ModelId, now: Seconds) -> bool:
        """Count on a server that already runs; say whether it may stay."""
        self.epoch += 1
        plan = self._policy(Question(model, self._world(now).live(), self._facts))
        self.coming[model] = PendingSwap(set())
        return not isinstance(plan, NeverFits) and not plan.evictions

    def release(self, model: ModelId) -> bool:
        """Let nobody new in; say whether nobody is left inside."""
        self.epoch += 1
        self.leaving.add(model)
        return not self._seats[model].in_flight

    def fail_waiting(
        self, models: Iterable[ModelId], reason: Reason, now: Seconds
    ) -> Sequence[Decision]:
        """Refuse all who wait for these; the others may have more room now."""
        out: list[Decision] = []
        for model in models:
            out += self._fail(self.line.of(model), reason, "", None)
            self._drop_unwanted(model)
        return [*out, *self._walk(now)]

    def on_facts(self, facts: Facts, now: Seconds) -> Sequence[Decision]:
        """Decide anew by other facts; does nothing for the epoch that is known already."""
        if facts.epoch == self._facts.epoch:
            return NOTHING
        self.epoch += 1
        self._facts = facts
        return self._walk(now)

    # Life of the program

    def replace(
        self, policy: Policy, *, max_wait: Seconds | None, queue_limit: int, now: Seconds
    ) -> Sequence[Decision]:
        self.epoch += 1
        self._policy, self._max_wait, self._queue_limit = policy, max_wait, queue_limit
        self.line.set_bound(max_wait)
        return self._walk(now)

    def close(self) -> Sequence[Decision]:
        """Refuse everybody from now on."""
        self.epoch += 1
        self._is_closed = True
        out = self._fail(self.line, Reason.SHUTTING_DOWN, "", None)
        for model in tuple(self.coming):
            self._drop_unwanted(model)
        return out

    # Inside

    def _enter(self, request: LeaseRequest, now: Seconds) -> QueuedRequest:
        seat = self._seats.get(request.model)
        priority = 0 if seat is None else seat.spec.priority
        return self.line.enter(request, priority, now, self._max_wait)

    def _walk(self, now: Seconds) -> list[Decision]:
        """Decide anew about everybody in the line, in order."""
        out: list[Decision] = []
        if self.line.age(now):
            self.epoch += 1
        overdue: dict[ModelId, None] = {}
        foreground: dict[ModelId, None] = {}
        blocked: set[tuple[ModelId, bool, bool]] = set()
        for waiter in self.line:
            request = waiter.request
            kind = (request.model, request.background, request.no_swap)
            if kind not in blocked:
                rivals = tuple(foreground if request.background else overdue)
                ask = AdmissionRequest(model=request.model, rivals=rivals, no_swap=request.no_swap)
                verdict = self._decide(ask, now)
                out += self._carry_out(verdict, waiter, now)
                if isinstance(verdict, Serve | Refuse):
                    continue
                # Whatever this pass still decides can only add obstacles.
                blocked.add(kind)
            if waiter.is_overdue:
                overdue[request.model] = None
            if not request.background:
                foreground[request.model] = None
        return out

    def _rivals(self, *, background: bool) -> tuple[ModelId, ...]:
        """Return the models of those that a newcomer may not overtake."""
        ahead = self.line.foreground() if background else self.line.overdue()
        return tuple(dict.fromkeys(w.request.model for w in ahead))

    def _world(self, now: Seconds) -> ClusterView:
        return ClusterView(
            seats=self._seats,
            coming=self.coming.keys(),
            leaving=self.leaving,
            abandoned={m for m in self.coming if not self.line.count(m)},
            now=now,
            facts=self._facts,
        )

    def _decide(self, ask: AdmissionRequest, now: Seconds) -> Verdict:
        return decide(ask, self._world(now), self._policy)

    def _carry_out(
        self, verdict: Verdict, waiter: QueuedRequest, now: Seconds
    ) -> Sequence[Decision]:
        match verdict:
            case Serve():
                return (self._grant(waiter, now),)
            case Wait():
                return NOTHING
            case Swap():
                return self._swap(waiter.request.model, verdict)
            case Refuse(reason, why, retry_after, failure):
                out = self._fail((waiter,), reason, why, retry_after, failure)
                self._drop_unwanted(waiter.request.model)
                return out
            case _ as never:
                assert_never(never)

    def _grant(self, waiter: QueuedRequest, now: Seconds) -> Decision:
        self.line.remove(waiter, served=True)
        seat = self._seats[waiter.request.model]
        if waiter.request.id < 0:
            seat.used = now
        else:
            seat.in_flight += 1
        return Grant(waiter.request.id, waiter.request.model)

    def _fail(
        self,
        waiters: Iterable[QueuedRequest],
        reason: Reason,
        why: str,
        retry_after: Seconds | None,
        failure: Failure | None = None,
    ) -> list[Decision]:
        out: list[Decision] = []
        for waiter in waiters:
            self.line.remove(waiter)
            out.append(Fail(waiter.request.id, reason, why, retry_after, failure))
        return out

    def _swap(self, model: ModelId, swap: Swap) -> list[Decision]:
        self.epoch += 1
        how = {eviction.model: eviction.how for eviction in swap.evict}
        for victim in how:
            self.coming.pop(victim, None)  # an abandoned load
        awaiting = {m for m in how if self._seats[m].is_alive}
        ready = [m for m in awaiting if self._seats[m].phase is Phase.READY]
        recent = sorted(ready, key=lambda m: self._seats[m].used, reverse=True)
        self.coming[model] = PendingSwap(awaiting, tuple(recent), swap.placement)
        self.leaving |= awaiting
        if not awaiting:
            return [Start(model, "requested", swap.placement)]
        said = f"making room for {model}" + (f" ({swap.why})" if swap.why else "")
        return [Stop(m, said, how[m]) for m in sorted(awaiting)]

    def _go(self, model: ModelId, now: Seconds) -> list[Decision]:
        """Bring up a model whose room is free now."""
        match self._seats[model].phase:
            case Phase.READY:  # others had to leave beside it, nothing more
                return self._welcome(model, now)
            case Phase.STOPPED:
                return [Start(model, "there is room now", self.coming[model].placement)]
            case _:  # it was ready, and is on its way out meanwhile: decide anew when it is gone
                del self.coming[model]
                return []

    def _welcome(self, model: ModelId, now: Seconds) -> list[Decision]:
        """Grant those whom the load was for, before anybody may take the model away again."""
        self.coming.pop(model, None)
        self.epoch += 1
        seat = self._seats[model]
        bound = self._bound(model, now, background=False)
        background_bound = self._bound(model, now, background=True)
        out: list[Decision] = []
        for waiter in self.line.of(model):
            if seat.in_flight >= seat.limit:
                break
            if waiter.arrived <= (background_bound if waiter.request.background else bound):
                out.append(self._grant(waiter, now))
        return out

    def _bound(self, model: ModelId, now: Seconds, *, background: bool) -> Seconds:
        """Return the moment from which on others may claim the model's room before who came later.

        For background requests that is always as soon as anybody else waits for it.
        """
        live = self._world(now).live()
        bounds: dict[ModelId, Seconds] = {}
        for waiter in self.line.foreground() if background else self.line.overdue():
            rival, due = waiter.request.model, LONG_AGO if background else waiter.due
            if due < bounds.get(rival, NEVER):
                bounds[rival] = due
        return min(
            (
                due
                for rival, due in bounds.items()
                if rival != model and displaces(rival, model, live, self._facts, self._policy)
            ),
            default=NEVER,
        )

    def _drop_unwanted(self, model: ModelId) -> None:
        """Forget a swap that has not begun to load, when nobody waits for it any more."""
        if (
            model in self.coming
            and not self.line.count(model)
            and self._seats[model].phase is not Phase.STARTING
        ):
            del self.coming[model]
            self.epoch += 1
