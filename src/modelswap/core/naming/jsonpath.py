r"""Edits of a JSON text that leave every other byte alone.

A path is dotted: `a.b`, `a.0` (an element), `a\.b` (a dot in a key), `:0` (a key made of digits), and
at the end of a path `-1` (append; the last one when deleting).

Guarantees: what no edit touches keeps its order, spacing and spelling; new keys come last; of
duplicate keys all are edited; a scalar inside a path is not overwritten.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from modelswap.deferred import dataclass, regex

BUDGET: Final = 200_000
"""Brackets in one value: about 50 ms of work; a chat request has a few thousand."""
_PADDING: Final = 1024
"""Elements that one edit may add before the one it sets: bounds what a path costs."""

_BLANK = regex(rb"[ \t\r\n]*+")
_STRING = regex(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"', re.DOTALL)
_SCALAR = regex(rb"[^\s,\[\]{}\"]++")
_AFTER_VALUE: Final = frozenset({b",", b"}", b" ", b"\n", b"\t", b"\r"})
_TO_BRACKET = regex(rb'(?:[^"{}\[\]]++|"[^"\\]*+(?:\\.[^"\\]*+)*+")*+', re.DOTALL)

Path = tuple[str, ...]
RawValues = Callable[[bytes], Mapping[str, bytes] | None]
"""A fast reader: an object's raw values by key, or `None`. Each is used only where the text agrees."""


class UnreadableError(ValueError):
    """Not JSON of the expected kind, or too much work to read."""


class NotApplicableError(ValueError):
    """The path leads through something that is neither object nor array."""


@dataclass(frozen=True, slots=True)
class Set:
    path: Path
    value: bytes
    """JSON."""


@dataclass(frozen=True, slots=True)
class Delete:
    path: Path


JsonEdit = Set | Delete


def parse_path(text: str) -> Path:
    """Split a dotted path; a piece keeps its leading `:`, which makes digits a key."""
    pieces = [""]
    chars = iter(text)
    for char in chars:
        if char == "\\":
            pieces[-1] += next(chars, "")
        elif char == ".":
            pieces.append("")
        else:
            pieces[-1] += char
    return tuple(pieces)


def _key(piece: str) -> str:
    return piece.removeprefix(":")


def _index(piece: str) -> int | None:
    return int(piece) if piece.isascii() and piece.isdigit() and len(piece) < 10 else None  # noqa: PLR2004 -- an index, not a key that looks like one


def _name(key: str) -> bytes:
    return json.dumps(key, ensure_ascii=False).encode("utf-8", "surrogatepass") + b":"


@dataclass(slots=True)
class _Item:
    """One member or element: what stands before its value, and the value."""

    lead: bytes
    """The comma and the blanks before it."""
    name: bytes
    """A member's key as written, with its colon; empty for elements."""
    key: str
    value: bytes | _Tree


@dataclass(slots=True)
class _Tree:
    """An object or an array, opened one level deep; deeper levels open when a path goes there."""

    opening: bytes
    items: list[_Item]
    closing: bytes
    is_object: bool

    def render(self, out: list[bytes]) -> None:
        out.append(self.opening)
        for at, item in enumerate(self.items):
            lead = item.lead
            out.append(lead.replace(b",", b"", 1) if at == 0 else lead)
            out.append(item.name)
            if isinstance(item.value, _Tree):
                item.value.render(out)
            else:
                out.append(item.value)
        out.append(self.closing)


def _blank(text: bytes, at: int) -> int:
    found = _BLANK.match(text, at)
    return found.end() if found else at


def skip_value(text: bytes, at: int) -> int:
    """Return where the value that begins at `at` ends.

    Raises:
        UnreadableError: no value there, or more than `BUDGET` brackets in it.
    """
    first = text[at : at + 1]
    if first not in (b"{", b"["):
        found = (_STRING if first == b'"' else _SCALAR).match(text, at)
        if found is None:
            raise UnreadableError("a value is missing")
        return found.end()
    depth = 0
    for _ in range(BUDGET):
        depth += 1 if text[at : at + 1] in (b"{", b"[") else -1
        at += 1
        if depth == 0:
            return at
        found = _TO_BRACKET.match(text, at)
        at = found.end() if found else at
        if at >= len(text) or text[at : at + 1] == b'"':
            raise UnreadableError("the text ends too early")
    raise UnreadableError("too many brackets")


def _open(text: bytes, raw_values: RawValues | None = None) -> _Tree:
    """Open the object or array that `text` is, blanks around it included."""
    start = _blank(text, 0)
    bracket = text[start : start + 1]
    if bracket not in (b"{", b"["):
        raise NotApplicableError("neither an object nor an array")
    is_object = bracket == b"{"
    known = (raw_values(text) if raw_values and is_object else None) or {}
    items: list[_Item] = []
    at = start + 1
    lead = at
    end = b"}" if is_object else b"]"
    while True:
        at = _blank(text, at)
        if text[at : at + 1] == end:
            return _Tree(text[: start + 1], items, text[lead:], is_object)
        if items:
            if text[at : at + 1] != b",":
                raise UnreadableError("a comma is missing")
            at = _blank(text, at + 1)
        item, at = _read_item(text, lead, at, is_object=is_object, known=known)
        items.append(item)
        lead = at


