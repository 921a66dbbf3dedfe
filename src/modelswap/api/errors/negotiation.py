"""Chooses the format of an error by the `Accept` header."""

from __future__ import annotations

import math
from enum import Enum
from functools import lru_cache
from typing import Final

_EXACT: Final = 2  # `text/html`
_SUBTYPE: Final = 1  # `text/*`
_ANY: Final = 0  # `*/*`


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


def _specificity(pattern: str, media: ErrorFormat) -> int | None:
    if pattern == media.value:
        return _EXACT
    if pattern == media.value.partition("/")[0] + "/*":
        return _SUBTYPE
    return _ANY if pattern == "*/*" else None


def _preference(ranges: list[tuple[str, float]], media: ErrorFormat) -> float:
    """Return the quality that the most specific matching range gives, 0 without any."""
    best, quality = -1, 0.0
    for pattern, q in ranges:
        specificity = _specificity(pattern, media)
        if specificity is not None and specificity > best:
            best, quality = specificity, q
    return quality


@lru_cache(maxsize=256)  # far more than there are client programs
def preferred_format(accept: str | None) -> ErrorFormat:
    """Choose by the rules of HTTP; ties and nothing acceptable mean JSON."""
    if not accept:
        return ErrorFormat.JSON
    ranges: list[tuple[str, float]] = []
    for entry in accept.split(","):
        pattern, *parameters = entry.split(";")
        ranges.append((pattern.strip().lower(), _quality(parameters)))
    chosen, best = ErrorFormat.JSON, _preference(ranges, ErrorFormat.JSON)
    for media in (ErrorFormat.TEXT, ErrorFormat.HTML):
        quality = _preference(ranges, media)
        if quality > best:
            chosen, best = media, quality
    return chosen
