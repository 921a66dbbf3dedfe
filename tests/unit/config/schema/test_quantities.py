"""Durations and sizes as people write them."""

from __future__ import annotations

import pytest

from modelswap.config.schema.quantities import seconds, size

DURATIONS = [
    ("5s", 5.0),
    ("1m30s", 90.0),
    ("500ms", 0.5),
    ("1.5h", 5400.0),
    ("-2s", -2.0),
    ("0", 0.0),
]


@pytest.mark.parametrize(("text", "value"), DURATIONS)
def test_duration(text: str, value: float) -> None:
    """Durations are written as in Go."""
    assert seconds(text) == pytest.approx(value)


@pytest.mark.parametrize("text", ["", "5", "s", "5 s", "5d", "1m30"])
def test_no_duration(text: str) -> None:
    """A bare number and an unknown unit are no durations."""
    assert seconds(text) is None


SIZES = [
    ("1KiB", 1024),
    ("1kB", 1000),
    ("1k", 1000),
    ("2 MiB", 2 << 20),
    ("7", 7),
    ("7B", 7),
    ("7iB", None),
    ("x", None),
]


@pytest.mark.parametrize(("text", "value"), SIZES)
def test_size(text: str, value: int | None) -> None:
    """Sizes are powers of 1000, with an `i` of 1024."""
    assert size(text) == value
