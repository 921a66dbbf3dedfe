"""Nodes: where something stands in a file."""

from __future__ import annotations

from modelswap.config.tree.node import Map, Mark, locate


def test_place_of_what_is_not_there() -> None:
    """The place of a missing key is that of the nearest thing that exists."""
    mark = Mark("f", 1, 1)
    assert locate(Map(mark), ("a", 0)) == mark
