"""Policies answer from facts alone, and groups mean what the reference's truth tables say."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from core.world import FakeGroup
from modelswap.core.policy import Answer, Evict, NeverFits, all_of, groups_policy
from modelswap.core.spec import ModelId

if TYPE_CHECKING:
    from collections.abc import Sequence

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


def test_all_of_satisfies_everyone() -> None:
    """Each policy sees only what the earlier ones left, and one refusal is enough."""
    seen: list[list[ModelId]] = []

    def evict_x(_: ModelId, live: Sequence[ModelId]) -> Answer:
        seen.append(list(live))
        return Evict(frozenset({X} & set(live)))

    def never(_: ModelId, live: Sequence[ModelId]) -> Answer:
        seen.append(list(live))
        return NeverFits("too big")

    assert all_of(evict_x, evict_x)(T, [X, Y]) == Evict(frozenset({X}))
    assert seen == [[X, Y], [Y]]
    assert all_of(evict_x, never)(T, [X, Y]) == NeverFits("too big")
