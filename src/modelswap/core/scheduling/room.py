"""What placing by memory adds to scheduling: promises to models that start, and requests that wait for room.

Guarantees: whatever waits for a time is decided again at `Room.next_look`, if no event does that before.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from modelswap.core.models.lifecycle import Phase
from modelswap.core.models.state import NEVER
from modelswap.core.placement.policy import NotYet, PlacementPlan

from .admission import Wait, WaitReason

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from modelswap.core.models.state import ModelState
    from modelswap.core.placement.policy import DeviceId, Facts, Policy
    from modelswap.core.spec import ModelId
    from modelswap.units import Bytes, Seconds

    from .admission import ClusterView, Verdict
    from .pending_swaps import PendingSwap


class Room:
    def __init__(self) -> None:
        self.short_since: dict[ModelId, Seconds] = {}
        """Since when there is no room for these models."""
        self.next_look = NEVER
        self._started: set[ModelId] = set()
        """Models that started after the facts were told, which may know an earlier run of theirs."""

    # Promises

    def on_phase(self, model: ModelId, phase: Phase) -> None:
        if phase is Phase.STARTING:
            self._started.add(model)

    def on_facts(self) -> None:
        self._started.clear()

    def with_promises(
        self,
        facts: Facts,
        states: Mapping[ModelId, ModelState],
        alive: Collection[ModelId],
        pending: Mapping[ModelId, PendingSwap],
    ) -> Facts:
        """Return the facts with what was promised to models since they were told.

        So two decisions in a row, without new facts between them, do not give the same memory away twice.
        """
        if not facts.pools:
            return facts
        promised: dict[ModelId, Mapping[DeviceId, Bytes]] = {
            model: dict(states[model].placement.promised)
            for model in alive
            if (model in self._started or model not in facts.held)
            and states[model].placement.promised
        }
        for model, swap in pending.items():
            if model not in alive and swap.placement.promised:
                promised[model] = dict(swap.placement.promised)
        return replace(facts, held={**facts.held, **promised}) if promised else facts

    # Requests that wait for room

    def begin_pass(self) -> None:
        """Begin to decide about every queued request anew."""
        self.next_look = NEVER

    def on_verdict(self, model: ModelId, verdict: Verdict, now: Seconds) -> None:
        """Take note of what was decided about a model's first request."""
        if isinstance(verdict, Wait):
            self.next_look = min(self.next_look, verdict.until)
        if isinstance(verdict, Wait) and verdict.why is WaitReason.NO_ROOM:
            self.short_since.setdefault(model, now)
        elif not (isinstance(verdict, Wait) and verdict.why is WaitReason.HELD):
            self.short_since.pop(model, None)


def frees_memory(view: ClusterView, model: ModelId, policy: Policy) -> bool:
    """Say whether models are placed by memory, and more of it is to be free for this one than now."""
    if not view.facts.pools:
        return False
    others = [one for one in view.live() if one != model]
    answer = policy(view.question(model, others))
    if isinstance(answer, PlacementPlan):
        return bool(answer.evictions)
    return isinstance(answer, NotYet)
