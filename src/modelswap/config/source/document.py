"""One YAML document becomes a tree of nodes with marks.

The tree is built from the parser's events, without recursion. This module settles `<<` merges, anchors
and duplicate keys; the caller's `expand` settles references to the environment.

Memory: depth and the size of what aliases stand for are bounded; what is beyond is a problem.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Iterator
from dataclasses import field
from itertools import islice
from typing import Final

import yaml

from modelswap.config.messages.found_value import FoundValue, describe_node
from modelswap.config.messages.report import Problem
from modelswap.config.tree.node import (
    Map,
    MapEntry,
    Mark,
    Node,
    NodeKind,
    Path,
    Scalar,
    ScalarValue,
    Seq,
    is_null,
)
from modelswap.config.tree.node import text as text_node
from modelswap.config.tree.scalars import resolve
from modelswap.deferred import dataclass, regex

MAX_DEPTH: Final = 100
"""Levels: later steps walk the tree by recursion."""
MAX_NODES: Final = 500_000
"""Values, with aliases followed: a few lines must not stand for millions."""
MAX_ALIASED: Final = 200_000
"""Values that all aliases stand for together: 2,000 models with 100 shared values each."""
MAX_ALIASED_TEXT: Final = 16 << 20
"""Characters that all aliases stand for together: as many as a file may hold without them."""

_TOO_MUCH: Final = (
    f"expected aliases that stand for at most {MAX_ALIASED:,} values and "
    f"{MAX_ALIASED_TEXT >> 20} MiB of text; found excessive aliasing"
)

_LOADER = yaml.CLoader if yaml.__with_libyaml__ else yaml.Loader
_PLACEHOLDER = regex(r"\$\{([A-Za-z0-9_.-]+)\}")
_PROTECTED = regex("\ue000\ue002([A-Za-z0-9_.-]+)\ue001")
_CORE: Final = "tag:yaml.org,2002:"


Expand = Callable[[str, Mark], str]
"""Expands environment variables in a scalar's text; reports missing ones."""


class BrokenDocumentError(Exception):
    def __init__(self, problem: Problem) -> None:
        super().__init__(str(problem))
        self.problem = problem


@dataclass(slots=True)
class _Frame:
    mark: Mark
    is_map: bool
    anchor: str | None
    items: list[Node] = field(default_factory=list[Node])
    keys: list[tuple[str, Mark, bool]] = field(default_factory=list[tuple[str, Mark, bool]])
    """Text, place, and whether it is the merge key."""
    weight: int = 1
    """Values in it, aliases followed, and itself."""
    size: int = 0
    """Characters of the values in it, aliases followed."""


def parse(text: str, file: str, expand: Expand) -> tuple[Node | None, list[Problem]]:
    """Read the first document; None when there is none. Raises BrokenDocumentError."""
    builder = _Builder(file, expand)
    try:
        for event in _events(text):
            builder.on_event(event)
            if builder.done:
                break
    except yaml.MarkedYAMLError as broken:
        raise BrokenDocumentError(_syntax(broken, text, file)) from None
    except yaml.YAMLError as broken:
        raise BrokenDocumentError(_unreadable(broken, text, file)) from None
    return builder.root, builder.problems


def _events(text: str) -> Iterator[yaml.Event]:
    # `{` and `}` mean something inside `[…]`: a placeholder goes through the parser in other characters,
    # of the same length, so that columns stay true.
    protected = _PLACEHOLDER.sub("\ue000\ue002\\1\ue001", text.removeprefix("\ufeff"))
    events: Iterator[yaml.Event] = yaml.parse(protected, Loader=_LOADER)
    return events


_UNEXPECTED: Final = "found character"
_TAB: Final = "a tab is there; YAML is indented with spaces"
_SECOND_COLON: Final = "mapping values are not allowed"
_COLON: Final = "a value that holds `: ` needs quotes; else look at the indentation"


def _restored(text: str) -> str:
    return _PROTECTED.sub(r"${\1}", text) if "\ue000" in text else text


