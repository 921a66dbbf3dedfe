"""Set expressions, and the cheapest choice among them."""

from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelswap.core.placement import matrix as module
from modelswap.core.placement.expressions import Both, Either, Leaf, MatrixError, Node, Ref
from modelswap.core.placement.matrix import (
    Choice,
    Compiled,
    choose,
    compile_matrix,
    legacy_profiles_policy,
    matrix_policy,
    warnings,
)
from modelswap.core.placement.policy import NO_EVICTIONS, PlacementPlan, Question, stop
from modelswap.core.spec import ModelId

MODELS = [ModelId(name) for name in "abcdef"]


def compiled(sets: dict[str, str], costs: dict[str, int] | None = None) -> Compiled:
    return compile_matrix(
        models=MODELS,
        variables={"v1": ModelId("a"), "b": ModelId("c")},
        sets=sets,
        costs={ModelId(name): cost for name, cost in (costs or {}).items()},
    )


def evicted(
    sets: dict[str, str], target: str, live: str, costs: dict[str, int] | None = None
) -> str:
    choice = choose(compiled(sets, costs), ModelId(target), [ModelId(m) for m in live])
    return "".join(sorted(choice.evict))


@pytest.mark.parametrize(
    ("sets", "target", "live", "expected"),
    [
        ({"s": "a & d"}, "a", "d", ""),
        ({"s": "a & d"}, "a", "de", "e"),
        ({"s": "a|d"}, "a", "d", "d"),
        ({"s": "a & d | a & e"}, "a", "de", "d"),
        ({"s": "a & d | a & e"}, "a", "ed", "e"),
        ({"s": "a & (d | e) & f"}, "a", "ef", ""),
        ({"s": "v1&b"}, "a", "c", ""),
        ({"s": "a&d"}, "e", "ad", "ad"),
        ({"s": "a&d"}, "a", "ae", ""),
        ({"s": "a&d"}, "a", "", ""),
        ({"y": "+z & f", "z": "a|d"}, "f", "ad", "a"),
        ({"y": "+z & f", "z": "a|d"}, "f", "da", "d"),
        ({"a set": "a&d", "x": "a&e"}, "a", "de", "d"),
        ({"a set": "a&d", "x": "a&e"}, "a", "ed", "e"),
        ({"x": "a&e", "a set": "a&d"}, "a", "de", "d"),
        ({"x": "a&e&f", "y": "a&d&c"}, "a", "cefd", "ef"),
        ({"s": "a", "t": "d & +s"}, "a", "d", ""),
    ],
)
def test_what_leaves(sets: dict[str, str], target: str, live: str, expected: str) -> None:
    """The cheapest set stays; among equals, what was used last (`live` ends with it)."""
    assert evicted(sets, target, live) == expected


def test_costs() -> None:
    """What is dear stays."""
    sets = {"s": "a&d | a&e"}
    assert evicted(sets, "a", "de", {"e": 5}) == "d"
    assert choose(compiled(sets, {"e": 5}), ModelId("a"), [ModelId("d"), ModelId("e")]) == Choice(
        "s", frozenset({ModelId("d")}), 1
    )


def test_a_reference_is_met_before_what_refers_to_it() -> None:
    """`z` comes before `a`, which refers to it."""
    assert list(compiled({"a": "+z&d", "b": "e", "z": "f"}).sets) == ["z", "a", "b"]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "empty"),
        ("  ", "empty"),
        ("a &", "missing at the end"),
        ("a & | d", "missing before '|' at column 5"),
        ("a || d", "missing before '|'"),
        ("(a", "'(' at column 1 is never closed"),
        ("a)", "unexpected ')'"),
        ("a d", "unexpected 'd' at column 3"),
        ("+ other", "directly after"),
        ("+nope", "no such set"),
        ("nope", "neither a var nor a model"),
        ("x/y", "neither a var nor a model"),
        ("#a", "not allowed"),
        ("(" * 65 + "a" + ")" * 65, "parentheses"),
    ],
)
def test_mistakes_are_named(text: str, problem: str) -> None:
    """Each mistake says what and where."""
    with pytest.raises(MatrixError, match="s: ") as caught:
        compiled({"s": text, "other": "a"})
    [(name, said)] = caught.value.problems
    assert name == "s"
    assert problem in said


def test_all_mistakes_at_once() -> None:
    """Every wrong set is reported, and that there are none at all."""
    with pytest.raises(MatrixError) as caught:
        compiled({"s": "", "t": "nope", "u": "a"})
    assert [name for name, _ in caught.value.problems] == ["s", "t"]
    with pytest.raises(MatrixError, match="at least one set"):
        compiled({})


