"""How long a stop and a start of a model take: as learned, else by its size.

Guarantees: nothing else assumes a time for a model that never ran here.

Units: bytes, seconds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from modelswap.units import Bytes, Seconds

from .policy import UNKNOWN_NEED, NeedSource

if TYPE_CHECKING:
    from modelswap.core.spec import ModelId

    from .policy import Facts

START: Final = Seconds(2.0)
"""A stop and a start without weights: an engine opens its device and warms up."""
READ_RATE: Final = Bytes(1 << 30)
"""Bytes per second at which weights are loaded when no load was measured: an SSD, or a slow NVMe one."""
USUAL_SIZE: Final = Bytes(3 << 30)
"""Of a model of unknown size: a small quantized one."""


def reload_time(model: ModelId, facts: Facts) -> Seconds:
    """Return the learned time, else a start and a read of what the model holds, or will."""
    known = facts.reload.get(model)
    return Seconds(START + _size(model, facts) / READ_RATE) if known is None else known


def _size(model: ModelId, facts: Facts) -> int:
    held = facts.held.get(model)
    if held:
        return sum(held.values())
    need = facts.needs.get(model, UNKNOWN_NEED)
    if need.source is NeedSource.UNKNOWN:
        return USUAL_SIZE
    return need.movable + sum(need.fixed.values())
