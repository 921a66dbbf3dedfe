"""The dry run of a decision: what would happen to a request that came now, and what leads to it.

Guarantees: nothing changes. The verdict is the one of `admission.decide`, and the plan is the one of the
policy, both for the very question that a request would raise.
Units: bytes, seconds.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from modelswap.core.commands import Reason
from modelswap.core.models.lifecycle import Phase
from modelswap.core.placement.policy import PlacementPlan
from modelswap.deferred import dataclass

from .admission import LATER, Refuse, Swap, Wait, WaitReason, decide

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from modelswap.core.commands import Fail, LeaseRequest
    from modelswap.core.placement.policy import Answer, DeviceId, Facts, Placement, Usage
    from modelswap.core.spec import ModelId
    from modelswap.units import Bytes, Seconds

    from .admission import Verdict
    from .scheduler import Scheduler

_WAITS_FOR_ROOM: Final = frozenset(
    {WaitReason.HELD, WaitReason.SETTLING, WaitReason.KEPT, WaitReason.BUSY}
)
"""Waits after which the policy's plan is still to be carried out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """What would happen to a request for one model."""

    model: ModelId
    verdict: Verdict
    now: Seconds
    phase: Phase
    plan: Answer
    """What the policy says, also where the request has to wait for it."""
    in_flight: int
    concurrency: int | None
    """Requests that the model runs at once at most; `None`: no limit."""
    blocking: tuple[ModelId, ...] = ()
    """The models for which requests wait that a new one may not overtake."""
    awaiting: tuple[ModelId, ...] = ()
    """The models that leave already for it."""
    competing: tuple[ModelId, ...] = ()
    """Other models for which requests wait, where the swap that is the best of all is chosen."""
    live: tuple[ModelId, ...] = ()
    """The models that run or will, from the least to the most recently used."""
    facts: Facts
    usage: Mapping[ModelId, Usage]
    """Of the live models."""
    phases: Mapping[ModelId, Phase]
    """Of the live models."""

    @property
    def leaving(self) -> tuple[ModelId, ...]:
        """The models that would have to leave, by name; not those that leave already."""
        verdict = self.verdict
        waits_for_room = isinstance(verdict, Wait) and verdict.why in _WAITS_FOR_ROOM
        if not (waits_for_room or isinstance(verdict, Swap)) or not isinstance(
            self.plan, PlacementPlan
        ):
            return ()
        return tuple(sorted(self.plan.evicted))


def explain(request: LeaseRequest, scheduler: Scheduler, now: Seconds) -> Explanation:
    """Say what would happen to *request*, which is not in the queue."""
    model, view, queue = request.model, scheduler.view(now), scheduler.queue
    live = view.live()
    state = view.states.get(model)
    blocking = {queued.request.model for queued in queue.ahead_of(background=request.background)}
    verdict = decide(request, view, scheduler.policy, blocking, is_new=True)
    if scheduler.is_closed:
        verdict = Refuse(Reason.SHUTTING_DOWN, "the server is shutting down")
    elif isinstance(verdict, Wait) and len(queue) >= scheduler.queue_limit:
        verdict = Refuse(Reason.QUEUE_FULL, "the queue is full", LATER)
    swap = scheduler.pending.get(model)
    waiting = {first.request.model for first in queue.first_of_each()} - {model}
    is_contested = isinstance(verdict, Swap) and bool(verdict.evictions)
    return Explanation(
        model=model,
        verdict=verdict,
        now=now,
        phase=Phase.STOPPED if state is None else state.phase,
        plan=scheduler.policy(view.question(model, live)),
        in_flight=0 if state is None else state.in_flight,
        concurrency=None if state is None else state.spec.concurrency,
        blocking=tuple(sorted(blocking - {model})),
        awaiting=() if swap is None else tuple(sorted(swap.awaiting)),
        competing=tuple(sorted(waiting)) if is_contested else (),
        live=tuple(live),
        facts=view.facts,
        usage={m: view.usage(m) for m in live},
        phases={m: view.states[m].phase for m in live},
    )


def refused(told: Explanation, refusal: Fail) -> Explanation:
    """Return an explanation of a model that something before the scheduler refuses."""
    why = refusal.detail if refusal.failure is None else refusal.failure.text
    verdict = Refuse(refusal.reason, why, refusal.retry_after, refusal.failure)
    return replace(told, verdict=verdict)


def held_by_device(held: Mapping[ModelId, Mapping[DeviceId, Bytes]]) -> dict[DeviceId, int]:
    """Add up what all models hold of each device."""
    sums: dict[DeviceId, int] = {}
    for devices in held.values():
        for device, size in devices.items():
            sums[device] = sums.get(device, 0) + size
    return sums


def held_after(
    facts: Facts, leaving: Iterable[ModelId], model: ModelId, placement: Placement
) -> dict[DeviceId, int]:
    """Add up what the models will hold of each device once *model* runs and the others have left.

    A share that the policy has not placed yet is not counted on any GPU.
    """
    gone = {model, *leaving}
    sums = held_by_device({m: sizes for m, sizes in facts.held.items() if m not in gone})
    need = facts.needs.get(model)
    wanted: Mapping[DeviceId, Bytes] = dict(placement.promised)
    if not wanted:
        already = facts.held.get(model)
        wanted = already if already is not None else {} if need is None else need.fixed
    for device, size in wanted.items():
        sums[device] = sums.get(device, 0) + size
    return sums
