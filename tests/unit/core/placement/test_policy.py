"""Policies answer from facts alone, and groups mean what the reference's truth tables say."""

from __future__ import annotations

import pytest

from modelswap.core.placement.policy import Evict, groups_policy
from modelswap.core.spec import ModelId
from support.controller_simulator import FakeGroup

T, X, Y = ModelId("t"), ModelId("x"), ModelId("y")
BOTH = (False, True)


@pytest.mark.parametrize("swap", BOTH)
@pytest.mark.parametrize("exclusive", BOTH)
@pytest.mark.parametrize("persistent", BOTH)
def test_inside_a_group_only_swap_matters(*, swap: bool, exclusive: bool, persistent: bool) -> None:
    """In one group the other is stopped exactly if the group swaps; persistence protects nobody."""
    policy = groups_policy(
        [FakeGroup("g", (T, X), swap=swap, exclusive=exclusive, persistent=persistent)]
    )
    assert policy(T, [X]) == Evict(frozenset({X} if swap else ()))


@pytest.mark.parametrize("exclusive", BOTH)
@pytest.mark.parametrize("persistent", BOTH)
@pytest.mark.parametrize("other", BOTH)
def test_between_groups(*, exclusive: bool, persistent: bool, other: bool) -> None:
    """An exclusive group stops the others unless they are persistent; their exclusiveness is idle."""
    policy = groups_policy(
        [
            FakeGroup("g", (T,), exclusive=exclusive),
            FakeGroup("h", (X,), exclusive=other, persistent=persistent),
        ]
    )
    assert policy(T, [X]) == Evict(frozenset({X} if exclusive and not persistent else ()))


def test_nobody_stops_itself_or_a_stranger() -> None:
    """The target stays, and so does a model in no group, which stops nobody either."""
    policy = groups_policy([FakeGroup("g", (T, X))])
    assert policy(T, [T, X, Y]) == Evict(frozenset({X}))
    assert policy(Y, [T, X]) == Evict(frozenset())
