"""Take secrets out of a text before anyone sees it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .plan import Plan, Secret

MASK: Final = "***"
_SHORTEST: Final = 4
SHORTEST_KEY: Final = 3
"""To mask a shorter key would be to mask ordinary words; it is no secret anyway."""
_LONGEST_NUMBER: Final = 5
_COMMON: Final = frozenset({"true", "false", "null", "none", "localhost", "127.0.0.1"})


def is_secret(value: str) -> bool:
    """Whether a value from the environment could be one: not a port, a switch or a few letters."""
    if len(value) < _SHORTEST or value.lower() in _COMMON:
        return False
    return not (value.isdigit() and len(value) <= _LONGEST_NUMBER)


def masked(text: str, secrets: Iterable[Secret]) -> str:
    """Replace the longest first, so that no part of a longer one is left."""
    for value in sorted((one.reveal() for one in secrets), key=len, reverse=True):
        if len(value) >= SHORTEST_KEY and value in text:
            text = text.replace(value, MASK)
    return text


def redact(plan: Plan, text: str) -> str:
    """The text without any secret of the plan."""
    return masked(text, plan.secrets)
