"""`${name}` in every value: declarations, order, built-in macros, ports. Pure.

Guarantees: a macro may use any other one, in any order, but not in a circle. The list (MODEL_ID, global,
model), each macro behind those that it uses, is applied from last to first, each macro once to every
value. A value that is one placeholder and nothing else takes the macro's type. Keys never change, except
those of `filters.setParamsByID`.

Where releases of llama-swap disagree, the file loads:

| file                                          | newest | v125    | here                          |
|-----------------------------------------------|--------|---------|-------------------------------|
| own macro called `PID` or `MODEL_ID`          | error  | works   | works, warning                |
| macro without a value, or a date              | error  | text    | text, warning                 |
| `${x}` unknown, in env, aliases, useModelName, groups, profiles, or under an unknown key | error | literal | literal, warning |
| `${x}` unknown, anywhere else                 | error  | error   | error                         |
| macro that uses a later one                   | error  | by luck | works                         |
| `${PORT}` in proxy, cmdStop or env but not in cmd | error | works | a port is given, warning      |
| `${PORT}` elsewhere only                      | error  | unknown key | error                     |
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, assert_never

from modelswap.config.messages.found_value import FoundValue, describe_node
from modelswap.config.tree.node import (
    Map,
    MapEntry,
    Node,
    NodeKind,
    Path,
    Scalar,
    Seq,
    is_null,
    text,
    walk,
)
from modelswap.config.tree.scalars import canonical
from modelswap.deferred import dataclass, regex

if TYPE_CHECKING:
    from collections.abc import Iterator

    from modelswap.config.messages.report import Report

PLACEHOLDER: Final = regex(r"\$\{([A-Za-z0-9_-]+)\}")
PORT, PID, MODEL_ID = "PORT", "PID", "MODEL_ID"
PORT_TOKEN: Final = "${PORT}"  # noqa: S105 - a placeholder
_NAME = regex(r"[A-Za-z0-9_-]+")
_LONGEST_NAME: Final = 63
"""Characters; llama-swap's own bound."""
LONGEST_VALUE: Final = 1 << 20
"""Characters of a value: ten macros of ten macros each would fill the memory."""
MOST_EXPANDED: Final = 64 << 20
"""Characters that all macros of a file may become together."""


@dataclass(slots=True)
class Budget:
    left: int = MOST_EXPANDED

    def is_spent(self) -> bool:
        return self.left < 0


@dataclass(frozen=True, slots=True)
class Macro:
    name: str
    token: str
    kind: NodeKind
    value: bool | float | str
    plain: str
    uses: frozenset[str] = frozenset()
    """Names of the macros in it."""


Scope = tuple[Macro, ...]
"""In order of declaration."""


def macro(name: str, kind: NodeKind, value: bool | float | str) -> Macro:  # noqa: FBT001 - a typed value
    """Make a macro; its text form is made once."""
    plain = canonical(value)
    used = frozenset(PLACEHOLDER.findall(plain)) if "${" in plain else frozenset[str]()
    return Macro(name, f"${{{name}}}", kind, value, plain, used)


def declared(node: Node | None, path: Path, report: Report) -> Scope:
    """Return the macros of one mapping in order; mistakes are reported and left out."""
    if node is None or is_null(node):
        return ()
    if not isinstance(node, Map):
        report.expected("a mapping of names to values", node, path)
        return ()
    macros = (_declared(entry, (*path, entry.key), report) for entry in node.entries)
    return tuple(one for one in macros if one is not None)


def _declared(entry: MapEntry, path: Path, report: Report) -> Macro | None:
    name, node = entry.key, entry.value
    wrong = _wrong_name(name)
    if wrong:
        report.problem(entry.mark, path, wrong, seen=FoundValue("", name))
        return None
    if not isinstance(node, Scalar):
        what = "expected text, a number, true or false"
        report.problem(entry.mark, path, what, seen=describe_node(node, path))
        return None
    if name in {PID, MODEL_ID}:
        message = f"expected a name of your own; found the built-in {name}"
        report.warn(entry.mark, path, message, "use another name")
    if node.kind in {NodeKind.NULL, NodeKind.TIME}:
        what = "expected text, a number, true or false"
        seen = describe_node(node, path)
        report.warn(entry.mark, path, what, seen=seen, then="taken as text")
        return macro(name, NodeKind.TEXT, "" if node.kind is NodeKind.NULL else node.text)
    if node.kind is NodeKind.TEXT and f"${{{name}}}" in node.text:
        what = "expected a value without the macro itself: a macro cannot use itself"
        report.problem(entry.mark, path, what, seen=describe_node(node, path))
        return None
    value = node.value
    return None if value is None else macro(name, node.kind, value)


def _wrong_name(name: str) -> str:
    if not _NAME.fullmatch(name):
        return "expected a macro's name of letters, digits, `_` and `-`"
    if len(name) > _LONGEST_NAME:
        return f"expected a macro's name of at most {_LONGEST_NAME} characters"
    return "expected a name of your own: PORT is built in" if name == PORT else ""


def overlay(base: Scope, own: Scope) -> Scope:
    """Add a model's macros to the others; the same name is replaced at its place."""
    mine = {one.name: one for one in own}
    replaced = tuple(mine.pop(one.name, one) for one in base)
    return (*replaced, *mine.values())