def _read_item(
    text: bytes, lead: int, at: int, *, is_object: bool, known: Mapping[str, bytes]
) -> tuple[_Item, int]:
    if not is_object:
        end = skip_value(text, at)
        return _Item(text[lead:at], b"", "", text[at:end]), end
    found = _STRING.match(text, at)
    if found is None:
        raise UnreadableError("a key is missing")
    try:
        key = str(json.loads(found.group()))
    except ValueError:
        raise UnreadableError("a key is malformed") from None
    value = _member_start(text, found.end())
    raw = known.get(key)
    if raw is not None and _is_whole(text, value, raw):
        return _Item(text[lead:at], text[at:value], key, raw), value + len(raw)
    end = skip_value(text, value)
    return _Item(text[lead:at], text[at:value], key, text[value:end]), end


def _is_whole(text: bytes, at: int, raw: bytes) -> bool:
    """Tell whether `raw` is the value at `at`: no value is the beginning of another, but numbers."""
    end = at + len(raw)
    return text.startswith(raw, at) and text[end : end + 1] in _AFTER_VALUE


def member_value(text: bytes, after_key: int) -> tuple[int, int]:
    """Return where the value after a key begins and ends; raises as `skip_value` does."""
    value = _member_start(text, after_key)
    return value, skip_value(text, value)


def _member_start(text: bytes, after_key: int) -> int:
    colon = _blank(text, after_key)
    if text[colon : colon + 1] != b":":
        raise UnreadableError("a colon is missing")
    return _blank(text, colon + 1)


def keys_of(text: bytes, raw_values: RawValues | None = None) -> list[str]:
    """List an object's keys as they are written, duplicates included; raises as `apply` does."""
    tree = _open(text, raw_values)
    if not tree.is_object:
        raise NotApplicableError("not an object")
    return [item.key for item in tree.items]


def apply(
    text: bytes, edits: Sequence[JsonEdit], raw_values: RawValues | None = None
) -> tuple[bytes, tuple[JsonEdit, ...]]:
    """Make the edits in order; return the new text and the edits that could not be made.

    Raises:
        UnreadableError, NotApplicableError: `text` is no readable object.
    """
    tree = _open(text, raw_values)
    if not tree.is_object:
        raise NotApplicableError("not an object")
    failed: list[JsonEdit] = []
    for edit in edits:
        try:
            if isinstance(edit, Set):
                _set(tree, edit.path, edit.value)
            else:
                _delete(tree, edit.path)
        except (NotApplicableError, UnreadableError):
            failed.append(edit)
    out: list[bytes] = []
    tree.render(out)
    return b"".join(out), tuple(failed)


def _opened(item: _Item) -> _Tree:
    if not isinstance(item.value, _Tree):
        item.value = _open(item.value)
    return item.value


def _found(tree: _Tree, piece: str) -> list[_Item]:
    if tree.is_object:
        key = _key(piece)
        return [item for item in tree.items if item.key == key]
    index = _index(piece)
    return [] if index is None else tree.items[index : index + 1]


def _delete(tree: _Tree, path: Path) -> None:
    piece, *rest = path
    if not rest and not tree.is_object and piece == "-1":
        del tree.items[-1:]
        return
    for item in _found(tree, piece):
        if rest:
            _delete(_opened(item), tuple(rest))
        else:
            tree.items = [other for other in tree.items if other is not item]


def _set(tree: _Tree, path: Path, value: bytes) -> None:
    piece, *rest = path
    found = _found(tree, piece)
    for item in found:
        if rest and item.value != b"null":
            _set(_opened(item), tuple(rest), value)
        else:
            item.value = _build(tuple(rest), value)
    if found:
        return
    if not tree.is_object:
        _pad(tree, piece)
    name, key = (_name(_key(piece)), _key(piece)) if tree.is_object else (b"", "")
    tree.items.append(_Item(b",", name, key, _build(tuple(rest), value)))


def _pad(tree: _Tree, piece: str) -> None:
    if piece == "-1":
        return
    index = _index(piece)
    if index is None or index - len(tree.items) > _PADDING:
        raise NotApplicableError("no such element")
    while len(tree.items) < index:
        tree.items.append(_Item(b",", b"", "", b"null"))


def _build(path: Path, value: bytes) -> bytes:
    """Write the containers that a path needs and that are not there."""
    for piece in reversed(path):
        index = 0 if piece == "-1" else _index(piece)
        if index is None or index > _PADDING:
            value = b"{" + _name(_key(piece)) + value + b"}"
        else:
            value = b"[" + b"null," * index + value + b"]"
    return value