def _syntax(broken: yaml.MarkedYAMLError, text: str, file: str) -> Problem:
    at = broken.problem_mark or broken.context_mark
    mark = Mark(file, at.line + 1, at.column + 1) if at else Mark(file)
    what = broken.problem or "broken"
    hint = broken.context or ""
    if at is not None and what.startswith(_UNEXPECTED):
        line = next(islice(text.split("\n"), at.line, None), "")
        here = line[at.column : at.column + 1]
        if "\t" in (here, line[:1]):
            hint = _TAB
        elif here and here in "@`%":
            hint = f"write quotes around a value that begins with {here}"
    elif what.startswith(_SECOND_COLON):
        hint = _COLON
    return Problem(mark, (), f"not valid YAML: {what}", hint)


def _unreadable(broken: yaml.YAMLError, text: str, file: str) -> Problem:
    position = getattr(broken, "position", None)
    line = text.count("\n", 0, position) + 1 if isinstance(position, int) else 0
    reason = getattr(broken, "reason", None) or "broken"
    return Problem(Mark(file, line), (), f"not valid YAML: {reason}")


class _Builder:
    def __init__(self, file: str, expand: Expand) -> None:
        self.root: Node | None = None
        self.done = False
        self.problems: list[Problem] = []
        self._file = file
        self._expand = expand
        self._stack: list[_Frame] = []
        self._anchors: dict[str, tuple[Node, int, int]] = {}
        """Node, values in it, characters in them."""
        self._aliased = 0
        self._aliased_text = 0
        self._open_anchors: set[str] = set()

    def on_event(self, event: yaml.Event) -> None:
        match event:
            case yaml.ScalarEvent():
                scalar = self._scalar(event)
                self._add(scalar, 1, len(scalar.text), event.anchor)
            case yaml.AliasEvent():
                self._add(*self._alias(event), None)
            case yaml.SequenceStartEvent() | yaml.MappingStartEvent():
                self._open(event)
            case yaml.SequenceEndEvent() | yaml.MappingEndEvent():
                frame = self._stack.pop()
                self._open_anchors.discard(frame.anchor or "")
                self._add(self._close(frame), frame.weight, frame.size, frame.anchor)
            case yaml.DocumentEndEvent():
                self.done = True
            case _:
                pass

    def _problem(
        self, mark: Mark, path: Path, message: str, seen: FoundValue | None = None
    ) -> None:
        self.problems.append(Problem(mark, path, message, seen=seen))

    def _mark(self, event: yaml.Event) -> Mark:
        at = event.start_mark
        assert at is not None
        return Mark(self._file, at.line + 1, at.column + 1)

    def _open(self, event: yaml.CollectionStartEvent) -> None:
        mark = self._mark(event)
        if len(self._stack) >= MAX_DEPTH:
            raise BrokenDocumentError(Problem(mark, (), f"nested deeper than {MAX_DEPTH} levels"))
        if event.anchor:
            self._open_anchors.add(event.anchor)
        self._stack.append(_Frame(mark, isinstance(event, yaml.MappingStartEvent), event.anchor))

    def _add(self, node: Node, weight: int, size: int, anchor: str | None) -> None:
        if anchor:
            self._anchors[anchor] = (node, weight, size)
        if not self._stack:
            self.root = node
            return
        frame = self._stack[-1]
        frame.weight += weight
        frame.size += size
        if frame.weight > MAX_NODES:
            raise BrokenDocumentError(Problem(node.mark, (), _TOO_MUCH))
        if frame.is_map and len(frame.keys) == len(frame.items):
            frame.keys.append(self._key(node))
        else:
            frame.items.append(_no_merge_key(node))

    def _key(self, node: Node) -> tuple[str, Mark, bool]:
        if not isinstance(node, Scalar):
            self._problem(node.mark, (), "expected text as a key; found a collection")
            return "", node.mark, False
        return node.text, node.mark, node.kind is NodeKind.NULL and node.text == "<<"

    def _alias(self, event: yaml.AliasEvent) -> tuple[Node, int, int]:
        name, mark = event.anchor, self._mark(event)
        if name in self._open_anchors:
            raise BrokenDocumentError(Problem(mark, (), f"anchor {name!r} contains itself"))
        if name not in self._anchors:
            hint = "anchors do not reach from one file into another"
            raise BrokenDocumentError(Problem(mark, (), f"unknown anchor {name!r}", hint))
        node, weight, size = self._anchors[name]
        self._aliased += weight
        self._aliased_text += size
        if self._aliased > MAX_ALIASED or self._aliased_text > MAX_ALIASED_TEXT:
            raise BrokenDocumentError(Problem(mark, (), _TOO_MUCH))
        return node, weight, size

    def _scalar(self, event: yaml.ScalarEvent) -> Scalar:
        mark = self._mark(event)
        written = _restored(event.value)
        value = self._expand(written, mark) if "${env." in written else written
        from_env = value is not written
        plain = bool(event.implicit[0])
        if plain and value == "<<":  # the merge key; a quoted one is TEXT
            return Scalar(mark, NodeKind.NULL, None, value)
        tag: str = event.tag or ""
        if not tag.startswith(_CORE):
            kind, typed = resolve(value) if plain else (NodeKind.TEXT, value)
        else:
            kind, typed = self._tagged(tag.removeprefix(_CORE), value, mark)
        empty = kind is NodeKind.NULL and value == ""
        return Scalar(mark, kind, typed, value, empty=empty, from_env=from_env)

    def _tagged(self, tag: str, value: str, mark: Mark) -> tuple[NodeKind, ScalarValue]:
        if tag == "str":
            return NodeKind.TEXT, value
        if tag == "binary":
            return NodeKind.TEXT, self._binary(value, mark)
        kind, typed = resolve(value)
        if tag == "float" and kind is NodeKind.INT and isinstance(typed, int):
            return NodeKind.FLOAT, float(typed)
        if _TAGS.get(tag, kind) is not kind:
            self._problem(mark, (), f"expected a value of the type !!{tag}; found {kind}")
        return kind, typed

    def _binary(self, value: str, mark: Mark) -> str:
        try:
            return base64.b64decode("".join(value.split()), validate=True).decode()
        except (binascii.Error, UnicodeDecodeError):
            what = "expected base64 of UTF-8 text behind !!binary; found other text"
            self._problem(mark, (), what)
            return ""

    def _close(self, frame: _Frame) -> Node:
        if not frame.is_map:
            return Seq(frame.mark, tuple(frame.items))
        entries: dict[str, MapEntry] = {}
        merged: list[Node] = []
        for (key, mark, is_merge), value in zip(frame.keys, frame.items, strict=True):
            if is_merge:
                merged.append(value)
            elif key in entries:
                first = entries[key].mark.line
                what = f"expected each key once; found a key given twice: first in line {first}"
                self._problem(mark, (*self._path(), key), what)
            else:
                entries[key] = MapEntry(key, mark, value)
        for source in self._merge_sources(merged):
            for entry in source.entries:
                entries.setdefault(entry.key, entry)
        return Map(frame.mark, tuple(entries.values()))

    def _path(self) -> Path:
        """Return the path of the collection that has just ended."""
        return tuple(one.keys[-1][0] if one.is_map else len(one.items) for one in self._stack)

    def _merge_sources(self, merged: list[Node]) -> Iterator[Map]:
        for value in merged:
            for source in value.items if isinstance(value, Seq) else (value,):
                if isinstance(source, Map):
                    yield source
                elif not is_null(source):
                    what = "expected a mapping or a list of mappings behind `<<`"
                    seen = describe_node(source, ())
                    self._problem(source.mark, (*self._path(), "<<"), what, seen)


def _no_merge_key(node: Node) -> Node:
    """Return `<<` in a value's place as text."""
    if isinstance(node, Scalar) and node.text == "<<" and node.kind is NodeKind.NULL:
        return text_node("<<", node.mark)
    return node


_TAGS: Final = {
    "bool": NodeKind.BOOL,
    "int": NodeKind.INT,
    "float": NodeKind.FLOAT,
    "null": NodeKind.NULL,
    "timestamp": NodeKind.TIME,
}
