"""What the scheduler decides: answers to requests, starts, stops and swaps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from modelswap.core.commands import Fail, Grant
from modelswap.core.placement.policy import ANYWHERE, EvictionMode
from modelswap.deferred import dataclass

if TYPE_CHECKING:
    from modelswap.core.placement.policy import Placement
    from modelswap.core.spec import ModelId


@dataclass(frozen=True, slots=True)
class Start:
    model: ModelId
    why: str
    placement: Placement = ANYWHERE


@dataclass(frozen=True, slots=True)
class Stop:
    model: ModelId
    why: str
    how: EvictionMode = EvictionMode.STOP


@dataclass(slots=True, eq=False)
class PendingSwap:
    """A swap in progress, from its decision until the model is ready."""

    awaiting: set[ModelId]
    """The models whose exit it waits for."""
    evicted: tuple[ModelId, ...] = ()
    """The ready models that it evicts, the most recently used first."""
    placement: Placement = ANYWHERE


Decision = Grant | Fail | Start | Stop

NOTHING: Final[tuple[()]] = ()
