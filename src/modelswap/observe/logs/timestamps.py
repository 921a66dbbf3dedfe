"""Formats times: the `logTimeFormat` names, and RFC 3339 as the API writes it.

Guarantees: names of months and days are English in every locale.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from types import MappingProxyType
from typing import Final

_DAYS: Final = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_MONTHS: Final = (
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
)  # fmt: skip
_SECOND: Final = 1_000_000_000  # nanoseconds
_DAY: Final = 86_400  # seconds
_LAST: Final = 253_402_300_799 - _DAY
"""Seconds since 1970. A database may hold any number; one that `datetime` cannot hold becomes the nearest."""

Stamp = Callable[[int], str]


def local(ns: int) -> datetime:
    return datetime.fromtimestamp(max(_DAY, min(ns // _SECOND, _LAST))).astimezone()


def rfc3339(ns: int, digits: int = 9) -> str:
    """`2026-09-01T12:00:00.5+02:00`; trailing zeros of the fraction are left out."""
    at = local(ns)
    fraction = f"{ns % _SECOND:09d}"[:digits].rstrip("0")
    offset = f"{at:%z}"
    zone = "Z" if offset == "+0000" else f"{offset[:3]}:{offset[3:5]}"
    return f"{at:%Y-%m-%dT%H:%M:%S}{'.' + fraction if fraction else ''}{zone}"


def _stamp(pattern: str) -> Stamp:
    """Make a format of `at` (local time), English `day` and `month`, and `ns` (nine digits)."""

    def write(ns: int) -> str:
        at = local(ns)
        day, month = _DAYS[at.weekday()], _MONTHS[at.month - 1]
        return pattern.format(at=at, day=day, month=month, ns=f"{ns % _SECOND:09d}")

    return write


def _kitchen(ns: int) -> str:
    at = local(ns)
    return f"{at.hour % 12 or 12}:{at:%M}{'AM' if at.hour < 12 else 'PM'}"  # noqa: PLR2004 -- noon


FORMATS: Final[Mapping[str, Stamp]] = MappingProxyType(
    {
        "ansic": _stamp("{day:.3} {month} {at.day:2d} {at:%H:%M:%S} {at.year}"),
        "unixdate": _stamp("{day:.3} {month} {at.day:2d} {at:%H:%M:%S %Z} {at.year}"),
        "rubydate": _stamp("{day:.3} {month} {at.day:02d} {at:%H:%M:%S %z} {at.year}"),
        "rfc822": _stamp("{at.day:02d} {month} {at:%y %H:%M %Z}"),
        "rfc822z": _stamp("{at.day:02d} {month} {at:%y %H:%M %z}"),
        "rfc850": _stamp("{day}, {at.day:02d}-{month}-{at:%y %H:%M:%S %Z}"),
        "rfc1123": _stamp("{day:.3}, {at.day:02d} {month} {at.year} {at:%H:%M:%S %Z}"),
        "rfc1123z": _stamp("{day:.3}, {at.day:02d} {month} {at.year} {at:%H:%M:%S %z}"),
        "rfc3339": lambda ns: rfc3339(ns, 0),
        "rfc3339nano": rfc3339,
        "kitchen": _kitchen,
        "stamp": _stamp("{month} {at.day:2d} {at:%H:%M:%S}"),
        "stampmilli": _stamp("{month} {at.day:2d} {at:%H:%M:%S}.{ns:.3}"),
        "stampmicro": _stamp("{month} {at.day:2d} {at:%H:%M:%S}.{ns:.6}"),
        "stampnano": _stamp("{month} {at.day:2d} {at:%H:%M:%S}.{ns}"),
    }
)


def go_duration(seconds: float) -> str:
    """A duration as `17.1µs`, `1.2345ms`, `2m3.4s`, with six digits."""
    if not seconds:
        return "0s"
    if seconds < 1e-3:  # noqa: PLR2004 -- a millisecond
        return f"{seconds * 1e6:.6g}µs"
    if seconds < 1:
        return f"{seconds * 1e3:.6g}ms"
    if seconds < 60:  # noqa: PLR2004 -- a minute
        return f"{seconds:.6g}s"
    minutes, rest = divmod(round(seconds, 3), 60)
    hours, minutes = divmod(int(minutes), 60)
    return f"{hours}h{minutes}m{rest:g}s" if hours else f"{minutes}m{rest:.6g}s"
