"""Groups, matrix, priorities: which models run together."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from modelswap.config.plan import Group, Groups, Matrix

if TYPE_CHECKING:
    from support.config import LoadText

MODELS = (
    "models: {a: {cmd: 'x ${PORT}', aliases: [al]}, b: {cmd: 'x ${PORT}'}, c: {cmd: 'x ${PORT}'}}\n"
)


def _groups(loaded: LoadText, text: str) -> dict[str, Group]:
    found = loaded(MODELS + text)
    assert found.plan is not None, found.lines()
    assert isinstance(found.plan.routing, Groups)
    return {group.id: group for group in found.plan.routing.groups}


def test_models_without_a_group_are_in_the_default_one(loaded: LoadText) -> None:
    """No groups: one group of all, one model at a time."""
    assert _groups(loaded, "") == {"(default)": Group(id="(default)", members=("a", "b", "c"))}  # type: ignore[arg-type] # plain texts


def test_group_flags_aliases_and_unknown_members(loaded: LoadText) -> None:
    """An alias is its model; an unknown member is left out; a null group is empty."""
    text = "groups: {g: {swap: no, exclusive: off, persistent: yes, members: [al, zz]}, n: , e: {}}"
    found = _groups(loaded, text)
    assert (found["g"].members, found["g"].swap) == (("a",), False)
    assert (found["g"].exclusive, found["g"].persistent) == (False, True)
    assert (found["n"].members, found["n"].swap) == ((), False)
    assert found["e"].swap
    assert found["(default)"].members == ("b", "c")


def test_own_default_group_does_not_swallow_models(loaded: LoadText) -> None:
    """A group of the user's called (default) is left out; its members stay reachable."""
    assert _groups(loaded, "groups: {(default): {members: [a]}}")["(default)"].members == (
        "a",
        "b",
        "c",
    )


STYLES = [
    ("routing: {router: {settings: {groups: {g: {members: [a]}}}}}", Groups),
    ("routing: {router: {use: group, settings: {matrix: {sets: {s: nonsense}}}}}", Groups),
    ("routing: {router: {settings: {matrix: {sets: {s: a}}}}}", Groups),
    ("routing: {router: {use: matrix, settings: {matrix: {sets: {s: a}}}}}", Matrix),
    ("matrix: {sets: {s: a & b}}", Matrix),
    ("groups: {}\nmatrix: {sets: {s: a}}", Matrix),
    ("groups: {g: {members: [a]}}\nrouting: {scheduler: {use: fifo}}", Groups),
    ("groups:\nmatrix:\nrouting:", Groups),
    ("groups: {g: {members: [a]}}\nrouting: {router: {use: , settings: }}", Groups),
]


@pytest.mark.parametrize(("text", "style"), STYLES)
def test_style_of_routing(loaded: LoadText, text: str, style: type) -> None:
    """The file chooses groups or a matrix as llama-swap reads it."""
    found = loaded(MODELS + text)
    assert found.plan is not None, found.lines()
    assert isinstance(found.plan.routing, style)


def test_matrix_in_full(loaded: LoadText) -> None:
    """Vars lead to models, aliases too; a cost by the model's own name wins over its var's."""
    text = "matrix: {vars: {v: al, w: b}, evict_costs: {a: 3, v: 9, w: 4.7, c: }, sets: {s: v & w}}"
    found = loaded(MODELS + text)
    assert found.plan is not None, found.lines()
    expected = Matrix(vars={"v": "a", "w": "b"}, sets={"s": "v & w"}, evict_costs={"a": 3, "b": 4})  # type: ignore[dict-item] # plain texts
    assert found.plan.routing == expected


def test_cost_of_a_var_counts_for_its_model(loaded: LoadText) -> None:
    """The model's own cost wins wherever it stands."""
    found = loaded(MODELS + "matrix: {vars: {v: a}, evict_costs: {v: 9, a: 3}, sets: {s: v}}")
    assert found.plan is not None
    assert isinstance(found.plan.routing, Matrix)
    assert found.plan.routing.evict_costs == {"a": 3}


def test_priorities(loaded: LoadText) -> None:
    """A priority by alias counts for its model; the model's own name wins."""
    text = "routing: {scheduler: {settings: {fifo: {priority: {b: -2, a: 5, al: 7, c: }}}}}"
    found = loaded(MODELS + text)
    assert found.plan is not None
    assert [m.spec.priority for m in found.plan.models.values()] == [5, -2, 0]


