"""Amounts of memory in words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from modelswap.units import Bytes

_GIB: Final = 1 << 30
"""Bytes."""


def gib(size: Bytes) -> str:
    """Return `1.5 GiB`; below 10 GiB with two places, so that tiny models do not need 0.0 GiB."""
    value = size / _GIB
    return f"{value:.2f} GiB" if value < 10 else f"{value:.1f} GiB"  # noqa: PLR2004 - as said
