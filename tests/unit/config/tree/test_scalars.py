"""YAML words as go-yaml v3 types them, and numbers as Go prints them."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelswap.config.tree.node import NodeKind
from modelswap.config.tree.scalars import canonical, resolve

WORDS = [
    ("", NodeKind.NULL, None),
    ("~", NodeKind.NULL, None),
    ("Null", NodeKind.NULL, None),
    ("true", NodeKind.BOOL, True),
    ("FALSE", NodeKind.BOOL, False),
    ("tRue", NodeKind.TEXT, "tRue"),
    ("yes", NodeKind.TEXT, "yes"),
    ("off", NodeKind.TEXT, "off"),
    ("n", NodeKind.TEXT, "n"),
    ("12", NodeKind.INT, 12),
    ("-12", NodeKind.INT, -12),
    ("+12", NodeKind.INT, 12),
    ("010", NodeKind.INT, 8),
    ("-010", NodeKind.INT, -8),
    ("0o10", NodeKind.INT, 8),
    ("0x10", NodeKind.INT, 16),
    ("0b11", NodeKind.INT, 3),
    ("1_000", NodeKind.INT, 1000),
    ("08", NodeKind.FLOAT, 8.0),
    ("1:30", NodeKind.TEXT, "1:30"),
    ("1e3", NodeKind.FLOAT, 1000.0),
    (".5", NodeKind.FLOAT, 0.5),
    ("5.", NodeKind.FLOAT, 5.0),
    ("1.2.3", NodeKind.TEXT, "1.2.3"),
    (".inf", NodeKind.FLOAT, math.inf),
    ("-.INF", NodeKind.FLOAT, -math.inf),
    ("-", NodeKind.TEXT, "-"),
    ("-c", NodeKind.TEXT, "-c"),
    ("18446744073709551616", NodeKind.FLOAT, 18446744073709551616.0),
    ("2024-01-01", NodeKind.TIME, "2024-01-01T00:00:00Z"),
    ("2024-1-2T3:04:05.500Z", NodeKind.TIME, "2024-01-02T03:04:05.5Z"),
    ("2024-01-02t03:04:05+02:00", NodeKind.TIME, "2024-01-02T03:04:05+02:00"),
    ("2024-01-02T03:04:05-05:30", NodeKind.TIME, "2024-01-02T03:04:05-05:30"),
    ("2024-01-02 03:04:05.25", NodeKind.TIME, "2024-01-02T03:04:05.25Z"),
    ("2024-13-01", NodeKind.TEXT, "2024-13-01"),
    ("2024-x", NodeKind.TEXT, "2024-x"),
]


@pytest.mark.parametrize(("word", "kind", "value"), WORDS)
def test_plain_word_has_its_go_type(word: str, kind: NodeKind, value: object) -> None:
    """A plain scalar is typed as go-yaml v3 types it."""
    assert resolve(word) == (kind, value)


def test_not_a_number_is_a_number() -> None:
    """`.nan` is a float."""
    kind, value = resolve(".nan")
    assert kind is NodeKind.FLOAT
    assert canonical(value) == "NaN"


NUMBERS = [
    (0.7, "0.7"),
    (1.0, "1"),
    (1.10, "1.1"),
    (1e21, "1e+21"),
    (100000000.0, "1e+08"),
    (123456.0, "123456"),
    (1234567.0, "1.234567e+06"),
    (0.0001, "0.0001"),
    (0.00001, "1e-05"),
    (-2.5, "-2.5"),
    (0.0, "0"),
    (-0.0, "-0"),
    (math.inf, "+Inf"),
    (-math.inf, "-Inf"),
    (True, "true"),
    (False, "false"),
    (None, ""),
    (17, "17"),
    ("x", "x"),
    (100.0, "100"),
    (12.5, "12.5"),
]


@pytest.mark.parametrize(("value", "text"), NUMBERS)
def test_value_is_printed_as_go_prints_it(value: bool | float | str | None, text: str) -> None:  # noqa: FBT001 - a value of the table
    """A value spliced into a text looks as in Go."""
    assert canonical(value) == text


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_printed_number_reads_back(value: float) -> None:
    """No digit that matters is lost in print."""
    assert float(canonical(value)) == value


@pytest.mark.parametrize("word", ["9" * 5000, "1" * 400, "1e400", "-1e400"])
def test_number_beyond_all_bounds_is_text(word: str) -> None:
    """As in Go; and no length of digits is an error of ours."""
    assert resolve(word) == (NodeKind.TEXT, word)
