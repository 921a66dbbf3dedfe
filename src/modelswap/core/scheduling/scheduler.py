"""Decides which request runs, which waits, and which model is started or stopped for it.

Guarantees, each checked after every step by `tests/unit/core/test_simulation.py`:

* a request is queued or running, never both, and it is answered once;
* a swap never stops a model with running requests;
* once a request is overdue, no later request is granted that stands in its way;
* a load serves the requests that were queued for it when it ended;
* while none is overdue, a model leaves after the waiting requests for it, but for those of a higher priority;
* a background request neither overtakes the others nor takes a model from them;
* no model is stopped for a request that allows no swap.

Does not: know processes or timers; what must happen is in the list that a method returns.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, assert_never

from modelswap.core.commands import Fail, Grant, LeaseRequest, Reason
from modelswap.core.models.lifecycle import Phase
from modelswap.core.models.state import NEVER
from modelswap.core.placement.policy import NeverFits, PlacementPlan
from modelswap.core.spec import ClientId, RequestId

from .admission import LATER, ClusterView, Refuse, Serve, Swap, Wait, WaitReason, cutoff, decide
from .decisions import NOTHING, Start, Stop, first_steps, swap_decided
from .pending_swaps import PendingSwap, PendingSwaps
from .queue import WaitQueue
from .room import Room, frees_memory
from .swap_costs import SwapCosts

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from modelswap.core.failure import Failure
    from modelswap.core.models.state import ModelState
    from modelswap.core.placement.policy import Facts, Policy
    from modelswap.core.spec import ModelId
    from modelswap.units import Seconds

    from .admission import Verdict
    from .decisions import Decision
    from .queue import QueuedRequest

_BOTH: Final = (False, True)
INTERNAL: Final = ClientId("")
"""The client of a background load, which has no request: preload and restore."""


class Scheduler:
    def __init__(
        self,
        states: dict[ModelId, ModelState],
        policy: Policy,
        *,
        max_wait: Seconds | None,
        queue_limit: int,
    ) -> None:
        """After *max_wait* no request is overtaken; `None`: by the cost of its swap (`SwapCosts.bound`)."""
        self.queue = WaitQueue()
        self.pending = PendingSwaps()
        self.draining: set[ModelId] = set()
        self.alive = {model for model, state in states.items() if state.is_alive}
        """The models that may have a process: few, however many are configured."""
        self.epoch = 1
        """Changes whenever a verdict other than "too many running" may have changed."""
        self._states = states
        self.policy = policy
        self._costs = SwapCosts(states, self.queue, max_wait)
        self._room = Room()
        self.queue_limit = queue_limit
        self.is_closed = False
        self._background_loads = 0

    # Requests

    def on_arrived(
        self, id_: RequestId, request: LeaseRequest, now: Seconds, *, is_new: bool = True
    ) -> Sequence[Decision]:
        """Decide about a new request; it is queued only if it must wait."""
        if self.is_closed:
            return (Fail(id_, Reason.SHUTTING_DOWN),)
        if id_ >= 0:
            self._costs.note_pause(request.model, self.pending, self.draining, now)
        out = self.decide_queue(now) if self.queue.is_due(now) else []
        ahead = self.queue.ahead_of(background=request.background)
        blocking = {queued.request.model for queued in ahead}
        verdict = decide(request, self.view(now), self.policy, blocking, is_new=is_new)
        self._take_note(request.model, verdict, now)
        is_full = len(self.queue) >= self.queue_limit
        if isinstance(verdict, Wait) and is_full and is_new and id_ >= 0:
            return [*out, Fail(id_, Reason.QUEUE_FULL, "the queue is full", LATER)]
        state = self._states.get(request.model)
        priority = 0 if state is None else state.spec.priority
        bound = NEVER
        if isinstance(verdict, Wait | Swap):
            bound = self._costs.bound(request.model, verdict.victims or self.alive)
        queued = self.queue.add(id_, request, priority, now, bound)
        if isinstance(verdict, Serve) and not (request.background or request.no_swap):
            self._states[request.model].clear_in = self.epoch
        if isinstance(verdict, Swap) and verdict.evictions and len(self.queue) > 1:
            return [*out, *self.decide_queue(now)]  # another swap may be better
        return [*out, *self._apply(verdict, queued, now)]

    def on_cancelled(self, id_: RequestId, now: Seconds) -> Sequence[Decision]:
        """Forget a queued request. A granted one ends by `on_finished`."""
        queued = self.queue.find(id_)
        if queued is None:
            return NOTHING
        self.queue.remove(queued)
        model = queued.request.model
        self._drop_unneeded(model)
        # Only these may have kept others waiting.
        if queued.is_overdue or self.queue.background or not self.queue.count(model):
            return self.decide_queue(now)
        return NOTHING

    def on_finished(self, model: ModelId, now: Seconds) -> Sequence[Decision]:
        """Use the place that became free."""
        state = self._states[model]
        out: list[Decision] = []
        if not state.in_flight and model in self.draining and state.phase is Phase.READY:
            out.append(Stop(model, "its last request has ended"))
        if len(self.queue) and not state.in_flight:
            state.clear_in = 0  # its next request tells how long it was idle
        if len(self.queue) and (not state.in_flight or self.queue.count(model)):
            out += self.decide_queue(now)
        return out

    def background_load(self, model: ModelId, now: Seconds) -> tuple[RequestId, Sequence[Decision]]:
        """Load a model without a request; the answer has a negative id and counts as no use."""
        self._background_loads += 1
        id_ = RequestId(-self._background_loads)
        return id_, self.on_arrived(id_, LeaseRequest(model, INTERNAL, background=True), now)

    # Models

    def on_phase(self, model: ModelId, state: ModelState) -> None:
        """Take note of every change of a model's phase."""
        self._room.on_phase(model, state.phase)
        if state.is_alive:
            self.alive.add(model)
        else:
            self.alive.discard(model)

    def on_ready(self, model: ModelId, now: Seconds) -> Sequence[Decision]:
        self.epoch += 1
        self._costs.learn(model)
        return [*self._grant_waiting(model, now), *self.decide_queue(now)]

    def makes_room(self, model: ModelId, now: Seconds) -> bool:
        """Say whether a model that ran out of memory starts once more; its requests wait on."""
        if self.queue.count(model) and frees_memory(self.view(now), model, self.policy):
            return self.pending.pop(model, None) is not None
        return False

    def on_start_failed(self, model: ModelId, why: Failure, now: Seconds) -> Sequence[Decision]:
        """Refuse the model's queued requests; bring back what was evicted, if that is configured."""
        self.epoch += 1
        swap = self.pending.pop(model, None)
        state = self._states[model]
        left = state.backoff_left(now)
        out = self._fail(self.queue.of(model), Reason.LOAD_FAILED, why.text, left, why)
        if swap is not None and swap.evicted and state.spec.restore_on_failure:
            out += self.background_load(swap.evicted[0], now)[1]
        return out

    def on_stopped(self, model: ModelId, now: Seconds) -> Sequence[Decision]:
        """Go on with the swaps and the requests that waited for this."""
        self.epoch += 1
        self._costs.learn(model)
        self.draining.discard(model)
        out: list[Decision] = []
        for target, swap in self.pending.on_exited(model):
            out += self._complete_eviction(target, swap, now)
        return [*out, *self.decide_queue(now)]

    def on_stuck(self, model: ModelId, now: Seconds) -> Sequence[Decision]:
        """End the swaps that wait for a process that even a kill does not end."""
        self.epoch += 1
        out: list[Decision] = []
        for target in self.pending.awaiting(model):
            del self.pending[target]
            why = f"{model}, which must leave first, was killed but does not exit"
            out += self._fail(self.queue.of(target), Reason.LOAD_FAILED, why, LATER)
        return [*out, *self.decide_queue(now)]

    def on_stopping(self, model: ModelId) -> None:
        self.epoch += 1
        self.draining.discard(model)

    def forget_swap(self, model: ModelId) -> None:
        """Make sure that no earlier decision starts the model later."""
        self.epoch += 1
        self.pending.forget(model)

    def adopt(self, model: ModelId, now: Seconds) -> bool:
        """Count a server that runs already; say whether it may stay."""
        self.epoch += 1
        view = self.view(now)
        plan = self.policy(view.question(model, view.live()))
        self.pending[model] = PendingSwap(set())
        if isinstance(plan, PlacementPlan):
            return not plan.evictions
        return not isinstance(plan, NeverFits)  # it holds its memory already

    def begin_drain(self, model: ModelId) -> bool:
        """Grant no more requests on the model; say whether none is running."""
        self.epoch += 1
        self.draining.add(model)
        return not self._states[model].in_flight

    def fail_waiting(
        self, models: Iterable[ModelId], reason: Reason, now: Seconds
    ) -> Sequence[Decision]:
        """Refuse all queued requests for these models; the others may be served now."""
        out: list[Decision] = []
        for model in models:
            out += self._fail(self.queue.of(model), reason)
            self._drop_unneeded(model)
        return [*out, *self.decide_queue(now)]

    def on_facts(self, facts: Facts, now: Seconds) -> Sequence[Decision]:
        """Decide anew by other facts; does nothing for the epoch that is known already."""
        if facts.epoch == self._costs.facts.epoch:
            return NOTHING
        self.epoch += 1
        self._costs.on_facts(facts)
        self._room.on_facts()
        return self.decide_queue(now)

    # Configuration and end

    def replace(
        self, policy: Policy, *, max_wait: Seconds | None, queue_limit: int, now: Seconds
    ) -> Sequence[Decision]:
        self.epoch += 1
        self.policy, self.queue_limit = policy, queue_limit
        if max_wait != self._costs.max_wait:
            self._costs.max_wait = max_wait
            self.queue.set_bounds(lambda model: self._costs.bound(model, self.alive))
        return self.decide_queue(now)

    def close(self) -> Sequence[Decision]:
        """Refuse every queued request, and all new ones from now on."""
        self.epoch += 1
        self.is_closed = True
        out = self._fail(self.queue, Reason.SHUTTING_DOWN)
        for model in tuple(self.pending):
            self._drop_unneeded(model)
        return out

    # Deciding

    def decide_queue(self, now: Seconds) -> list[Decision]:
        """Decide anew about every queued request, in order.

        One that has to wait stands for all of its kind behind it, so the cost does not grow with them.
        """
        out: list[Decision] = []
        if self.queue.age(now):
            self.epoch += 1
        self._room.begin_pass()
        overdue, foreground = set["ModelId"](), set["ModelId"]()
        ranks = self._costs.ranks(self.pending, now)
        heads = self.queue.heads(ranks)
        for queued in heads:
            request = queued.request
            blocking = foreground if request.background else overdue
            verdict = decide(request, self.view(now), self.policy, blocking, queued=queued)
            self._take_note(request.model, verdict, now)
            out += self._apply(verdict, queued, now)
            if isinstance(verdict, Serve | Refuse):
                heads.follow(queued)
                continue
            # All others of its kind wait too: what this pass still decides can only add obstacles.
            if queued.is_overdue:
                overdue.add(request.model)
            if not request.background:
                foreground.add(request.model)
        return out

    def view(self, now: Seconds) -> ClusterView:
        return ClusterView(
            states=self._states,
            alive=self.alive,
            pending=self.pending.keys(),
            draining=self.draining,
            abandoned={m for m in self.pending if not self.queue.count(m)},
            now=now,
            facts=self._room.with_promises(
                self._costs.facts, self._states, self.alive, self.pending
            ),
            usage=lambda model: self._states[model].usage(now, self.queue.count(model)),
            short_since=self._room.short_since,
            kept_until=self._costs.kept_until,
        )

    def next_look(self) -> Seconds:
        """Return when something may be decided that no event announces; `NEVER`: nothing is."""
        return min(self.queue.next_due(), self._room.next_look)

    def _take_note(self, model: ModelId, verdict: Verdict, now: Seconds) -> None:
        """Remember what a verdict waits for."""
        self._room.on_verdict(model, verdict, now)
        if isinstance(verdict, Wait) and verdict.why is WaitReason.KEPT:
            for victim in verdict.victims:
                self._states[victim].clear_in = 0  # its next request tells how long it was idle

    def _apply(self, verdict: Verdict, queued: QueuedRequest, now: Seconds) -> Sequence[Decision]:
        match verdict:
            case Serve():
                return (self._grant(queued, now),)
            case Wait():
                return NOTHING
            case Swap():
                return self._swap(queued, verdict, now)
            case Refuse(reason, why, retry_after, failure):
                out = self._fail((queued,), reason, why, retry_after, failure)
                self._drop_unneeded(queued.request.model)
                return out
            case _ as never:
                assert_never(never)

    def _grant(self, queued: QueuedRequest, now: Seconds) -> Decision:
        self.queue.remove(queued, served=True)
        state = self._states[queued.request.model]
        if queued.id < 0:
            state.used = now
        else:
            state.in_flight += 1
        return Grant(queued.id, queued.request.model)

    def _fail(
        self,
        requests: Iterable[QueuedRequest],
        reason: Reason,
        why: str = "",
        retry_after: Seconds | None = None,
        failure: Failure | None = None,
    ) -> list[Decision]:
        out: list[Decision] = []
        for queued in requests:
            self.queue.remove(queued)
            out.append(Fail(queued.id, reason, why, retry_after, failure))
        return out

    def _swap(self, queued: QueuedRequest, swap: Swap, now: Seconds) -> list[Decision]:
        self.epoch += 1
        model = queued.request.model
        awaiting = self.pending.begin(model, swap, self._states).awaiting
        self.draining |= awaiting
        decided = swap_decided(queued, swap, self._costs.facts, now)
        return [decided, *first_steps(model, swap, awaiting)]

    def _complete_eviction(self, model: ModelId, swap: PendingSwap, now: Seconds) -> list[Decision]:
        match self._states[model].phase:
            case Phase.READY:  # it ran already beside what was evicted
                return self._grant_waiting(model, now)
            case Phase.STOPPED:
                return [Start(model, "there is room now", swap.placement)]
            case _:  # it was ready, and is stopping meanwhile: decide anew when it has stopped
                del self.pending[model]
                return []

    def _grant_waiting(self, model: ModelId, now: Seconds) -> list[Decision]:
        """Grant the requests that the load was for, before another may evict the model."""
        self.pending.pop(model, None)
        self.epoch += 1
        state = self._states[model]
        view = self.view(now)
        latest = {b: cutoff(model, self.queue, view, self.policy, background=b) for b in _BOTH}
        out: list[Decision] = []
        for queued in self.queue.of(model):
            if state.in_flight >= state.limit:
                break
            if queued.arrived <= latest[queued.request.background]:
                out.append(self._grant(queued, now))
        return out

    def _drop_unneeded(self, model: ModelId) -> None:
        """Forget a swap that has not begun to load once no request waits for it."""
        if (
            model in self.pending
            and not self.queue.count(model)
            and self._states[model].phase is not Phase.STARTING
        ):
            del self.pending[model]
            self.epoch += 1
