"""What to do with one request, now.

Guarantees: new and queued requests go through `decide` alone, so the two cannot disagree.
"""

from __future__ import annotations

from dataclasses import field
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from modelswap.core.commands import Reason
from modelswap.core.models.lifecycle import LEAVING, Phase
from modelswap.core.models.state import LONG_AGO, NEVER
from modelswap.core.placement.policy import (
    ANYWHERE,
    NO_FACTS,
    NeverFits,
    NotYet,
    PlacementPlan,
    Question,
    unused,
)
from modelswap.deferred import dataclass
from modelswap.units import Seconds

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence
    from collections.abc import Set as AbstractSet

    from modelswap.core.commands import LeaseRequest
    from modelswap.core.failure import Failure
    from modelswap.core.models.state import ModelState
    from modelswap.core.placement.policy import Evict, Facts, Placement, Policy, Usage
    from modelswap.core.spec import ModelId

    from .queue import QueuedRequest, WaitQueue

SOON: Final = Seconds(1.0)
"""`Retry-After` where other requests end at any time."""
LATER: Final = Seconds(5.0)
"""`Retry-After` where the queue has to shrink, a killed process has to exit, or other programs have to
free memory."""


def not_kept(_model: ModelId, _target: ModelId) -> Seconds:
    """Keep no idle model."""
    return LONG_AGO


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterView:
    """The facts a decision may use."""

    states: Mapping[ModelId, ModelState]
    alive: AbstractSet[ModelId]
    """The models that may have a process."""
    pending: AbstractSet[ModelId]
    """Like *draining* decided already: it counts before the phases show it."""
    draining: AbstractSet[ModelId]
    abandoned: AbstractSet[ModelId]
    """The pending models for which no request waits any more."""
    now: Seconds
    facts: Facts = NO_FACTS
    usage: Callable[[ModelId], Usage] = unused
    short_since: Mapping[ModelId, Seconds] = field(default_factory=dict["ModelId", "Seconds"])
    """Since when there is no room for these models."""
    kept_until: Callable[[ModelId, ModelId], Seconds] = not_kept
    """Until when an idle model is kept for its next request, though the target wants its place."""

    def question(
        self, target: ModelId, live: Sequence[ModelId], *, is_overdue: bool = False
    ) -> Question:
        """Ask whether the target can run beside *live*, which models are on the way out, in, and neither."""
        phases = [(model, self.states[model].phase) for model in live]
        stuck = frozenset(model for model, phase in phases if phase is Phase.STUCK)
        leaving = frozenset(model for model, phase in phases if phase in LEAVING)
        return Question(
            target,
            live,
            self.facts,
            self.usage,
            leaving=(leaving | self.draining) - stuck,
            stuck=stuck,
            loading=frozenset(self.pending) - self.abandoned,
            is_overdue=is_overdue,
        )

    def live(self) -> list[ModelId]:
        """Return the models that run or will, from the least to the most recently used.

        A model with running requests, and one that is to start, is in use now.
        """
        wanted = (model for model in self.pending if model in self.states)
        return sorted({*self.alive, *wanted}, key=self._used)

    def _used(self, model: ModelId) -> tuple[bool, Seconds, int]:
        state = self.states[model]
        return state.in_flight > 0 or model in self.pending, state.used, state.serial


class WaitReason(StrEnum):
    LEAVING = "the model is stopping"
    HELD = "an older request needs the capacity"
    LOADING = "the model is starting"
    SETTLING = "an eviction would stop a model that is still starting"
    KEPT = "an eviction would stop a model whose next request is expected at once"
    BUSY = "an eviction would cut off running requests"
    NO_ROOM = "there is not enough free memory yet"
    FULL = "the model runs as many requests as it may"


@dataclass(frozen=True, slots=True)
class Serve:
    """The model is ready and has a free place."""


@dataclass(frozen=True, slots=True)
class Wait:
    why: WaitReason
    until: Seconds = NEVER
    """When to decide anew, if nothing happens before."""
    detail: str = field(default="", compare=False)
    victims: frozenset[ModelId] = field(default=frozenset(), compare=False)
    """The models that have to leave first, where that is known."""


@dataclass(frozen=True, slots=True)
class Swap:
    """Start the model once the evicted ones are gone."""

    evictions: frozenset[Evict] = frozenset()
    placement: Placement = ANYWHERE
    why: str = field(default="", compare=False)
    """Why these, for the log."""

    @property
    def victims(self) -> frozenset[ModelId]:
        return frozenset(eviction.model for eviction in self.evictions)


@dataclass(frozen=True, slots=True)
class Refuse:
    reason: Reason
    why: str
    retry_after: Seconds | None = None
    failure: Failure | None = None


Verdict = Serve | Wait | Swap | Refuse


