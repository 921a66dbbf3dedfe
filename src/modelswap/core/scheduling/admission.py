"""What to do with one request, now.

`decide` is the only decision tree. An arrival and a retry from the line both go through it, so the
two can never disagree, and its result is closed, so every request ends as exactly one verdict.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from modelswap.core.commands import Reason
from modelswap.core.models.lifecycle import LEAVING, Phase
from modelswap.core.placement.policy import ANYWHERE, NO_FACTS, NeverFits, Question
from modelswap.units import Seconds

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from collections.abc import Set as AbstractSet

    from modelswap.core.failure import Failure
    from modelswap.core.models.state import ModelState
    from modelswap.core.placement.policy import Evict, Facts, Placement, PlacementPlan, Policy
    from modelswap.core.spec import ModelId

SOON: Final = Seconds(1.0)
"""What a refused client is told when the wait depends on others' requests."""
LATER: Final = Seconds(5.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterView:
    """The facts a decision may use.

    *coming* and *leaving* are promises already made: they count before the phases show them.
    *abandoned* are the loads in progress that nobody waits for any more.
    """

    seats: Mapping[ModelId, ModelState]
    coming: AbstractSet[ModelId]
    leaving: AbstractSet[ModelId]
    abandoned: AbstractSet[ModelId]
    now: Seconds
    facts: Facts = NO_FACTS

    def live(self) -> list[ModelId]:
        """Return what runs or will, from the least to the most recently used.

        What runs requests or is on its way up is in use now.
        """
        found = [m for m, seat in self.seats.items() if seat.is_alive or m in self.coming]
        return sorted(found, key=self._used)

    def _used(self, model: ModelId) -> tuple[bool, Seconds]:
        seat = self.seats[model]
        return seat.in_flight > 0 or model in self.coming, seat.used


@dataclass(frozen=True, slots=True, kw_only=True)
class AdmissionRequest:
    """One request's question. *rivals* are the models of those it may not overtake."""

    model: ModelId
    rivals: Sequence[ModelId] = ()
    is_new: bool = False
    no_swap: bool = False
    """It may start the model, and use it, but no other may have to leave for that."""


class WaitReason(StrEnum):
    LEAVING = "the model is on its way out"
    HELD = "an older request needs the room"
    LOADING = "the model is on its way up"
    SETTLING = "an eviction would stop a model that is still starting"
    BUSY = "an eviction would cut off running requests"
    FULL = "the model runs as many requests as it may"


@dataclass(frozen=True, slots=True)
class Serve:
    """The model is ready and nothing stands in the way."""


@dataclass(frozen=True, slots=True)
class Wait:
    why: WaitReason


@dataclass(frozen=True, slots=True)
class Swap:
    """Start the model once these are gone."""

    evict: frozenset[Evict] = frozenset()
    placement: Placement = ANYWHERE
    why: str = field(default="", compare=False)
    """Why these, for the log."""


@dataclass(frozen=True, slots=True)
class Refuse:
    reason: Reason
    why: str
    retry_after: Seconds | None = None
    failure: Failure | None = None


Verdict = Serve | Wait | Swap | Refuse


def decide(ask: AdmissionRequest, world: ClusterView, policy: Policy) -> Verdict:
    """Return the one thing to do with a request."""
    model = ask.model
    seat = world.seats.get(model)
    if seat is None or seat.is_removed:
        return Refuse(Reason.NO_SUCH_MODEL, f"no such model: {model}")
    if (obstacle := _down(model, seat, world)) is not None:
        return obstacle
    live = world.live()
    if ask.no_swap and (refused := _swap_refused(model, seat, live, world, policy)) is not None:
        return refused
    if any(
        displaces(rival, model, live, world.facts, policy) for rival in ask.rivals if rival != model
    ):
        return Wait(WaitReason.HELD)
    if model in world.coming:
        return Wait(WaitReason.LOADING)
    plan = policy(Question(model, live, world.facts))
    if isinstance(plan, NeverFits):
        return Refuse(Reason.NEVER_FITS, plan.why)
    if plan.evictions and not (ask.no_swap and seat.phase is Phase.READY):
        return _with_eviction(ask, plan, world)
    return _with_room(ask, seat, plan)


def displaces(
    rival: ModelId, model: ModelId, live: list[ModelId], facts: Facts, policy: Policy
) -> bool:
    """Say whether *rival*, to run, would have to stop *model* if that were running."""
    beside = live if model in live else [*live, model]
    plan = policy(Question(rival, beside, facts))
    return not isinstance(plan, NeverFits) and any(e.model == model for e in plan.evictions)


def _down(model: ModelId, seat: ModelState, world: ClusterView) -> Verdict | None:
    if seat.phase is Phase.STUCK:
        return _stuck(model)
    rest = seat.rest_left(world.now)
    if rest > 0:
        why = seat.failure
        return Refuse(Reason.BACKING_OFF, "" if why is None else why.text, rest, why)
    if seat.phase in LEAVING or model in world.leaving:
        return Wait(WaitReason.LEAVING)
    return None


def _swap_refused(
    model: ModelId, seat: ModelState, live: list[ModelId], world: ClusterView, policy: Policy
) -> Refuse | None:
    """Refuse a load for which others would have to leave; those that leave anyway do not count."""
    if seat.phase is Phase.READY or model in world.coming:
        return None
    plan = policy(Question(model, live, world.facts))
    if isinstance(plan, NeverFits):
        return None
    victims = [
        victim
        for victim in sorted(plan.evicted)
        if victim not in world.leaving and world.seats[victim].phase not in LEAVING
    ]
    return Refuse(Reason.WOULD_SWAP, ", ".join(victims)) if victims else None


def _stuck(model: ModelId) -> Refuse:
    return Refuse(Reason.LOAD_FAILED, f"{model} was killed but does not exit", LATER)


def _with_eviction(ask: AdmissionRequest, plan: PlacementPlan, world: ClusterView) -> Verdict:
    evict = plan.evicted
    for model in sorted(evict):
        if world.seats[model].phase is Phase.STUCK:
            return _stuck(model)
    if not evict.isdisjoint(ask.rivals):
        return Wait(WaitReason.HELD)
    if any(m in world.coming and m not in world.abandoned for m in evict):
        return Wait(WaitReason.SETTLING)
    if any(world.seats[m].in_flight and world.seats[m].phase is Phase.READY for m in evict):
        return Wait(WaitReason.BUSY)
    return Swap(plan.evictions, plan.placement, plan.why)


def _with_room(ask: AdmissionRequest, seat: ModelState, plan: PlacementPlan) -> Verdict:
    if seat.phase is not Phase.READY:
        return Swap(placement=plan.placement)
    if seat.in_flight < seat.limit:
        return Serve()
    if ask.is_new:
        return Refuse(Reason.OVER_LIMIT, "Too many requests", SOON)
    return Wait(WaitReason.FULL)