@pytest.mark.parametrize("sets", [{"s": "+s"}, {"s": "a&+t", "t": "+u|d", "u": "+s"}])
def test_cycles(sets: dict[str, str]) -> None:
    """Sets that refer to each other in a circle are a mistake."""
    with pytest.raises(MatrixError, match="refer to each other: s -> "):
        compiled(sets)


def test_endless_chains_are_refused() -> None:
    """What could not be walked recursively is a mistake, not a crash."""
    chain = {"s0": "a"} | {f"s{i}": f"+s{i - 1}" for i in range(1, 2000)}
    with pytest.raises(MatrixError, match="within each other"):
        compiled(chain)


def expand(node: Node, sets: dict[str, Node]) -> list[frozenset[ModelId]]:
    """Write out every choice: the meaning, without any cleverness."""
    match node:
        case Leaf(model):
            return [frozenset({model})]
        case Ref(name):
            return expand(sets[name], sets)
        case Either(parts):
            return [choice for part in parts for choice in expand(part, sets)]
        case Both(parts):
            return [
                frozenset[ModelId]().union(*choices)
                for choices in product(*(expand(part, sets) for part in parts))
            ]


expressions = st.recursive(
    st.sampled_from(["a", "d", "e", "f", "b", "v1"]),
    lambda inner: st.tuples(
        st.sampled_from(["&", "|"]), st.lists(inner, min_size=2, max_size=3)
    ).map(lambda made: "(" + made[0].join(made[1]) + ")"),
    max_leaves=9,
)


def cheapest(made: Compiled, target: ModelId, live: frozenset[ModelId]) -> int:
    others = live - {target}
    costs = [
        sum(made.costs.get(m, 1) for m in others - choice)
        for node in made.sets.values()
        for choice in expand(node, dict(made.sets))
        if target in choice
    ]
    return min(costs, default=sum(made.costs.get(m, 1) for m in others))


facts = {
    "texts": st.tuples(expressions, expressions),
    "target": st.sampled_from(MODELS),
    "live": st.frozensets(st.sampled_from(MODELS)),
    "costs": st.dictionaries(st.sampled_from("acdef"), st.integers(1, 9)),
}


@given(**facts)
def test_the_cheapest_choice_is_found(
    texts: tuple[str, str], target: ModelId, live: frozenset[ModelId], costs: dict[str, int]
) -> None:
    """What the search finds costs what the cheapest of all written-out choices costs."""
    made = compiled({"s": texts[0], "t": texts[1] + "|+s"}, costs)
    choice = choose(made, target, live - {target})
    assert choice.cost == cheapest(made, target, live)
    assert choice.cost == sum(made.costs.get(m, 1) for m in choice.evict)
    assert choice.evict <= live


@given(
    texts=facts["texts"],
    target=facts["target"],
    order=st.permutations(MODELS),
    count=st.integers(0, 5),
    costs=st.dictionaries(st.sampled_from("acdef"), st.integers(1, 2)),
)
def test_ties_evict_the_least_recently_used(
    texts: tuple[str, str], target: ModelId, order: list[ModelId], count: int, costs: dict[str, int]
) -> None:
    """Of all choices that cost the least, none has victims that were all used longer ago; also by the policy."""
    made = compiled({"s": texts[0], "t": texts[1] + "|+s"}, costs)
    live = [model for model in order if model != target][:count]
    choice = choose(made, target, live)
    recency = {model: at for at, model in enumerate(live)}

    def victims(evict: frozenset[ModelId]) -> list[int]:
        return sorted((recency[m] for m in evict), reverse=True)

    for node in made.sets.values():
        for kept in expand(node, dict(made.sets)):
            evict = frozenset(live) - kept
            if target in kept and sum(made.costs.get(m, 1) for m in evict) == choice.cost:
                assert victims(choice.evict) <= victims(evict)
    policy = matrix_policy(made)
    policy(Question(target, live[::-1]))
    assert policy(Question(target, live)) == stop(choice.evict)


def test_ties_of_the_greedy_walk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the bound, each side of `&` keeps what was used last among what costs the same."""
    made = compiled({"s": "(a|d|b)&(e|f)"})
    monkeypatch.setattr(module, "WORK", 0)
    for live, expected in (("cdef", "cde"), ("cdfe", "cdf")):
        choice = choose(made, ModelId("a"), [ModelId(m) for m in live])
        assert "".join(sorted(choice.evict)) == expected


def test_more_ties_than_are_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the bound of ties the answer is one of the cheapest still."""
    monkeypatch.setattr(module, "TIES", 1)
    made = compiled({"s": "a&(d|e|f)"})
    assert choose(made, ModelId("a"), [ModelId(m) for m in "def"]).cost == 2