def in_order(scope: Scope) -> Scope:
    """Sort the macros so that each is behind those that it uses; the file's order where that holds.

    Macros that use each other in a circle keep their places; the circle is reported where one of
    them is used.
    """
    seen: set[str] = set()
    names = {one.name for one in scope}
    for one in scope:
        if one.uses & names - seen:
            return _sorted(scope)
        seen.add(one.name)
    return scope


def _sorted(scope: Scope) -> Scope:
    by_name = {one.name: one for one in scope}
    placed: dict[str, Macro] = {}
    for start in scope:
        waiting, todo = {start.name}, [(start, iter(sorted(start.uses)))]
        while todo:
            one, used = todo[-1]
            following = next((by_name[u] for u in used if u in by_name and u not in placed), None)
            if following is None:
                placed.setdefault(one.name, one)
                todo.pop()
            elif following.name not in waiting:
                waiting.add(following.name)
                todo.append((following, iter(sorted(following.uses))))
    return tuple(placed.values())


def circle(name: str, scope: Scope) -> tuple[str, ...]:
    """Return the names from a macro back to itself; empty when there is no circle."""
    by_name = {one.name: one for one in scope}
    came_from: dict[str, str] = {}
    todo = [name]
    while todo:
        here = todo.pop()
        for used in sorted(by_name[here].uses if here in by_name else ()):
            if used == name:
                way = [name, here]
                while way[-1] != name:
                    way.append(came_from[way[-1]])
                return tuple(reversed(way)) if len(way) > 1 else (name, name)
            if used not in came_from:
                came_from[used] = here
                todo.append(used)
    return ()


def expand(node: Node, scope: Scope, budget: Budget | None = None) -> Node:
    """Expand every value below `node`; unchanged scalars stay the same objects.

    `scope` is `in_order`. Nothing more is expanded once the budget is spent.
    """
    if not scope:
        return node
    return _expanded(node, scope[::-1], budget or Budget())


def _expanded(node: Node, last_first: Scope, budget: Budget) -> Node:
    match node:
        case Scalar():
            if node.kind is not NodeKind.TEXT or "${" not in node.text:
                return node
            return node if budget.is_spent() else _substituted(node, last_first, budget)
        case Seq():
            items = tuple(_expanded(item, last_first, budget) for item in node.items)
            return Seq(node.mark, items)
        case Map():
            entries = tuple(
                MapEntry(e.key, e.mark, _expanded(e.value, last_first, budget))
                for e in node.entries
            )
            return Map(node.mark, entries)
        case _ as never:
            assert_never(never)


def _substituted(node: Scalar, last_first: Scope, budget: Budget) -> Scalar:
    value = str(node.value)
    for one in last_first:
        if one.token not in value:
            continue
        if value == one.token and one.kind is not NodeKind.TEXT:
            return Scalar(node.mark, one.kind, one.value, one.plain)
        if len(value) + value.count(one.token) * len(one.plain) > LONGEST_VALUE:
            break  # what is left over is reported
        value = value.replace(one.token, one.plain)
        budget.left -= len(value)
    return text(value, node.mark)


def _expand_key(key: str, scope: Scope) -> str:
    return _substituted(text(key), scope[::-1], Budget()).text if "${" in key else key


def with_port(node: Node, port: int) -> Node:
    """Expand `${PORT}`, also in the keys of `filters.setParamsByID`."""
    scope = (macro(PORT, NodeKind.INT, port),)
    filled = expand(node, scope)
    # Two keys that differ before the port is known differ after it: there is no clash to report.
    return expand_id_keys(filled, scope, []) if isinstance(filled, Map) else filled


def id_keys(model: Map) -> Map:
    """Return a model's `filters.setParamsByID`; an empty mapping when there is none."""
    filters = model.get("filters")
    by_id = filters.get("setParamsByID") if isinstance(filters, Map) else None
    return by_id if isinstance(by_id, Map) else Map(model.mark)


def expand_id_keys(model: Map, scope: Scope, clashes: list[MapEntry]) -> Map:
    """Expand the keys of a model's `filters.setParamsByID`; two that become the same one clash."""
    by_id, filters = id_keys(model), model.get("filters")
    if not isinstance(filters, Map) or not any("${" in entry.key for entry in by_id.entries):
        return model
    entries: dict[str, MapEntry] = {}
    for entry in by_id.entries:
        name = _expand_key(entry.key, scope)
        renamed = MapEntry(name, entry.mark, entry.value)
        if entries.setdefault(name, renamed) is not renamed:
            clashes.append(renamed)
    changed = Map(by_id.mark, tuple(entries.values()))
    return model.with_value("filters", filters.with_value("setParamsByID", changed))


def uses(node: Node | None, token: str) -> bool:
    return node is not None and any(token in scalar.text for _, scalar in walk(node))


def leftovers(node: Node, path: Path) -> Iterator[tuple[Path, Scalar, str]]:
    """Yield every placeholder that no macro has filled: its place and its name."""
    for place, scalar in walk(node, path):
        if scalar.kind is NodeKind.TEXT and "${" in scalar.text:
            for match in PLACEHOLDER.finditer(scalar.text):
                yield place, scalar, match[1]
