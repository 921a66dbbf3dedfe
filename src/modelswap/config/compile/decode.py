"""The tree becomes typed records, as the schema says.

Guarantees: the conversions are go-yaml's: a number becomes text, a fraction is cut to a whole number,
`yes` fills a boolean; text never becomes a number. A value that does not fit is reported, with what was
expected and what was found; its default is kept, so that the rest of the file is still checked.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final, TypeVar, assert_never, cast

from modelswap.config.messages import hints
from modelswap.config.messages.found_value import describe_node
from modelswap.config.schema import field_types as types
from modelswap.config.schema.quantities import seconds, size
from modelswap.config.tree.node import Map, MapEntry, Node, NodeKind, Path, Scalar, Seq, is_null
from modelswap.config.tree.scalars import YES_NO, canonical
from modelswap.config.tree.values import as_json, whole_number

if TYPE_CHECKING:
    from collections.abc import Callable

    from modelswap.config.messages.report import Report

R = TypeVar("R")


class _UseDefault:
    """Stands for a value that cannot be used: the default is kept."""


USE_DEFAULT: Final = _UseDefault()
_COMMANDS: Final = frozenset({"cmd", "cmdStop"})


def decode(node: Node, cls: type[R], path: Path, report: Report) -> R:
    """Fill a record from a mapping; what is absent has its default."""
    if not isinstance(node, Map):
        _expected("a mapping", node, path, report)
        return cls()
    known = types.keys_of(cast("type", cls))
    values: dict[str, Any] = {}
    for entry in node.entries:
        declared = known.get(entry.key)
        here = (*path, entry.key)
        if declared is None:
            _unknown_key(entry, cast("type", cls), here, report)
        elif (value := _value(entry.value, declared.shape, here, report)) is not USE_DEFAULT:
            values[declared.attribute] = value
    return cls(**values)


def _unknown_key(entry: MapEntry, cls: type, path: Path, report: Report) -> None:
    if len(path) == 1 and entry.key.startswith("x-"):
        return
    hint = hints.of_key(entry.key, entry.value, cls, path[:-1])
    report.warn(entry.mark, path, "unknown key, ignored", hint)


def _expected(what: str, node: Node, path: Path, report: Report, hint: str = "") -> _UseDefault:
    report.expected(what, node, path, hint)
    return USE_DEFAULT


def _value(node: Node, shape: types.Shape, path: Path, report: Report) -> object:
    match shape:
        case types.ListOf():
            return _list(node, shape.item, path, report)
        case types.OneOrMore():
            is_one = isinstance(node, Map | Scalar) and not is_null(node)
            items = Seq(node.mark, (node,)) if is_one else node
            return _list(items, shape.item, path, report)
        case types.Short() if not isinstance(node, Map) and not is_null(node):
            return decode(Map(node.mark).with_value(shape.key, node), shape.cls, path, report)
        case types.MapOf():
            return _map(node, shape.value, path, report)
        case types.Either() if not isinstance(node, Map):
            return _text(node, types.Text(), path, report)
        case types.Record() | types.Either() | types.Short():
            return USE_DEFAULT if is_null(node) else decode(node, shape.cls, path, report)
        case types.Anything():
            return as_json(node)
        case _:
            return USE_DEFAULT if is_null(node) else _leaf(node, shape, path, report)


def _leaf(node: Node, shape: types.Leaf, path: Path, report: Report) -> object:
    match shape:
        case types.Text():
            return _text(node, shape, path, report)
        case types.Bool():
            return _bool(node, path, report)
        case types.Int():
            return _int(node, shape, path, report)
        case types.GoDuration():
            return _go_duration(node, path, report)
        case types.Duration():
            return _duration(node, shape, path, report)
        case types.Size():
            return _size(node, path, report)
        case types.Sizes():
            return _sizes(node, path, report)
        case _ as never:
            assert_never(never)


def _list(node: Node, item: types.Shape, path: Path, report: Report) -> object:
    if is_null(node):
        return ()
    if not isinstance(node, Seq):
        return _expected("a list", node, path, report, _list_hint(node, path))
    values = (
        _value(child, item, (*path, index), report)
        for index, child in enumerate(node.items)
        if not is_null(child)
    )
    return tuple(value for value in values if value is not USE_DEFAULT)


def _list_hint(node: Node, path: Path) -> str:
    if path[-1] == "env":
        return "a line for each variable: - NAME=value"
    return "a line for each: - NAME" if isinstance(node, Map) else "[…] around it, or - before it"


def _map(node: Node, shape: types.Shape, path: Path, report: Report) -> object:
    if is_null(node):
        return {}
    if not isinstance(node, Map):
        return _expected("a mapping", node, path, report, "a line for each name: `NAME: …`")
    values: dict[str, object] = {}
    for entry in node.entries:
        is_none = is_null(entry.value)
        value = None if is_none else _value(entry.value, shape, (*path, entry.key), report)
        if value is not USE_DEFAULT:
            values[entry.key] = value
    return values


def _sizes(node: Node, path: Path, report: Report) -> object:
    if isinstance(node, Map):
        return _map(node, types.Size(), path, report)
    value = _size(node, path, report)
    return USE_DEFAULT if value is USE_DEFAULT else {"": value}


def _text(node: Node, shape: types.Text, path: Path, report: Report) -> object:
    if not isinstance(node, Scalar):
        hint = "one text, with blanks between the words" if path[-1] in _COMMANDS else ""
        return _expected("text", node, path, report, hint)
    value = node.text if node.from_env else canonical(node.value)
    value = value.strip() if shape.is_trimmed else value
    if shape.one_of and value not in shape.one_of:
        expected = f"expected one of {', '.join(shape.one_of)}"
        seen = describe_node(node, path, with_kind=False)
        report.problem(node.mark, path, expected, hints.nearest(value, shape.one_of), seen=seen)
        return USE_DEFAULT
    return value


def _bool(node: Node, path: Path, report: Report) -> object:
    if isinstance(node, Scalar):
        if isinstance(node.value, bool):
            return node.value
        if node.kind is NodeKind.TEXT and node.value in YES_NO:
            return YES_NO[str(node.value)]
    return _expected("true or false", node, path, report)


def _int(node: Node, shape: types.Int, path: Path, report: Report) -> object:
    value = whole_number(node)
    if value is None:
        quoted = isinstance(node, Scalar) and node.kind is NodeKind.TEXT and node.text.isdigit()
        return _expected("a whole number", node, path, report, "remove the quotes" * quoted)
    if shape.minimum is not None and value < shape.minimum:
        return _expected(f"a whole number of at least {shape.minimum}", node, path, report)
    return value


def _go_duration(node: Node, path: Path, report: Report) -> object:
    is_text = isinstance(node, Scalar) and node.kind is NodeKind.TEXT
    value = _quantity(node, seconds) if is_text else None
    if value is None:
        return _expected("a duration with its unit", node, path, report, "such as 5s or 1m30s")
    return value


def _quantity(node: Node, read: Callable[[str], float | None]) -> float | None:
    """Return a number that is not negative, or what `read` makes of a text."""
    if not isinstance(node, Scalar):
        return None
    if node.kind is NodeKind.TEXT:
        return read(node.text)
    if node.kind not in {NodeKind.INT, NodeKind.FLOAT}:
        return None
    value = float(cast("float", node.value))
    return value if math.isfinite(value) and value >= 0 else None


def _duration(node: Node, shape: types.Duration, path: Path, report: Report) -> object:
    value = _quantity(node, seconds)
    hint = "seconds, or such as 30s or 1m30s"
    if value is None or value < 0:
        return _expected("a duration", node, path, report, hint)
    if value == 0 and not shape.takes_zero:
        return _expected("a duration of more than 0", node, path, report, hint)
    return value


def _size(node: Node, path: Path, report: Report) -> object:
    value = _quantity(node, size)
    if value is None:
        return _expected("a size", node, path, report, "bytes, or such as 256MiB")
    return int(value)
