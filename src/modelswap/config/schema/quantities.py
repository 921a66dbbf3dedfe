"""Durations and sizes as people write them. Pure."""

from __future__ import annotations

import math
import re
from typing import Final

from modelswap.deferred import regex

_SPAN = regex(r"[-+]?(?:(?:\d+(?:\.\d*)?|\.\d+)(?:ns|us|µs|μs|ms|s|m|h))+|[-+]?0")
_SPAN_PART = regex(r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|μs|ms|s|m|h)")
_SECONDS: Final = {
    "ns": 1e-9,
    "us": 1e-6,
    "µs": 1e-6,
    "μs": 1e-6,
    "ms": 1e-3,
    "s": 1.0,
    "m": 60.0,
    "h": 3600.0,
}
_SIZE = regex(r"(\d+(?:\.\d+)?)\s*([kmgt]?)(i?)b?", re.IGNORECASE)
_POWERS: Final = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4}


def seconds(text: str) -> float | None:
    """Read `1m30s` as 90.0, by Go's grammar; None for other text and for infinite durations."""
    if not _SPAN.fullmatch(text):
        return None
    total = sum(float(n) * _SECONDS[unit] for n, unit in _SPAN_PART.findall(text))
    if not math.isfinite(total):
        return None
    return -total if text.startswith("-") else total


def size(text: str) -> int | None:
    """Read `256MiB` as 268435456 and `1kB` as 1000; None for other text."""
    found = _SIZE.fullmatch(text.strip())
    if found is None:
        return None
    number, prefix, binary = found.groups()
    if binary and not prefix:
        return None
    value = float(number) * (1024 if binary else 1000) ** _POWERS[prefix.lower()]
    return int(value) if math.isfinite(value) else None
