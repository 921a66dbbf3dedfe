"""Chooses the format of an error by the `Accept` header."""

from __future__ import annotations

import math
from enum import Enum
from functools import lru_cache


class ErrorFormat(Enum):
    JSON = "application/json"
    TEXT = "text/plain"
    HTML = "text/html"


def _quality(parameters: list[str]) -> float:
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip().lower() == "q":
            try:
                quality = float(value)
            except ValueError:
                return 0.0
            return min(max(quality, 0.0), 1.0) if math.isfinite(quality) else 0.0
    return 1.0


def _preference(ranges: dict[str, float], media: ErrorFormat) -> float:
    """Return the quality that the most specific matching range gives, 0 without any."""
    for pattern in (media.value, media.value.partition("/")[0] + "/*", "*/*"):
        if pattern in ranges:
            return ranges[pattern]
    return 0.0


@lru_cache(maxsize=256)  # far more than there are client programs
def preferred_format(accept: str | None) -> ErrorFormat:
    """Choose by the rules of HTTP; ties and nothing acceptable mean JSON."""
    if not accept:
        return ErrorFormat.JSON
    ranges: dict[str, float] = {}
    for entry in accept.split(","):
        pattern, *parameters = entry.split(";")
        ranges.setdefault(pattern.strip().lower(), _quality(parameters))
    chosen, best = ErrorFormat.JSON, _preference(ranges, ErrorFormat.JSON)
    for media in (ErrorFormat.TEXT, ErrorFormat.HTML):
        quality = _preference(ranges, media)
        if quality > best:
            chosen, best = media, quality
    return chosen
