"""A bound on the number of loaded models, as llama.cpp's router has it: the least recently used one leaves.

Guarantees: what another policy evicts counts as gone, so no model leaves beyond what both need. A pinned
model never leaves for the count.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from modelswap.core.explaining.quantities import count_text, list_text

from .policy import Evict, NeverFits, PlacementPlan

if TYPE_CHECKING:
    from collections.abc import Collection

    from modelswap.core.spec import ModelId

    from .policy import Policy, Question


def at_most(count: int, policy: Policy, pinned: Collection[ModelId] = ()) -> Policy:
    """Let at most *count* models run, and what *policy* says beside; 0: no bound."""
    if not count:
        return policy
    limit = f"at most {count_text(count, 'model')} may be loaded"

    def bounded(question: Question) -> PlacementPlan | NeverFits:
        plan = policy(question)
        if isinstance(plan, NeverFits):
            return plan
        gone = plan.evicted
        others = [m for m in question.live if m != question.target and m not in gone]
        excess = len(others) + 1 - count
        if excess <= 0:
            return plan
        movable = [m for m in others if m not in pinned]
        if len(movable) < excess:
            stay = list_text(sorted(m for m in others if m in pinned))
            return NeverFits(f"{limit}, and {stay} {'stays' if len(others) == 1 else 'stay'}")
        oldest = movable[:excess]
        why = f"{limit}, and {list_text(oldest)} {'was' if excess == 1 else 'were'} used the longest ago"
        return PlacementPlan(
            plan.evictions | frozenset(map(Evict, oldest)),
            plan.placement,
            "; ".join(filter(None, (plan.why, why))),
        )

    return bounded