def decide(
    request: LeaseRequest,
    view: ClusterView,
    policy: Policy,
    blocking_models: Collection[ModelId] = (),
    *,
    is_new: bool = False,
    queued: QueuedRequest | None = None,
) -> Verdict:
    """Return the one thing to do with a request; it may not overtake those for *blocking_models*.

    *queued* is its place in the queue; a new request has none yet.
    """
    model = request.model
    state = view.states.get(model)
    if state is None or state.is_removed:
        return Refuse(Reason.NO_SUCH_MODEL, f"no such model: {model}")
    if (verdict := _unavailable(model, state, view)) is not None:
        return verdict
    live = view.live()
    if request.no_swap and (refused := _swap_refused(model, state, live, view, policy)) is not None:
        return refused
    if any(
        displaces(other, model, live, view, policy, is_overdue=not request.background)
        for other in blocking_models
        if other != model
    ):
        return Wait(WaitReason.HELD)
    if model in view.pending:
        return Wait(WaitReason.LOADING)
    is_overdue = queued is not None and queued.is_overdue
    plan = policy(view.question(model, live, is_overdue=is_overdue))
    if not isinstance(plan, PlacementPlan):
        return _without_room(model, plan, view, view.now if queued is None else queued.arrived)
    if plan.evictions and not (request.no_swap and state.phase is Phase.READY):
        return _with_evictions(model, blocking_models, plan, view, is_overdue=is_overdue)
    return _without_eviction(state, plan, is_new=is_new)


def displaces(
    other: ModelId,
    model: ModelId,
    live: list[ModelId],
    view: ClusterView,
    policy: Policy,
    *,
    is_overdue: bool,
) -> bool:
    """Say whether *other*, to run, would have to evict *model* if that were running."""
    beside = live if model in live else [*live, model]
    plan = policy(view.question(other, beside, is_overdue=is_overdue))
    return isinstance(plan, PlacementPlan) and any(e.model == model for e in plan.evictions)


def cutoff(
    model: ModelId, queue: WaitQueue, view: ClusterView, policy: Policy, *, background: bool
) -> Seconds:
    """Return the time after whose arrivals other requests may evict a model first that is ready now.

    For background requests that is always, as soon as another request waits to evict it.
    """
    live = view.live()
    dues: dict[ModelId, Seconds] = {}
    for queued in queue.ahead_of(background=background):
        other, due = queued.request.model, LONG_AGO if background else queued.due
        if due < dues.get(other, NEVER):
            dues[other] = due
    return min(
        (
            due
            for other, due in dues.items()
            if other != model
            and displaces(other, model, live, view, policy, is_overdue=not background)
        ),
        default=NEVER,
    )


def _unavailable(model: ModelId, state: ModelState, view: ClusterView) -> Verdict | None:
    if state.phase is Phase.STUCK:
        return _stuck(model)
    left = state.backoff_left(view.now)
    if left > 0:
        why = state.failure
        return Refuse(Reason.BACKING_OFF, "" if why is None else why.text, left, why)
    if state.phase in LEAVING or model in view.draining:
        return Wait(WaitReason.LEAVING)
    return None


def _swap_refused(
    model: ModelId, state: ModelState, live: list[ModelId], view: ClusterView, policy: Policy
) -> Refuse | None:
    """Refuse a load that needs an eviction; models that leave anyway do not count."""
    if state.phase is Phase.READY or model in view.pending:
        return None
    plan = policy(view.question(model, live))
    if not isinstance(plan, PlacementPlan):
        return None
    staying = plan.evicted - view.draining
    victims = sorted(m for m in staying if view.states[m].phase not in LEAVING)
    return Refuse(Reason.WOULD_SWAP, ", ".join(victims)) if victims else None


def _without_room(
    model: ModelId, plan: NotYet | NeverFits, view: ClusterView, arrived: Seconds
) -> Verdict:
    """Let a request wait for room as long as the policy says, from when there was none for it."""
    if isinstance(plan, NeverFits):
        return Refuse(Reason.NEVER_FITS, plan.why)
    until = NEVER if plan.again_in is None else Seconds(view.now + plan.again_in)
    if plan.refuse_after is not None:
        since = max(arrived, view.short_since.get(model, view.now))
        if view.now >= since + plan.refuse_after:
            return Refuse(Reason.NO_ROOM, plan.why, LATER)
        until = min(until, Seconds(since + plan.refuse_after))
    return Wait(WaitReason.NO_ROOM, until, plan.why)


def _stuck(model: ModelId) -> Refuse:
    return Refuse(Reason.LOAD_FAILED, f"{model} was killed but does not exit", LATER)


def _with_evictions(
    target: ModelId,
    blocking_models: Collection[ModelId],
    plan: PlacementPlan,
    view: ClusterView,
    *,
    is_overdue: bool,
) -> Verdict:
    victims = plan.evicted
    for model in sorted(victims):
        if view.states[model].phase is Phase.STUCK:
            return _stuck(model)
    if not victims.isdisjoint(blocking_models):
        return Wait(WaitReason.HELD, victims=victims)
    if any(m in view.pending and m not in view.abandoned for m in victims):
        return Wait(WaitReason.SETTLING, victims=victims)
    if any(view.states[m].in_flight and view.states[m].phase is Phase.READY for m in victims):
        return Wait(WaitReason.BUSY, victims=victims)
    until = max(view.kept_until(model, target) for model in victims)
    if until > view.now and not is_overdue:
        return Wait(WaitReason.KEPT, until, victims=victims)
    return Swap(plan.evictions, plan.placement, plan.why)


def _without_eviction(state: ModelState, plan: PlacementPlan, *, is_new: bool) -> Verdict:
    if state.phase is not Phase.READY:
        return Swap(placement=plan.placement)
    if state.in_flight < state.limit:
        return Serve()
    return Refuse(Reason.OVER_LIMIT, "Too many requests", SOON) if is_new else Wait(WaitReason.FULL)
