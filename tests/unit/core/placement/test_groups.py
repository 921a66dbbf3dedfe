"""Groups evict what the truth tables of llama-swap say."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelswap.core.placement.groups import groups_policy
from modelswap.core.placement.policy import NO_EVICTIONS, Evict, PlacementPlan, Question, stop
from modelswap.core.spec import ModelId
from support.controller_simulator import FakeGroup

T, X, Y = ModelId("t"), ModelId("x"), ModelId("y")
MODELS = [ModelId(name) for name in "abcdef"]
BOTH = (False, True)


def evicted(*models: ModelId) -> PlacementPlan:
    return PlacementPlan(frozenset(map(Evict, models)))


@pytest.mark.parametrize("swap", BOTH)
@pytest.mark.parametrize("exclusive", BOTH)
@pytest.mark.parametrize("persistent", BOTH)
def test_inside_a_group_only_swap_matters(*, swap: bool, exclusive: bool, persistent: bool) -> None:
    """In one group the other is stopped exactly if the group swaps; persistence protects no member."""
    policy = groups_policy(
        [FakeGroup("g", (T, X), swap=swap, exclusive=exclusive, persistent=persistent)]
    )
    assert policy(Question(T, [X])) == (evicted(X) if swap else NO_EVICTIONS)


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
    expected = evicted(X) if exclusive and not persistent else NO_EVICTIONS
    assert policy(Question(T, [X])) == expected


def test_the_target_and_a_model_without_a_group_stay() -> None:
    """The target is not evicted, and a model in no group is not evicted and evicts no model."""
    policy = groups_policy([FakeGroup("g", (T, X))])
    assert policy(Question(T, [T, X, Y])) == evicted(X)
    assert policy(Question(Y, [T, X])) == NO_EVICTIONS


@st.composite
def _groups(draw: st.DrawFn) -> list[FakeGroup]:
    members = draw(st.permutations(MODELS))
    cut = draw(st.integers(0, len(MODELS)))
    rules = {name: st.booleans() for name in ("swap", "exclusive", "persistent")}
    parts = {"g": members[:cut], "h": members[cut:-1]}
    return [FakeGroup(n, tuple(m), **draw(st.fixed_dictionaries(rules))) for n, m in parts.items()]


@given(_groups(), st.sampled_from(MODELS), st.lists(st.sampled_from(MODELS), unique=True))
def test_groups_evict_what_they_always_evicted(
    groups: list[FakeGroup], target: ModelId, live: list[ModelId]
) -> None:
    """The plan stops exactly the live models that the rules name; with these gone it stops none."""
    of = {model: group for group in groups for model in group.members}
    mine = of.get(target)
    expected = {
        m
        for m in live
        if mine is not None
        and m != target
        and (theirs := of.get(m)) is not None
        and (mine.swap if mine is theirs else mine.exclusive and not theirs.persistent)
    }
    policy = groups_policy(groups)
    assert policy(Question(target, live)) == stop(frozenset(expected))
    rest = [m for m in live if m not in expected]
    assert policy(Question(target, rest)) == NO_EVICTIONS
