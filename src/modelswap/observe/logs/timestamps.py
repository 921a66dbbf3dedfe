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
    """Local time of a number of nanoseconds since the epoch."""
    return datetime.fromtimestamp(max(_DAY, min(ns // _SECOND, _LAST))).astimezone()


def rfc3339(ns: int, digits: int = 9) -> str:
    """`2026-09-01T12:00:00.5+02:00`; trailing zeros of the fraction are left out."""
    at = local(ns)
    fraction = f"{ns % _SECOND:09d}"[:digits].rstrip("0")
    return f"{at:%Y-%m-%dT%H:%M:%S}{'.' + fraction if fraction else ''}{_zone(at, ':')}"


def _zone(at: datetime, colon: str = "") -> str:
    offset = at.strftime("%z")
    if colon and offset == "+0000":
        return "Z"
    return f"{offset[:3]}{colon}{offset[3:5]}"


def _short(at: datetime) -> tuple[str, str, str]:
    return _DAYS[at.weekday()][:3], _MONTHS[at.month - 1], f"{at:%H:%M:%S}"


def _ansic(ns: int) -> str:
    at = local(ns)
    day, month, clock = _short(at)
    return f"{day} {month} {at.day:2d} {clock} {at.year}"


def _unixdate(ns: int) -> str:
    at = local(ns)
    day, month, clock = _short(at)
    return f"{day} {month} {at.day:2d} {clock} {at:%Z} {at.year}"


def _rubydate(ns: int) -> str:
    at = local(ns)
    day, month, clock = _short(at)
    return f"{day} {month} {at.day:02d} {clock} {_zone(at)} {at.year}"


def _rfc822(ns: int, *, numeric: bool = False) -> str:
    at = local(ns)
    zone = _zone(at) if numeric else at.strftime("%Z")
    return f"{at.day:02d} {_MONTHS[at.month - 1]} {at:%y %H:%M} {zone}"


def _rfc850(ns: int) -> str:
    at = local(ns)
    return f"{_DAYS[at.weekday()]}, {at.day:02d}-{_MONTHS[at.month - 1]}-{at:%y %H:%M:%S %Z}"


def _rfc1123(ns: int, *, numeric: bool = False) -> str:
    at = local(ns)
    day, month, clock = _short(at)
    zone = _zone(at) if numeric else at.strftime("%Z")
    return f"{day}, {at.day:02d} {month} {at.year} {clock} {zone}"


def _kitchen(ns: int) -> str:
    at = local(ns)
    return f"{at.hour % 12 or 12}:{at:%M}{'AM' if at.hour < 12 else 'PM'}"  # noqa: PLR2004 -- noon


def _stamp(ns: int, digits: int = 0) -> str:
    at = local(ns)
    _, month, clock = _short(at)
    fraction = "." + f"{ns % _SECOND:09d}"[:digits] if digits else ""
    return f"{month} {at.day:2d} {clock}{fraction}"


FORMATS: Final[Mapping[str, Stamp]] = MappingProxyType(
    {
        "ansic": _ansic,
        "unixdate": _unixdate,
        "rubydate": _rubydate,
        "rfc822": _rfc822,
        "rfc822z": lambda ns: _rfc822(ns, numeric=True),
        "rfc850": _rfc850,
        "rfc1123": _rfc1123,
        "rfc1123z": lambda ns: _rfc1123(ns, numeric=True),
        "rfc3339": lambda ns: rfc3339(ns, 0),
        "rfc3339nano": rfc3339,
        "kitchen": _kitchen,
        "stamp": _stamp,
        "stampmilli": lambda ns: _stamp(ns, 3),
        "stampmicro": lambda ns: _stamp(ns, 6),
        "stampnano": lambda ns: _stamp(ns, 9),
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
