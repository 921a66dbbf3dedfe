"""Bytes, durations and lists as text that people read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

    from modelswap.units import Bytes, Seconds

_STEP: Final = 1024
"""From one unit to the next."""
_UNITS: Final = ("bytes", "KiB", "MiB", "GiB", "TiB")
_PRECISE: Final = 10
"""Below it a duration is shown with one decimal."""
_THREE_DIGITS: Final = 100
"""Below it a size is shown with three digits: what is free and what is needed may differ by little."""
_MINUTE: Final = 60.0  # seconds
_HOUR: Final = 3600.0  # seconds


def size_text(size: Bytes | int) -> str:
    """Write a size with the largest binary unit in which it is at least 1: `3.14 GiB`, `512 MiB`."""
    value, unit = float(abs(size)), 0
    while round(value, 1) >= _STEP and unit < len(_UNITS) - 1:
        value, unit = value / _STEP, unit + 1
    sign = "-" if size < 0 else ""
    number = f"{value:.3g}" if value < _THREE_DIGITS else f"{value:.0f}"
    return f"{sign}{number} {_UNITS[unit]}"


def duration_text(span: Seconds | float) -> str:
    """Write a duration with a precision that fits it: `40 ms`, `3.2 s`, `12 s`, `3 min`, `2 h`."""
    if span < 1:
        return f"{span * 1000:.0f} ms"
    if span < _PRECISE:
        return f"{span:.1f} s"
    if span < 2 * _MINUTE:
        return f"{span:.0f} s"
    return f"{span / _MINUTE:.0f} min" if span < 2 * _HOUR else f"{span / _HOUR:.0f} h"


def list_text(names: Iterable[str], joint: str = "and") -> str:
    """Write names as a list of a sentence: `a, b and c`."""
    *first, last = [*names] or [""]
    return f"{', '.join(first)} {joint} {last}" if first else last


def count_text(count: int, what: str) -> str:
    """Write a number of things: `1 request`, `3 requests`."""
    return f"{count} {what}" if count == 1 else f"{count} {what}s"
