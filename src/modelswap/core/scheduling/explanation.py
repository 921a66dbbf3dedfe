"""The dry run of a decision: what would happen to a request that came now, and what leads to it.

Guarantees: nothing changes. The verdict is the one of `admission.decide`, and the plan is the one of the
policy, both for the very question that a request would raise.
Units: bytes, seconds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from modelswap.core.commands import Reason
from modelswap.core.models.lifecycle import Phase
from modelswap.core.placement.policy import PlacementPlan, Usage
from modelswap.deferred import dataclass
from modelswap.units import Seconds

from .admission import LATER, Refuse, Swap, Wait, WaitReason, decide

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from modelswap.core.commands import LeaseRequest
    from modelswap.core.models.state import ModelState
    from modelswap.core.placement.policy import Answer, DeviceId, Facts, Placement, Policy
    from modelswap.core.spec import ModelId
    from modelswap.units import Bytes

    from .admission import ClusterView, Verdict
    from .queue import WaitQueue

_WAITS_FOR_ROOM: Final = (Wait(WaitReason.HELD), Wait(WaitReason.SETTLING), Wait(WaitReason.BUSY))
"""Verdicts after which the policy's plan is still to be carried out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """What would happen to a request for one model."""

    model: ModelId
    verdict: Verdict
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
        is_open = isinstance(self.verdict, Swap) or self.verdict in _WAITS_FOR_ROOM
        if not is_open or not isinstance(self.plan, PlacementPlan):
            return ()
        return tuple(sorted(self.plan.evicted))


def _blocking(request: LeaseRequest, queue: WaitQueue) -> set[ModelId]:
    ahead = queue.ahead_of(background=request.background)
    return {queued.request.model for queued in ahead}


def explain(
    request: LeaseRequest,
    view: ClusterView,
    policy: Policy,
    queue: WaitQueue,
    *,
    queue_limit: int,
    awaiting: tuple[ModelId, ...] = (),
    is_closed: bool = False,
) -> Explanation:
    """Say what would happen to *request*, which is not in the queue.

    *queue_limit*: how many requests may wait; *awaiting*: the models that leave for its model already;
    *is_closed*: no request is taken any more.
    """
    model, live = request.model, view.live()
    state = view.states.get(model)
    blocking = _blocking(request, queue)
    verdict = decide(request, view, policy, blocking, is_new=True)
    if is_closed:
        verdict = Refuse(Reason.SHUTTING_DOWN, "the server is shutting down")
    elif isinstance(verdict, Wait) and len(queue) >= queue_limit:
        verdict = Refuse(Reason.QUEUE_FULL, "the queue is full", LATER)
    return Explanation(
        model=model,
        verdict=verdict,
        phase=Phase.STOPPED if state is None else state.phase,
        plan=policy(view.question(model, live)),
        in_flight=0 if state is None else state.in_flight,
        concurrency=None if state is None else state.spec.concurrency,
        blocking=tuple(sorted(blocking - {model})),
        awaiting=tuple(sorted(awaiting)),
        live=tuple(live),
        facts=view.facts,
        usage={m: usage_of(view.states[m], queue.count(m), view.now) for m in live},
        phases={m: view.states[m].phase for m in live},
    )


def usage_of(state: ModelState, waiting: int, now: Seconds) -> Usage:
    """Return how a live model is used, for readers; a policy may know more."""
    is_busy = state.in_flight > 0 or state.phase is not Phase.READY
    return Usage(
        idle=Seconds(0.0) if is_busy else Seconds(now - state.used),
        in_flight=state.in_flight,
        waiting=waiting,
    )


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
