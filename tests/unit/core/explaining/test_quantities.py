"""Bytes, durations and lists, as people read them."""

from __future__ import annotations

import pytest

from modelswap.core.explaining.quantities import count_text, duration_text, list_text, size_text


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 bytes"),
        (1023, "1023 bytes"),
        (1024, "1 KiB"),
        (512 << 20, "512 MiB"),
        ((1 << 30) - 1, "1 GiB"),
        (int(3.14 * (1 << 30)), "3.14 GiB"),
        (int(11.46 * (1 << 30)), "11.5 GiB"),
        (int(99.98 * (1 << 30)), "100 GiB"),
        (-(6 << 30), "-6 GiB"),
        (40 << 50, "40960 TiB"),
    ],
)
def test_sizes(size: int, text: str) -> None:
    """The largest unit in which it is at least 1; three digits, or all where there are more."""
    assert size_text(size) == text


@pytest.mark.parametrize(
    ("span", "text"),
    [
        (0.04, "40 ms"),
        (3.21, "3.2 s"),
        (12.4, "12 s"),
        (119, "119 s"),
        (180, "3 min"),
        (9000, "2 h"),
    ],
)
def test_durations(span: float, text: str) -> None:
    assert duration_text(span) == text


def test_lists_and_counts() -> None:
    """Names are joined as in a sentence, and one thing is singular."""
    assert [list_text(names) for names in ((), ("a",), ("a", "b"), ("a", "b", "c"))] == [
        "",
        "a",
        "a and b",
        "a, b and c",
    ]
    assert count_text(1, "request") == "1 request"
    assert count_text(0, "request") == "0 requests"
