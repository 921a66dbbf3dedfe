"""Nodes as plain values: JSON, or a whole number. Pure."""

from __future__ import annotations

import math
from typing import Final, assert_never

from .node import Map, Node, Scalar, Seq
from .scalars import canonical

Json = None | bool | int | float | str | list["Json"] | dict[str, "Json"]

_INT_BOUND: Final = 2**63
"""Whole numbers have 64 bits, as in llama-swap."""


def whole_number(node: Node) -> int | None:
    """Return the whole number of a node, a fraction cut off; None when it is no number."""
    if not isinstance(node, Scalar) or isinstance(node.value, bool):
        return None
    value = node.value
    if isinstance(value, float) and math.isfinite(value):
        value = int(value)
    return value if isinstance(value, int) and -_INT_BOUND <= value < _INT_BOUND else None


def as_json(node: Node) -> Json:
    """Return any value as JSON; not-a-number and the infinities become text."""
    match node:
        case Map():
            return {entry.key: as_json(entry.value) for entry in node.entries}
        case Seq():
            return [as_json(item) for item in node.items]
        case Scalar(value=float() as value) if not math.isfinite(value):
            return canonical(value)
        case Scalar():
            return node.value
        case _ as never:
            assert_never(never)
