"""Policies join: the result satisfies each of them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from modelswap.core.placement.policy import (
    NO_EVICTIONS,
    DeviceId,
    Evict,
    EvictionMode,
    NeverFits,
    NodeId,
    Placement,
    PlacementPlan,
    Policy,
    Question,
    all_of,
    apart,
    stop,
    unrestricted,
)
from modelswap.core.spec import ModelId

A, B, C = ModelId("a"), ModelId("b"), ModelId("c")
STOP, SLEEP = EvictionMode
ASKED = Question(A, [B, C])

_MODELS = st.sampled_from([ModelId(name) for name in "abcdef"])
_ADDRESSES = st.dictionaries(_MODELS, st.sampled_from(["p", "q", "r"]))
_EVICTIONS = st.dictionaries(_MODELS, st.sampled_from([STOP, SLEEP])).map(
    lambda how: frozenset(Evict(model, mode) for model, mode in how.items())
)
_PLACEMENTS = st.builds(
    Placement,
    st.none() | st.just(NodeId("n")),
    st.lists(st.sampled_from([DeviceId("0"), DeviceId("1")]), unique=True).map(tuple),
)
_PLANS = st.builds(PlacementPlan, _EVICTIONS, _PLACEMENTS, st.text(max_size=5))
_ANSWERS = _PLANS | st.builds(NeverFits, st.text(min_size=1, max_size=5))


def saying(answer: PlacementPlan | NeverFits) -> Policy:
    return lambda _: answer


@given(st.lists(_ANSWERS, max_size=4))
def test_all_of_satisfies_each(answers: list[PlacementPlan | NeverFits]) -> None:
    """One refusal refuses; else every eviction counts once, the harder way, and one placement."""
    joined = all_of(*map(saying, answers))(ASKED)
    refusals = [answer.why for answer in answers if isinstance(answer, NeverFits)]
    if refusals:
        assert joined == NeverFits("; ".join(refusals))
        return
    assert isinstance(joined, PlacementPlan)
    plans = [answer for answer in answers if isinstance(answer, PlacementPlan)]
    evictions = [eviction for plan in plans for eviction in plan.evictions]
    stopped = {e.model for e in evictions if e.how is STOP}
    assert {e.model for e in joined.evictions if e.how is STOP} == stopped
    assert joined.evicted == {e.model for e in evictions}
    assert len(joined.evictions) == len(joined.evicted)
    placements = [plan.placement for plan in plans if plan.placement.is_specified]
    assert joined.placement == (placements[0] if placements else Placement())


@given(st.lists(_PLANS, max_size=4), st.permutations(range(4)))
def test_the_order_of_policies_does_not_matter(
    plans: list[PlacementPlan], order: list[int]
) -> None:
    """Which models are evicted, and how, is the same in every order; so is joining in two steps."""
    policies = [saying(plan) for plan in plans]
    joined = all_of(*policies)(ASKED)
    assert isinstance(joined, PlacementPlan)
    other = all_of(*(policies[at] for at in order if at < len(policies)))(ASKED)
    assert isinstance(other, PlacementPlan)
    assert other.evictions == joined.evictions
    assert all_of(all_of(*policies[:2]), all_of(*policies[2:]))(ASKED) == joined


@given(_ANSWERS)
def test_one_policy_alone_is_itself(answer: PlacementPlan | NeverFits) -> None:
    """Joined with what restricts nothing, a policy is not even wrapped."""
    policy = saying(answer)
    assert all_of(policy) is policy
    assert all_of(unrestricted, policy, unrestricted) is policy
    assert all_of()(ASKED) == NO_EVICTIONS


def test_reasons_of_what_adds_something_are_joined() -> None:
    """A reason is kept where its policy evicts more, evicts harder, or places."""

    def why(*plans: PlacementPlan) -> str:
        plan = all_of(*map(saying, plans))(ASKED)
        assert isinstance(plan, PlacementPlan)
        return plan.why

    b, c = stop(frozenset({B}), "b"), stop(frozenset({C}), "c")
    asleep = PlacementPlan(frozenset({Evict(B, SLEEP)}), why="asleep")
    placed = PlacementPlan(placement=Placement(NodeId("n")), why="placed")
    assert why(b, c) == "b; c"
    assert why(b, b) == "b"
    assert why(asleep, b) == "asleep; b"
    assert why(b, asleep) == "b"
    assert why(placed, c) == "placed; c"


@given(_ADDRESSES, _MODELS, st.lists(_MODELS, unique=True), st.frozensets(_MODELS))
def test_apart_adds_the_sharers_and_nothing_else(
    addresses: dict[ModelId, str],
    target: ModelId,
    live: list[ModelId],
    chosen: frozenset[ModelId],
) -> None:
    """The plan is the other policy's, and every other live model of the target's address."""

    def other(question: Question) -> PlacementPlan:
        return stop(chosen.intersection(question.live) - {question.target})

    policy = all_of(other, apart(addresses))
    plan = policy(Question(target, live))
    assert isinstance(plan, PlacementPlan)
    mine = addresses.get(target)
    sharers = {m for m in live if m != target and mine is not None and addresses.get(m) == mine}
    assert plan == stop((chosen.intersection(live) - {target}) | sharers)
    rest = [m for m in live if m not in plan.evicted]
    assert policy(Question(target, rest)) == NO_EVICTIONS


def test_apart_without_shared_addresses_restricts_nothing() -> None:
    """Where each address has one model, the policy is left out when it is joined."""
    assert apart({A: "p", B: "q"}) is unrestricted