SPILL = "selectors: {s: {strategy: spillover, targets: [a, b]}, one: {strategy: spillover, targets: [c]}}\n"

TOGETHER = [
    "groups: {g: {swap: no, members: [a, b]}}",
    "matrix: {sets: {s: a & b & c}}",
]


@pytest.mark.parametrize("text", TOGETHER)
def test_spillover_targets_may_run_together(loaded: LoadText, text: str) -> None:
    """Targets that may run together are fine."""
    assert loaded(MODELS + SPILL + text).problems == ()


BAD = [
    (SPILL + "groups: {g: {members: [a, b]}}", "cannot run together"),
    (SPILL + "groups: {g: {swap: no, members: [a]}}", "cannot run together"),
    (SPILL + "matrix: {sets: {s: a | b}}", "cannot run together"),
    ("groups: {g: {members: [a, a]}}", "expected a model in one group, once; found 'a' twice"),
    ("groups: {g: {members: [a, al]}}", "found 'al' twice"),
    ("groups: {g: {members: [a]}, h: {members: [a]}}", "found 'a' in group 'g', too"),
    ("groups: {g: {members: [a]}}\nmatrix: {sets: {s: a}}", "exclude each other"),
    (
        "groups: {g: {members: [a]}}\nrouting: {router: {use: group}}",
        "both groups and routing.router",
    ),
    ("matrix: {sets: {s: a}}\nrouting: {router: {settings: {groups: {}}}}", "both matrix and"),
    ("groups: [a]", "expected a mapping"),
    ("routing: {router: {use: matrx}}", "did you mean 'matrix'?"),
    (
        "routing: {router: {use: matrix}}",
        "expected routing.router.settings.matrix beside `use: matrix`; found nothing",
    ),
    ("matrix: {}", "at least one set"),
    ("matrix: {sets: [a]}", "expected a mapping"),
    ("matrix: {sets: {s: }}", "matrix.sets.s"),
    ("matrix: {sets: {s: 'a &&'}}", "matrix.sets.s"),
    ("matrix: {sets: {s: 'zz'}}", "matrix.sets.s"),
    ("matrix: {vars: {a_b: a}, sets: {s: a}}", "letters, digits, dots"),
    ("matrix: {vars: {v: zz}, sets: {s: a}}", "expected a model; found 'zz'"),
    ("matrix: {vars: {v: }, sets: {s: a}}", "expected a model; found null"),
    ("matrix: {evict_costs: {a: 0}, sets: {s: a}}", "at least 1"),
    ("matrix: {evict_costs: {zz: 2}, sets: {s: a}}", "expected a var or a model; found 'zz'"),
    ("routing: {scheduler: {use: lifo}}", "expected fifo"),
    (
        "routing: {scheduler: {settings: {fifo: {priority: {zz: 2}}}}}",
        "expected a model; found 'zz'",
    ),
]


@pytest.mark.parametrize(("text", "message"), BAD)
def test_routing_that_cannot_be(loaded: LoadText, text: str, message: str) -> None:
    """A contradiction in the routing is a problem."""
    found = loaded(MODELS + text)
    assert found.plan is None
    assert message in "\n".join(map(str, found.problems))


@pytest.mark.parametrize("matrix", ["{}", "{sets: }", "{sets: {}}"])
def test_a_matrix_without_sets_is_one_mistake(loaded: LoadText, matrix: str) -> None:
    """It is reported once, under the right key."""
    (problem,) = loaded(f"{MODELS}matrix: {matrix}").problems
    assert problem.path[-2:] == ("matrix", "sets")


def test_matrix_that_may_be_too_much_is_a_warning(loaded: LoadText) -> None:
    """A matrix whose cheapest set cannot always be found in time has a warning at load."""
    names = [f"m{n}" for n in range(40)]
    models = "models: {" + ", ".join(f"{n}: {{cmd: x, proxy: http://h:1}}" for n in names) + "}\n"
    pairs = " & ".join(f"({a} | {b})" for a, b in zip(names[::2], names[1::2], strict=True))
    found = loaded(models + f"matrix: {{sets: {{s: '{pairs}'}}}}")
    assert found.plan is not None
    assert [w.key for w in found.warnings] == ["matrix.sets"]
