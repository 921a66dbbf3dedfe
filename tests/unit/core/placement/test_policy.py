"""Policies join: the result satisfies each of them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from modelswap.core.placement.policy import (
    NO_EVICTIONS,
    Answer,
    DeviceId,
    Evict,
    EvictionMode,
    NeverFits,
    NodeId,
    NotYet,
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
from modelswap.units import Bytes, Seconds

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


def saying(answer: Answer) -> Policy:
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


def test_a_wait_joins_the_others() -> None:
    """The target waits if one policy says so, for the first time and the least patience of those that do."""
    wait = NotYet("first", Seconds(5.0), None)
    other = NotYet("second", Seconds(2.0), Seconds(60.0))
    plan, never = PlacementPlan(frozenset({Evict(B)})), NeverFits("no")
    assert all_of(saying(plan), saying(wait))(ASKED) == wait
    both = all_of(saying(wait), saying(plan), saying(other))(ASKED)
    assert both == NotYet("first; second", Seconds(2.0), Seconds(60.0))
    assert all_of(saying(NotYet("x")), saying(plan))(ASKED) == NotYet("x")
    assert all_of(saying(wait), saying(never))(ASKED) == never


def test_what_an_earlier_policy_evicts_leaves_anyway() -> None:
    """The later ones count it as leaving."""
    seen: list[Question] = []

    def later(question: Question) -> PlacementPlan:
        seen.append(question)
        return NO_EVICTIONS

    plan = PlacementPlan(frozenset({Evict(B)}))
    assert all_of(saying(plan), later)(ASKED) == plan
    all_of(saying(NO_EVICTIONS), later)(ASKED)
    assert [question.leaving for question in seen] == [{B}, set()]


def test_a_promise_is_a_placement() -> None:
    """What is set aside is kept, though no device was chosen."""
    promised = PlacementPlan(placement=Placement(promised=((DeviceId("ram"), Bytes(7)),)))
    assert all_of(saying(NO_EVICTIONS), saying(promised), saying(stop(frozenset({B}))))(
        ASKED
    ) == PlacementPlan(frozenset({Evict(B)}), promised.placement)
