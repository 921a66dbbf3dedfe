"""Regular expressions are matched in linear time, so that a client's path cannot stop the server. Pure.

Python's own engine backtracks, and takes exponential time over `(a+)+$`. This one follows all
alternatives at once, as RE2 does.

Guarantees: time is proportional to the text's length times the expression's. A construct that is not
known here is refused.
Does not: tell where the expression matches, only whether it does.
"""

from __future__ import annotations

import re
from dataclasses import field
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final, Literal

from modelswap.deferred import dataclass

if TYPE_CHECKING:
    from collections.abc import Callable

op: Any = import_module("re._constants")
_parser: Any = import_module("re._parser")  # neither has a public name, or types
MOST_STATES: Final = 1200
"""States of one expression: each costs time at every character of a path."""
_INLINE: Final = re.IGNORECASE | re.MULTILINE | re.DOTALL | re.ASCII


class UnknownError(ValueError):
    """A construct that is not known here."""


@dataclass(slots=True, eq=False)
class _State:
    """Consumes one character (`test`), or none (`place` tells where that is possible)."""

    test: Callable[[str], bool] | None = None
    place: Callable[[str, int], bool] | None = None
    nexts: list[_State] = field(default_factory=list["_State"])


@dataclass(frozen=True, slots=True)
class Linear:
    pattern: str
    _start: _State = field(compare=False, repr=False)
    _end: _State = field(compare=False, repr=False)

    def search(self, string: str) -> Literal[True] | None:
        text = string
        waiting: list[_State] = []
        for at in range(len(text) + 1):
            reached = _closure([self._start, *waiting], text, at)
            if self._end in reached:
                return True
            if at < len(text):
                char = text[at]
                waiting = [
                    after
                    for state in reached
                    if state.test is not None and state.test(char)
                    for after in state.nexts
                ]
        return None


def _closure(states: list[_State], text: str, at: int) -> set[_State]:
    """Return every state that can be reached here without a character."""
    reached: set[_State] = set()
    todo = states
    while todo:
        state = todo.pop()
        if state in reached:
            continue
        reached.add(state)
        if state.test is None and (state.place is None or state.place(text, at)):
            todo += state.nexts
    return reached


def repeats(source: str) -> bool:
    """Tell whether an expression of Python holds a repetition, and so may need more than linear time."""
    return any(code in {op.MAX_REPEAT, op.MIN_REPEAT} for code in _codes(_parser.parse(source)))


def _codes(tree: Any) -> list[Any]:
    found: list[Any] = []
    for code, value in tree:
        found.append(code)
        if code in {op.MAX_REPEAT, op.MIN_REPEAT}:
            found += _codes(value[2])
        elif code is op.SUBPATTERN:
            found += _codes(value[3])
        elif code is op.BRANCH:
            found += [inner for branch in value[1] for inner in _codes(branch)]
    return found


def compile_linear(source: str) -> Linear:
    """Compile an expression of Python.

    Raises:
        UnknownError: it holds what is not known here, or is too big.
    """
    tree = _parser.parse(source)
    maker = _Maker()
    end = _State()
    return Linear(source, maker.sequence(tree, tree.state.flags, end), end)


class _Maker:
    """Builds the states from the end to the beginning."""

    def __init__(self) -> None:
        self._count = 0

    def _new(self, **facts: Any) -> _State:
        self._count += 1
        if self._count > MOST_STATES:
            raise UnknownError("too big")
        return _State(**facts)

    def sequence(self, tree: Any, flags: int, after: _State) -> _State:
        for code, value in reversed(list(tree)):
            after = self._one(code, value, flags, after)
        return after

    def _one(self, code: Any, value: Any, flags: int, after: _State) -> _State:
        if code in {op.MAX_REPEAT, op.MIN_REPEAT}:
            least, most, inner = value
            return self._repeat((least, most), inner, flags, after)
        if code is op.BRANCH:
            return self._new(nexts=[self.sequence(b, flags, after) for b in value[1]])
        if code is op.SUBPATTERN:
            _, add, remove, inner = value
            return self.sequence(inner, (flags | add) & ~remove, after)
        if code is op.AT:
            return self._new(place=_place(value, flags), nexts=[after])
        return self._new(test=_test(code, value, flags), nexts=[after])

    def _repeat(self, times: tuple[int, Any], inner: Any, flags: int, after: _State) -> _State:
        least, most = times
        if most is op.MAXREPEAT:
            loop = self._new()
            loop.nexts = [self.sequence(inner, flags, loop), after]
            state = loop
        else:
            state = after
            for _ in range(int(most) - least):
                state = self._new(nexts=[self.sequence(inner, flags, state), after])
        for _ in range(least):
            state = self.sequence(inner, flags, state)
        return state


def _place(where: Any, flags: int) -> Callable[[str, int], bool]:
    names = {
        op.AT_BEGINNING: r"^", op.AT_BEGINNING_STRING: r"\A", op.AT_END: r"$",
        op.AT_END_STRING: r"\Z", op.AT_BOUNDARY: r"\b", op.AT_NON_BOUNDARY: r"\B",
    }  # fmt: skip
    if where not in names:
        raise UnknownError(str(where))
    pattern = re.compile(names[where], flags & _INLINE)
    return lambda text, at: pattern.match(text, at) is not None


def _test(code: Any, value: Any, flags: int) -> Callable[[str], bool]:
    """Make the test of one character; Python's engine does it."""
    match code:
        case op.LITERAL:
            text = re.escape(chr(value))
        case op.NOT_LITERAL:
            text = f"[^{_escaped(value)}]"
        case op.ANY:
            text = "."
        case op.IN:
            text = f"[{''.join(_member(*item) for item in value)}]"
        case _:
            raise UnknownError(str(code))
    pattern = re.compile(text, flags & _INLINE)
    return lambda char: pattern.fullmatch(char) is not None


_CATEGORIES: Final = {
    op.CATEGORY_DIGIT: r"\d", op.CATEGORY_NOT_DIGIT: r"\D", op.CATEGORY_SPACE: r"\s",
    op.CATEGORY_NOT_SPACE: r"\S", op.CATEGORY_WORD: r"\w", op.CATEGORY_NOT_WORD: r"\W",
}  # fmt: skip


def _member(code: Any, value: Any) -> str:
    if code is op.NEGATE:
        return "^"
    if code is op.LITERAL:
        return _escaped(value)
    if code is op.RANGE:
        return f"{_escaped(value[0])}-{_escaped(value[1])}"
    if code is op.CATEGORY and value in _CATEGORIES:
        return _CATEGORIES[value]
    raise UnknownError(str(code))


def _escaped(code: int) -> str:
    return f"\\U{code:08x}"
