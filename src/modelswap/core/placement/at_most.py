"""A bound on the number of loaded models, as llama.cpp's router has it: the least recently used one leaves.

Guarantees: a model that leaves anyway goes first, so no more models leave than for all policies together.
A pinned model never leaves for the count.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from modelswap.core.explaining.quantities import count_text, list_text

from .policy import NO_EVICTIONS, NeverFits, PlacementPlan, stop, unrestricted

if TYPE_CHECKING:
    from collections.abc import Collection

    from modelswap.core.spec import ModelId

    from .policy import Policy, Question


def at_most(count: int, pinned: Collection[ModelId] = ()) -> Policy:
    """Let at most *count* models run; 0: no bound."""
    if not count:
        return unrestricted
    limit = f"at most {count_text(count, 'model')} may be loaded"

    def policy(question: Question) -> PlacementPlan | NeverFits:
        others = [model for model in question.live if model != question.target]
        excess = len(others) + 1 - count
        if excess <= 0:
            return NO_EVICTIONS
        leaving = [model for model in others if model in question.leaving]
        idle = [model for model in others if model not in question.leaving and model not in pinned]
        chosen = [*leaving, *idle][:excess]
        if len(chosen) < excess:
            stay = sorted(model for model in others if model not in leaving)
            return NeverFits(
                f"{limit}, and {list_text(stay)} {'stays' if len(stay) == 1 else 'stay'}"
            )
        oldest = chosen[len(leaving) :]
        used = f", and {list_text(oldest)} {'was' if len(oldest) == 1 else 'were'} used the longest ago"
        return stop(frozenset(chosen), limit + (used if oldest else ""))

    return policy
