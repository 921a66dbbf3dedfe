"""Costs grow with what they stand for, and those for an overdue request do not change while it waits."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from modelswap.core.placement.memory.costs import FREE, eviction_cost
from modelswap.core.placement.policy import Usage
from modelswap.units import Seconds

USAGE = st.builds(
    Usage,
    idle=st.floats(0, 1e6).map(Seconds),
    rate=st.floats(0, 10),
    waiting=st.integers(0, 5),
)


@given(USAGE, st.floats(0, 600), st.booleans())
def test_costs_grow(usage: Usage, reload: float, is_overdue: bool) -> None:  # noqa: FBT001 - drawn
    """With the reload, with recency, with the rate and with each waiting request."""

    def cost(usage: Usage, reload: float = reload) -> float:
        return eviction_cost(Seconds(reload), usage, is_overdue=is_overdue)

    base = cost(usage)
    assert base >= FREE
    assert cost(usage, reload + 1) >= base
    assert cost(replace(usage, idle=Seconds(usage.idle + 60))) <= base
    assert cost(replace(usage, rate=usage.rate + 1)) >= base
    assert cost(replace(usage, waiting=usage.waiting + 1)) >= base


@given(USAGE, st.floats(0.1, 600))
def test_being_held_back_does_not_save_a_model(usage: Usage, reload: float) -> None:
    """For an overdue request the cost only falls while requests of the victim wait for its sake."""
    later = replace(usage, idle=Seconds(usage.idle + 1), waiting=usage.waiting + 3, rate=9.0)
    before = eviction_cost(Seconds(reload), usage, is_overdue=True)
    assert eviction_cost(Seconds(reload), later, is_overdue=True) <= before