@given(**facts)
def test_the_greedy_choice_is_allowed(
    texts: tuple[str, str], target: ModelId, live: frozenset[ModelId], costs: dict[str, int]
) -> None:
    """Without any work allowed the answer is still one that a set permits."""
    made = compiled({"s": texts[0], "t": texts[1] + "|+s"}, costs)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "WORK", 0)
        choice = choose(made, target, live - {target})
    kept = (live - choice.evict) | {target}
    allowed = [c for node in made.sets.values() for c in expand(node, dict(made.sets))]
    assert kept == {target} or any(kept <= c for c in allowed)
    assert choice.cost >= cheapest(made, target, live)


def test_the_greedy_choice_is_exact_without_shared_models(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the sides of `&` share nothing, each chooses best for itself."""
    made = compiled({"s": "(a|d|b)&(e|f)"}, {"e": 1, "f": 7, "d": 3, "c": 2})
    live = [ModelId(m) for m in "cdef"]
    exact = choose(made, ModelId("a"), live)
    monkeypatch.setattr(module, "STATES", 0)
    monkeypatch.setattr(module, "WORK", 1)
    assert choose(made, ModelId("a"), live) == Choice(
        exact.set, exact.evict, exact.cost, is_exact=False
    )


def big_matrix() -> Compiled:
    """Every side shares models with its neighbours, and no choice contains another."""
    models = [ModelId(f"m{i}") for i in range(40)]
    text = "&".join(
        f"(m{i}&m{(i * 7 + 3) % 40}|m{(i * 11 + 5) % 40}|m{(i * 13 + 1) % 40})" for i in range(40)
    )
    return compile_matrix(
        models=models, variables={}, sets={"big": text, "small": "m0&m1"}, costs={}
    )


def test_a_search_without_end_is_cut_and_announced() -> None:
    """A configuration that could take for ever gets a bounded answer and a warning at load."""
    made = big_matrix()
    choice = choose(made, ModelId("m0"), [ModelId(f"m{i}") for i in range(1, 40)])
    assert not choice.is_exact
    assert [text.split("'")[1] for text in warnings(made)] == ["big"]
    assert warnings(compiled({"s": "a&d|e"})) == []


def test_too_many_states_are_too_much(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not only steps are counted, but what is kept."""
    monkeypatch.setattr(module, "STATES", 1)
    assert len(warnings(compiled({"s": "a|d"}))) == 1


def test_the_policies() -> None:
    """A policy evicts what the choice says; what already runs needs nothing."""
    policy = matrix_policy(compiled({"s": "a&d"}))
    beside = Question(ModelId("a"), [ModelId("d"), ModelId("e")])
    assert policy(beside) == stop(frozenset({ModelId("e")}))
    assert policy(Question(ModelId("a"), [ModelId("a"), ModelId("e")])) == NO_EVICTIONS


def test_the_policy_says_why() -> None:
    """An eviction names the set, its expression and what it costs; no eviction says nothing."""
    policy = matrix_policy(compiled({"s": "a  & d", "t": "e"}, {"e": 3}))
    reasons = [
        policy(Question(ModelId(target), [ModelId(m) for m in live]))
        for target, live in (("a", "de"), ("f", "de"), ("a", "d"))
    ]
    assert [r.why for r in reasons if isinstance(r, PlacementPlan)] == [
        'set "s": a & d, cost 3',
        "in no set, cost 4",
        "",
    ]
    old = legacy_profiles_policy({"x": [ModelId("a"), ModelId("d")]})
    answer = old(Question(ModelId("a"), [ModelId("e")]))
    assert isinstance(answer, PlacementPlan)
    assert answer.why == 'set "x": a & d, cost 1'
    long = matrix_policy(compiled({"s": "|".join(["a"] * 200)}))(
        Question(ModelId("a"), [ModelId("e")])
    )
    assert isinstance(long, PlacementPlan)
    assert len(long.why) < 250


def test_legacy_profiles_run_their_members_together() -> None:
    """Members of one list share the machine; a model in no list runs alone."""
    policy = legacy_profiles_policy({"x": [ModelId("a"), ModelId("d")], "empty": []})
    assert policy(Question(ModelId("a"), [ModelId("d")])) == NO_EVICTIONS
    others = [ModelId("a"), ModelId("d")]
    assert policy(Question(ModelId("e"), others)) == stop(frozenset(others))
