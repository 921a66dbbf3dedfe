"""Parses the matrix's set expressions into trees.

    expr = and { "|" and }      and = atom { "&" atom }
    atom = NAME | "+" SET | "(" expr ")"

Guarantees: `read_sets` returns trees that are complete, without cycles and shallow enough for
recursion, or raises with every problem.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from modelswap.deferred import dataclass, regex

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

    from modelswap.core.spec import ModelId

DEPTH: Final = 64
"""Nested parentheses, and chained references: bounds the recursion, far beyond real use."""

_WORD = regex(r"\s*(\+?[\w.\-]+|[&|()]|\S)")


class MatrixError(ValueError):
    """The expressions cannot be used; `problems` has each problem with its set."""

    def __init__(self, problems: Sequence[tuple[str, str]]) -> None:
        super().__init__("; ".join(f"{name}: {text}" for name, text in problems))
        self.problems = tuple(problems)


class _SyntaxProblemError(Exception):
    """One expression is wrong; `read_sets` collects them."""


@dataclass(frozen=True, slots=True, eq=False)
class Leaf:
    model: ModelId


@dataclass(frozen=True, slots=True, eq=False)
class Either:
    parts: tuple[Node, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Both:
    parts: tuple[Node, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Ref:
    name: str


Node = Leaf | Either | Both | Ref


class _Parser:
    """Recursive descent over one expression; a word keeps its column for the message."""

    def __init__(self, text: str, names: Mapping[str, ModelId], sets: Collection[str]) -> None:
        self._words = [(m.group(1), m.start(1) + 1) for m in _WORD.finditer(text)]
        self._words.append(("", len(text) + 1))
        self._names = names
        self._sets = sets
        self._next = 0
        self._depth = 0

    def parse(self) -> Node:
        if len(self._words) == 1:
            raise _SyntaxProblemError("the expression is empty")
        node = self._either()
        word, column = self._words[self._next]
        if word:
            raise _SyntaxProblemError(f"unexpected {word!r} at column {column}")
        return node

    def _take(self, sign: str) -> bool:
        if self._words[self._next][0] != sign:
            return False
        self._next += 1
        return True

    def _either(self) -> Node:
        parts = [self._both()]
        while self._take("|"):
            parts.append(self._both())
        return parts[0] if len(parts) == 1 else Either(tuple(parts))

    def _both(self) -> Node:
        parts = [self._atom()]
        while self._take("&"):
            parts.append(self._atom())
        return parts[0] if len(parts) == 1 else Both(tuple(parts))

    def _atom(self) -> Node:
        word, column = self._words[self._next]
        if word == "(":
            return self._parenthesis(column)
        if not word:
            raise _SyntaxProblemError("a model is missing at the end")
        if word in {"|", "&", ")"}:
            raise _SyntaxProblemError(f"a model is missing before {word!r} at column {column}")
        self._next += 1
        if word[0] == "+":
            return self._reference(word[1:], column)
        model = self._names.get(word)
        if model is not None:
            return Leaf(model)
        if all(char.isalnum() or char in "_-." for char in word):
            raise _SyntaxProblemError(f"{word!r} at column {column} is neither a var nor a model")
        raise _SyntaxProblemError(
            f"{word!r} at column {column} is not allowed in a name; use a var"
        )

    def _parenthesis(self, column: int) -> Node:
        self._next += 1
        self._depth += 1
        if self._depth > DEPTH:
            raise _SyntaxProblemError(f"more than {DEPTH} parentheses within each other")
        node = self._either()
        if not self._take(")"):
            raise _SyntaxProblemError(f"'(' at column {column} is never closed")
        self._depth -= 1
        return node

    def _reference(self, name: str, column: int) -> Node:
        if not name:
            raise _SyntaxProblemError(f"'+' at column {column} needs a set directly after it")
        if name not in self._sets:
            raise _SyntaxProblemError(f"'+{name}' at column {column}: there is no such set")
        return Ref(name)


def read_sets(sets: Mapping[str, str], names: Mapping[str, ModelId]) -> dict[str, Node]:
    """Parse all sets, in the order in which their choices are met: what is referred to comes first.

    Raises:
        MatrixError: with every problem of every set.
    """
    parsed: dict[str, Node] = {}
    problems: list[tuple[str, str]] = []
    for name, text in sets.items():
        try:
            parsed[name] = _Parser(text, names, sets).parse()
        except _SyntaxProblemError as problem:
            problems.append((name, str(problem)))
    if not sets:
        problems.append(("sets", "there has to be at least one set"))
    order = _dependency_order(parsed, problems)
    problems.extend(_too_deep(parsed, order))
    if problems:
        raise MatrixError(problems)
    return {name: parsed[name] for name in order}


def names_in(node: Node) -> Iterator[Leaf | Ref]:
    """Yield the models and references of an expression, in order."""
    if isinstance(node, Leaf | Ref):
        yield node
    else:
        for part in node.parts:
            yield from names_in(part)


def _too_deep(parsed: Mapping[str, Node], order: Iterable[str]) -> Iterable[tuple[str, str]]:
    """Refuse what the search, which walks the sets recursively, could not walk."""
    depths: dict[str, int] = {}
    for name in order:
        depths[name] = _depth(parsed[name], depths)
        if depths[name] > 2 * DEPTH:
            yield name, "too many parentheses and references within each other"
            return


def _depth(node: Node, known: Mapping[str, int]) -> int:
    if isinstance(node, Leaf):
        return 1
    if isinstance(node, Ref):
        return 1 + known.get(node.name, 0)
    return 1 + max(_depth(part, known) for part in node.parts)


def _dependency_order(parsed: Mapping[str, Node], problems: list[tuple[str, str]]) -> list[str]:
    """Order by name, but what is referred to first; cycles become problems."""
    order: dict[str, None] = {}
    for start in sorted(parsed):
        path: dict[str, None] = {}
        todo = [(start, False)]
        while todo:
            name, is_done = todo.pop()
            if is_done:
                del path[name]
                order[name] = None
            elif name in path:
                cycle = [*list(path)[list(path).index(name) :], name]
                problems.append((start, "the sets refer to each other: " + " -> ".join(cycle)))
                return list(order)
            elif name not in order and name in parsed:
                path[name] = None
                todo.append((name, True))
                used = [one.name for one in names_in(parsed[name]) if isinstance(one, Ref)]
                todo.extend((one, False) for one in sorted(used, reverse=True))
    return list(order)
