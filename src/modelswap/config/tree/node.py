"""Nodes of the tree: mappings, lists and scalars with their places in a file.

Guarantees: a node never changes. Each step of the pipeline builds a new tree and keeps the marks, so
that a mistake that is found late still has its file and line.
Does not: read a file, or know a key.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, assert_never

from modelswap.deferred import dataclass

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True, slots=True)
class Mark:
    """A place in a file; line and column count from 1, 0 means unknown."""

    file: str
    line: int = 0
    column: int = 0


NOWHERE = Mark("")

Path = tuple[str | int, ...]
"""Keys and list positions from the root to a node."""


class NodeKind(StrEnum):
    """The type of a scalar; the text is its name in messages."""

    NULL = "nothing"
    BOOL = "true or false"
    INT = "a whole number"
    FLOAT = "a number"
    TEXT = "text"
    TIME = "a date"


ScalarValue = None | bool | int | float | str


@dataclass(frozen=True, slots=True)
class Scalar:
    mark: Mark
    kind: NodeKind
    value: ScalarValue
    text: str
    """As written in the file (after `${env.X}`)."""
    empty: bool = False
    """Null because the value is missing, not because it is `null` or `~`."""
    from_env: bool = False
    """The whole text came out of the environment: a text field takes it verbatim."""


@dataclass(frozen=True, slots=True)
class Seq:
    mark: Mark
    items: tuple[Node, ...] = ()


@dataclass(frozen=True, slots=True)
class MapEntry:
    key: str
    mark: Mark
    value: Node


@dataclass(frozen=True, slots=True)
class Map:
    mark: Mark
    entries: tuple[MapEntry, ...] = ()

    def get(self, key: str) -> Node | None:
        return next((e.value for e in self.entries if e.key == key), None)

    def with_value(self, key: str, value: Node) -> Map:
        """Return the mapping with `key` replaced at its place, or appended."""
        if self.get(key) is None:
            return Map(self.mark, (*self.entries, MapEntry(key, value.mark, value)))
        return Map(
            self.mark,
            tuple(MapEntry(key, e.mark, value) if e.key == key else e for e in self.entries),
        )

    def without(self, *keys: str) -> Map:
        return Map(self.mark, tuple(e for e in self.entries if e.key not in keys))


Node = Scalar | Seq | Map


def text(value: str, mark: Mark = NOWHERE) -> Scalar:
    return Scalar(mark, NodeKind.TEXT, value, value)


def is_null(node: Node | None) -> bool:
    return node is None or (isinstance(node, Scalar) and node.kind is NodeKind.NULL)


def kind_name(node: Node) -> str:
    """Return the name of a node's type in messages."""
    if isinstance(node, Map):
        return "a mapping"
    return "a list" if isinstance(node, Seq) else str(node.kind)


def dotted(path: Path) -> str:
    """Write `("models", "a/b", "env", 0)` as `models.a/b.env[0]`."""
    out = ""
    for part in path:
        if isinstance(part, int):
            out += f"[{part}]"
        else:
            out += f".{part}" if out else part
    return out


def walk(node: Node, path: Path = ()) -> Iterator[tuple[Path, Scalar]]:
    """Yield every scalar below `node` with its path; keys are not values."""
    match node:
        case Scalar():
            yield path, node
        case Seq():
            for index, item in enumerate(node.items):
                yield from walk(item, (*path, index))
        case Map():
            for entry in node.entries:
                yield from walk(entry.value, (*path, entry.key))
        case _ as never:
            assert_never(never)


def node_at(node: Node, path: Path) -> Node | None:
    here: Node | None = node
    for part in path:
        if isinstance(here, Map) and isinstance(part, str):
            here = here.get(part)
        elif isinstance(here, Seq) and isinstance(part, int) and part < len(here.items):
            here = here.items[part]
        else:
            return None
    return here


def locate(node: Node, path: Path) -> Mark:
    """Return the mark of `path`: of its key, or of the deepest part of it that exists."""
    mark = node.mark
    for part in path:
        if isinstance(node, Map) and isinstance(part, str):
            entry = next((e for e in node.entries if e.key == part), None)
            if entry is None:
                return mark
            node, mark = entry.value, entry.mark
        elif isinstance(node, Seq) and isinstance(part, int) and part < len(node.items):
            node = node.items[part]
            mark = node.mark
        else:
            return mark
    return mark
