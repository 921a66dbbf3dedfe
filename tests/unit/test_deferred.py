"""A class has what `dataclasses.dataclass` would have given it, once it is used."""

from __future__ import annotations

import dataclasses
import re
from dataclasses import field
from typing import Any

import pytest

from modelswap.deferred import dataclass, regex

FORMS: list[dict[str, Any]] = [
    {},
    {"slots": True},
    {"frozen": True},
    {"frozen": True, "slots": True},
    {"frozen": True, "slots": True, "kw_only": True},
    {"slots": True, "eq": False},
    {"frozen": True, "repr": False, "eq": False},
    {"slots": True, "weakref_slot": True},
]


def _declared() -> type[Any]:
    class Point:
        x: int
        y: int = 2
        names: list[str] = field(default_factory=list)
        size: int = field(default=0, init=False, compare=False)

        def total(self) -> int:
            return self.x + self.y

    return Point


@pytest.mark.parametrize("form", FORMS, ids=str)
def test_is_what_the_standard_library_makes(form: dict[str, Any]) -> None:
    ours: Any = dataclass(**form)(_declared())
    theirs: Any = dataclasses.dataclass(**form)(_declared())
    one, same, other = ours(x=1), ours(x=1), ours(x=1, y=3)
    left_out = {"__doc__", "__getstate__", "__setstate__"}
    assert vars(theirs).keys() - left_out == vars(ours).keys() - left_out
    assert ("Point(x=1, y=2" in repr(one)) == form.get("repr", True)
    assert (one == same, one == other) == (form.get("eq", True), False)
    assert (ours.__hash__ is None) == (theirs.__hash__ is None)
    assert ours.__match_args__ == theirs.__match_args__
    assert dataclasses.asdict(other) == dataclasses.asdict(theirs(x=1, y=3))
    assert dataclasses.replace(one, x=5).total() == 7
    assert (one.names, one.size) == ([], 0)
    assert one.names is not same.names
    assert hasattr(one, "__dict__") != form.get("slots", False)


@pytest.mark.parametrize("slots", [True, False])
def test_a_frozen_one_is_frozen(slots: bool) -> None:  # noqa: FBT001 - a parameter
    ours: Any = dataclass(frozen=True, slots=slots)(_declared())
    with pytest.raises(dataclasses.FrozenInstanceError):
        ours(x=1).x = 2


def test_fields_are_known_before_the_first_instance() -> None:
    ours: Any = dataclass(frozen=True, slots=True)(_declared())
    assert [one.name for one in dataclasses.fields(ours)] == ["x", "y", "names", "size"]


@pytest.mark.parametrize("slots", [True, False])
def test_a_class_inherits_fields(slots: bool) -> None:  # noqa: FBT001 - a parameter
    class Declared:
        a: int
        b: int = 2

    base: Any = dataclass(frozen=True, slots=slots)(Declared)

    class DeclaredChild(base):  # type: ignore[misc]  # a class that the decorator returned
        c: int = 3

    child: Any = dataclass(frozen=True, slots=slots)(DeclaredChild)

    class Plain(child):  # type: ignore[misc]  # likewise
        def __init__(self) -> None:
            super().__init__(1)

    assert Plain().c == 3
    assert dataclasses.astuple(child(1)) == (1, 2, 3)
    assert base(1) == base(1, 2)
    assert base(1) != (1, 2)
    assert {base(1): "found"}[base(1, 2)] == "found"
    assert base(1) != child(1)


MANY = 6
"""Instances: the first are made by an `__init__` that is not compiled, the last by one that is."""
CALLS: list[tuple[tuple[object, ...], dict[str, object]]] = [
    ((1,), {}),
    ((1, 2, ["a"]), {}),
    ((), {"names": [], "x": 1}),
    ((1,), {"y": 5}),
    ((), {}),
    ((1, 2, [], 4), {}),
    ((1,), {"x": 1}),
    ((1,), {"size": 1}),
    ((1,), {"other": 1}),
]


def _outcome(made: Any, args: tuple[object, ...], named: dict[str, object]) -> object:
    try:
        return dataclasses.astuple(made(*args, **named))
    except TypeError as error:
        return str(error).partition(".")[2]  # behind where the class is declared


@pytest.mark.parametrize("form", FORMS, ids=str)
@pytest.mark.parametrize(("args", "named"), CALLS)
def test_each_call_has_the_result_of_the_standard_library(
    form: dict[str, Any], args: tuple[object, ...], named: dict[str, object]
) -> None:
    """Of the first instance and of the last, with right arguments and wrong ones."""
    theirs = _outcome(dataclasses.dataclass(**form)(_declared()), args, named)
    ours: Any = dataclass(**form)(_declared())
    assert [_outcome(ours, args, named) for _ in range(MANY)] == [theirs] * MANY


@pytest.mark.parametrize("frozen", [True, False])
def test_what_follows_an_instance_is_called_each_time(frozen: bool) -> None:  # noqa: FBT001 - a parameter
    """`__post_init__` sees all fields; one that only a subclass has is not called, as in the standard library."""
    seen = list[tuple[int, list[int]]]()

    class Declared:
        x: int
        some: list[int] = field(default_factory=list)

        def __post_init__(self) -> None:
            seen.append((self.x, self.some))

    ours: Any = dataclass(frozen=frozen, slots=True)(Declared)
    for number in range(MANY):
        ours(number)
    assert seen == [(number, []) for number in range(MANY)]


def test_a_class_without_options_is_taken_as_it_is() -> None:
    @dataclass
    class Pair:
        a: int

    assert Pair(1) == Pair(1)


def test_a_regular_expression_is_the_compiled_one() -> None:
    ours = regex(rb"(a)|b", re.IGNORECASE)
    assert ours.fullmatch(b"A") is not None
    assert ours.sub(b"-", b"abc") == b"--c"
    assert ours.pattern == rb"(a)|b"
    assert ours.fullmatch(b"c") is None


def test_a_wrong_regular_expression_is_refused_at_its_use() -> None:
    with pytest.raises(re.error):
        regex("(").search("")


def test_an_option_that_is_not_supported_is_an_error() -> None:
    """Left out in silence, it would be missed where the class is used."""
    with pytest.raises(TypeError, match="order"):
        dataclass(order=True)
