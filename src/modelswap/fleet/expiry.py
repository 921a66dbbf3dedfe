"""How long models stay loaded without use."""

from __future__ import annotations

from typing import TYPE_CHECKING

from modelswap.core.models.lifecycle import Phase
from modelswap.core.models.state import NEVER
from modelswap.units import Seconds

if TYPE_CHECKING:
    from modelswap.core.models.state import ModelState


def expires_in(state: ModelState, now: Seconds) -> Seconds | None:
    """Return after how long the model is unloaded unless it is used; `None`: it is used now, or stays."""
    if state.phase is not Phase.READY or state.in_flight or state.expires == NEVER:
        return None
    return Seconds(max(0.0, state.expires - now))


def kept_for(state: ModelState, now: Seconds) -> Seconds | None:
    """Return for how long a ready model would still be kept; `None`: requests have no say in that."""
    return None if state.spec.keep_alive is None else Seconds(max(0.0, state.expires - now))
