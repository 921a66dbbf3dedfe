"""At most so many models: the least recently used one leaves."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from modelswap.core.placement.at_most import at_most
from modelswap.core.placement.policy import (
    NeverFits,
    PlacementPlan,
    Question,
    all_of,
    apart,
    unrestricted,
)
from modelswap.core.spec import ModelId

A, B, C, T = (ModelId(m) for m in "abct")


def test_the_least_recently_used_leaves() -> None:
    """As many as are too many; the reason names the number and the model."""
    plan = at_most(2)(Question(T, [A, B]))
    assert isinstance(plan, PlacementPlan)
    assert plan.evicted == {A}
    assert plan.why == "at most 2 models may be loaded, and a was used the longest ago"
    assert at_most(1)(Question(T, [A, B])) == at_most(1)(Question(T, [B, A]))


def test_room_and_no_bound() -> None:
    """Below the number none leaves; a model that runs already takes no second place; 0 is no bound."""
    assert at_most(3)(Question(T, [A, B])) == PlacementPlan()
    assert at_most(2)(Question(T, [A, T])) == PlacementPlan()
    assert at_most(0) is unrestricted


def test_a_pinned_model_stays() -> None:
    """The next one leaves in its place; where all stay, the model can never be loaded."""
    plan = at_most(2, {A})(Question(T, [A, B]))
    assert isinstance(plan, PlacementPlan)
    assert plan.evicted == {B}
    full = at_most(2, {A, B})(Question(T, [A, B]))
    assert full == NeverFits("at most 2 models may be loaded, and a and b stay")
    one = at_most(1, {A})(Question(T, [A]))
    assert one == NeverFits("at most 1 model may be loaded, and a stays")


def test_what_another_policy_evicts_makes_room() -> None:
    """No second model leaves where one leaves already for another reason."""
    policy = all_of(apart({T: "x", B: "x"}), at_most(2))
    plan = policy(Question(T, [A, B]))
    assert isinstance(plan, PlacementPlan)
    assert plan.evicted == {B}
    assert plan.why == "b has the same address"


@given(
    st.integers(1, 5),
    st.lists(st.sampled_from([ModelId(m) for m in "abcdef"]), unique=True),
    st.sets(st.sampled_from([ModelId(m) for m in "abcdef"]), max_size=3),
)
def test_never_more_than_so_many(count: int, live: list[ModelId], pinned: set[ModelId]) -> None:
    """What stays and the target are at most that number, and nobody leaves without need."""
    plan = at_most(count, pinned)(Question(T, live))
    if isinstance(plan, NeverFits):
        assert len(pinned.intersection(live)) >= count
        return
    assert isinstance(plan, PlacementPlan)
    assert len(live) - len(plan.evicted) + 1 <= max(count, 1)
    assert len(plan.evicted) == max(0, len(live) + 1 - count)
    assert not plan.evicted & pinned
