"""How long models take to load, estimated from their last load."""

from __future__ import annotations

from typing import TYPE_CHECKING

from modelswap.units import Seconds

from .lifecycle import Phase

if TYPE_CHECKING:
    from modelswap.core.spec import ModelId


class LoadTimes:
    def __init__(self) -> None:
        self._began: dict[ModelId, Seconds] = {}
        self._took: dict[ModelId, Seconds] = {}

    def on_phase(self, model: ModelId, phase: Phase, now: Seconds) -> None:
        """Learn from a change of a model's phase."""
        if phase is Phase.STARTING:
            self._began[model] = now
            return
        began = self._began.pop(model, None)
        if began is not None and phase is Phase.READY:
            self._took[model] = Seconds(now - began)

    def left(self, model: ModelId, now: Seconds) -> Seconds | None:
        """Estimate the time until a model is ready; `None`: it was never loaded."""
        took = self._took.get(model)
        began = self._began.get(model)
        if took is None or began is None:
            return took
        return Seconds(max(0.0, took - (now - began)))
