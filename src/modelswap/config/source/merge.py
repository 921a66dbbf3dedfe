"""The rules by which the trees of several files become one. Pure.

Guarantees: nothing is overridden silently. Mappings of named things are united, lists are joined, and
two different values for one key are a mistake.
"""

from __future__ import annotations

from typing import Final

from modelswap.config.messages.found_value import describe_node
from modelswap.config.messages.report import Problem
from modelswap.config.tree.node import Map, MapEntry, Node, Path, Scalar, Seq, kind_name

IDENTITY: Final[frozenset[Path]] = frozenset(
    {
        ("models",),
        ("groups",),
        ("profiles",),
        ("selectors",),
        ("peers",),
        ("matrix",),
        ("routing", "router", "settings", "groups"),
        ("routing", "router", "settings", "matrix"),
    }
)
"""Mappings whose entries are defined in exactly one file each."""


def merge(base: Map, added: Map) -> tuple[Map, list[Problem]]:
    problems: list[Problem] = []
    return _maps(base, added, (), problems), problems


def _maps(base: Map, added: Map, path: Path, problems: list[Problem]) -> Map:
    entries = {entry.key: entry for entry in base.entries}
    for entry in added.entries:
        known = entries.get(entry.key)
        if known is None:
            entries[entry.key] = entry
        else:
            value = _values(known, entry, (*path, entry.key), problems)
            entries[entry.key] = MapEntry(entry.key, known.mark, value)
    return Map(base.mark, tuple(entries.values()))


def _values(known: MapEntry, entry: MapEntry, path: Path, problems: list[Problem]) -> Node:
    base, added = known.value, entry.value
    if path in IDENTITY:
        return _united(known, entry, path, problems)
    match base, added:
        case Map(), Map():
            return _maps(base, added, path, problems)
        case Seq(), Seq():
            return Seq(base.mark, base.items + added.items)
        case Scalar(empty=True), _:
            return added
        case _, Scalar(empty=True):
            return base
        case Scalar(), Scalar():
            if (base.kind, base.text) != (added.kind, added.text):
                problems.append(_clash(known, entry, path, "the value"))
        case _:
            problems.append(_clash(known, entry, path, kind_name(base)))
    return base


def _united(known: MapEntry, entry: MapEntry, path: Path, problems: list[Problem]) -> Node:
    base, added = known.value, entry.value
    if not (isinstance(base, Map) and isinstance(added, Map)):
        wrong = added if isinstance(base, Map) else base
        message = "expected a mapping in every file that has it"
        where = f"also in {_place(known)}"
        problems.append(Problem(entry.mark, path, message, where, describe_node(wrong, path)))
        return base
    children = {child.key: child for child in base.entries}
    for child in added.entries:
        first = children.setdefault(child.key, child)
        if first is not child:
            hint = f"first in {_place(first)}"
            problems.append(Problem(child.mark, (*path, child.key), "given in two files", hint))
    return Map(base.mark, tuple(children.values()))


def _clash(known: MapEntry, entry: MapEntry, path: Path, what: str) -> Problem:
    message = f"expected {what} that is in {_place(known)}"
    return Problem(
        entry.mark, path, message, "one key, one value", describe_node(entry.value, path)
    )


def _place(entry: MapEntry) -> str:
    return f"{entry.mark.file}:{entry.mark.line}"
