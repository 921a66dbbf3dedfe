"""Says in words what it costs to lose a model: for the policy that chooses it, and for who reads of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .quantities import count_text, duration_text, size_text

if TYPE_CHECKING:
    from modelswap.core.placement.policy import Facts, Usage
    from modelswap.core.spec import ModelId


def cost_text(usage: Usage, facts: Facts, model: ModelId) -> str:
    """Say in brackets what it costs to lose a model; empty where nothing is known."""
    known: list[str] = []
    if usage.in_flight:
        known.append(f"runs {count_text(usage.in_flight, 'request')}")
    elif usage.idle > 0:
        known.append(f"idle for {duration_text(usage.idle)}")
    if model in facts.reload:
        known.append(f"{duration_text(facts.reload[model])} to load again")
    held = sum(facts.held.get(model, {}).values())
    if held:
        known.append(f"frees {size_text(held)}")
    return f" ({', '.join(known)})" if known else ""
