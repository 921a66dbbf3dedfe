"""Nodes as plain values."""

from __future__ import annotations

import math

import pytest

from modelswap.config.tree.node import Map, MapEntry, Mark, Node, NodeKind, Scalar, Seq, kind_name
from modelswap.config.tree.values import as_json, whole_number

M = Mark("f", 1, 1)


def _number(value: float) -> Scalar:
    return Scalar(M, NodeKind.FLOAT, value, str(value))


@pytest.mark.parametrize(
    ("node", "value"),
    [
        (_number(30.9), 30),
        (_number(-0.5), 0),
        (_number(math.inf), None),
        (_number(1e30), None),
        (Scalar(M, NodeKind.BOOL, value=True, text="true"), None),
        (Scalar(M, NodeKind.TEXT, "5", "5"), None),
        (Seq(M), None),
    ],
)
def test_whole_number(node: Node, value: int | None) -> None:
    """A fraction is cut off; what is no number of 64 bits is none."""
    assert whole_number(node) == value


def test_any_node_as_json() -> None:
    """Mappings, lists and scalars keep their shape; what JSON cannot hold becomes text."""
    items = Seq(M, (_number(1.5), _number(math.nan), Scalar(M, NodeKind.NULL, None, "")))
    assert as_json(Map(M, (MapEntry("a", M, items),))) == {"a": [1.5, "NaN", None]}


def test_names_of_types() -> None:
    """A message calls each node by its type."""
    names = [kind_name(node) for node in (Map(M), Seq(M), _number(1.5))]
    assert names == ["a mapping", "a list", "a number"]
