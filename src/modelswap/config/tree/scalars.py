"""Scalars get their types as in go-yaml v3, and numbers are written back as Go prints them. Pure.

The files were written for go-yaml: octals and underscores of YAML 1.1, booleans of YAML 1.2, no base 60.
"""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime, timedelta, timezone
from typing import Final

from modelswap.deferred import regex

from .node import NodeKind, ScalarValue

NULLS: Final = frozenset({"", "~", "null", "Null", "NULL"})
_BOOLS: Final = {
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
YES_NO: Final = {
    **dict.fromkeys(("y", "Y", "yes", "Yes", "YES", "on", "On", "ON"), True),
    **dict.fromkeys(("n", "N", "no", "No", "NO", "off", "Off", "OFF"), False),
}
"""Words that only a boolean field takes for a boolean."""

_FLOATS: Final = {
    **dict.fromkeys((".nan", ".NaN", ".NAN"), math.nan),
    **dict.fromkeys((".inf", ".Inf", ".INF", "+.inf", "+.Inf", "+.INF"), math.inf),
    **dict.fromkeys(("-.inf", "-.Inf", "-.INF"), -math.inf),
}
_INT = regex(r"[-+]?(?:0[xX][0-9a-fA-F]+|0[bB][01]+|0[oO]?[0-7]+|0|[1-9][0-9]*)")
_FLOAT = regex(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_DAY = r"(\d{4})-(\d{1,2})-(\d{1,2})"
_TIME = r"(\d{1,2}):(\d{1,2}):(\d{1,2})(?:\.(\d{1,9}))?"
_STAMP = regex(rf"{_DAY}(?:(?:[Tt]{_TIME}(Z|[-+]\d\d:\d\d))| {_TIME})?", re.ASCII)
_INT_MIN, _INT_MAX = -(2**63), 2**64 - 1  # int64 and uint64: go-yaml's bounds
_LONGEST_INT: Final = 100
"""Characters; with a sign, `0b` and a few zeros, a longer word is outside the bounds."""
_SMALLEST_PLAIN, _LARGEST_PLAIN = -4, 6  # exponents between which Go prints no exponent


def resolve(word: str) -> tuple[NodeKind, ScalarValue]:
    """Type a plain (unquoted) scalar."""
    if word in NULLS:
        return NodeKind.NULL, None
    first = word[0]
    if first in "tTfF" and word in _BOOLS:
        return NodeKind.BOOL, _BOOLS[word]
    if first in ".+-" and word in _FLOATS:
        return NodeKind.FLOAT, _FLOATS[word]
    if first in "0123456789+-.":
        return _number(word)
    return NodeKind.TEXT, word


def _number(word: str) -> tuple[NodeKind, ScalarValue]:
    stamp = _timestamp(word)
    if stamp is not None:
        return NodeKind.TIME, stamp
    plain = word.replace("_", "")
    if len(plain) <= _LONGEST_INT and _INT.fullmatch(plain) and word[0] != ".":
        value = _integer(plain)
        if _INT_MIN <= value <= _INT_MAX:
            return NodeKind.INT, value
    if _FLOAT.fullmatch(plain) and math.isfinite(number := float(plain)):
        return NodeKind.FLOAT, number
    return NodeKind.TEXT, word


def _integer(word: str) -> int:
    sign = -1 if word[0] == "-" else 1
    digits = word.lstrip("+-").lower()
    if digits[:2] in {"0x", "0b", "0o"}:
        return sign * int(digits, 0)
    return sign * int(digits, 8 if digits[0] == "0" else 10)


def _timestamp(word: str) -> str | None:
    """Return the RFC 3339 form of a YAML date, or None."""
    found = _STAMP.fullmatch(word) if word[4:5] == "-" else None
    if found is None:
        return None
    groups = found.groups()
    clock = groups[3:7] if groups[3] is not None else groups[8:12]
    year, month, day = (int(part) for part in groups[:3])
    hour, minute, second = (int(part or 0) for part in clock[:3])
    try:
        when = datetime(year, month, day, hour, minute, second, tzinfo=_zone(groups[7]))
    except ValueError:
        return None
    fraction = (clock[3] or "").rstrip("0")
    whole = when.strftime("%Y-%m-%dT%H:%M:%S").zfill(19)
    offset = when.strftime("%z")
    zone = "Z" if offset == "+0000" else f"{offset[:3]}:{offset[3:]}"
    return f"{whole}{'.' + fraction if fraction else ''}{zone}"


def _zone(offset: str | None) -> timezone:
    if offset is None or offset == "Z":
        return UTC
    hours, minutes = int(offset[1:3]), int(offset[4:6])
    delta = timedelta(hours=hours, minutes=minutes)
    return timezone(-delta if offset[0] == "-" else delta)


def canonical(value: ScalarValue) -> str:
    """Write a value as Go prints it: `1.10` → `1.1`, `1e21` → `1e+21`, `true`."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return _go_float(value) if isinstance(value, float) else str(value)


def _go_float(value: float) -> str:
    """Write the shortest form that reads back the same; an exponent below 1e-4 and from 1e6 on."""
    if not math.isfinite(value):
        return "NaN" if math.isnan(value) else ("+Inf" if value > 0 else "-Inf")
    sign = "-" if math.copysign(1, value) < 0 else ""
    if value == 0:
        return f"{sign}0"
    digits, exponent = _shortest(abs(value))
    if exponent < _SMALLEST_PLAIN or exponent >= _LARGEST_PLAIN:
        rest = f".{digits[1:]}" if len(digits) > 1 else ""
        return f"{sign}{digits[0]}{rest}e{exponent:+03d}"
    if exponent < 0:
        return f"{sign}0.{'0' * (-exponent - 1)}{digits}"
    whole, fraction = digits[: exponent + 1].ljust(exponent + 1, "0"), digits[exponent + 1 :]
    return f"{sign}{whole}.{fraction}" if fraction else f"{sign}{whole}"


def _shortest(value: float) -> tuple[str, int]:
    """Return digits and decimal exponent of the shortest form that reads back the same."""
    coefficient, _, power = repr(value).partition("e")
    whole, _, fraction = coefficient.partition(".")
    digits = (whole + fraction).lstrip("0")
    leading_zeros = len(whole + fraction) - len(digits)
    exponent = int(power or 0) + len(whole) - 1 - leading_zeros
    return digits.rstrip("0"), exponent
