"""Secrets are masked in a text before it is shown."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .plan import Plan, Secret

MASK: Final = "***"
_SHORTEST: Final = 4
"""Characters: a shorter value from the environment is a word or a switch."""
SHORTEST_KEY: Final = 3
"""Characters: to mask a shorter key would be to mask ordinary words."""
_LONGEST_NUMBER: Final = 5
"""Digits: a number up to this length may be a port."""
_COMMON: Final = frozenset({"true", "false", "null", "none", "localhost", "127.0.0.1"})


def is_secret(value: str) -> bool:
    """Tell whether a value from the environment may be a secret: no port, switch or short word."""
    if len(value) < _SHORTEST or value.lower() in _COMMON:
        return False
    return not (value.isdigit() and len(value) <= _LONGEST_NUMBER)


def masked(text: str, secrets: Iterable[Secret]) -> str:
    """Mask the longest secret first, so that no part of a longer one is left."""
    for value in sorted((one.reveal() for one in secrets), key=len, reverse=True):
        if len(value) >= SHORTEST_KEY and value in text:
            text = text.replace(value, MASK)
    return text


def redact(plan: Plan, text: str) -> str:
    return masked(text, plan.secrets)
