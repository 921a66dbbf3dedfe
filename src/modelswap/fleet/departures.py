"""Waits until models are down once, or SIGKILL does not end them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from modelswap.core.models.lifecycle import Phase

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from modelswap.core.spec import ModelId

DOWN: Final = frozenset({Phase.STOPPED, Phase.STUCK})


class Departures:
    def __init__(self, phase: Callable[[ModelId], Phase]) -> None:
        self._phase = phase
        self._callbacks: set[Callable[[ModelId, Phase], None]] = set()

    def add(self, callback: Callable[[ModelId, Phase], None]) -> None:
        self._callbacks.add(callback)

    def on_phase(self, model: ModelId, phase: Phase) -> None:
        for callback in tuple(self._callbacks):
            callback(model, phase)

    async def wait(self, models: Iterable[ModelId]) -> None:
        """Return when each of the models was down once, even if it starts again at once."""
        left = {model for model in models if self._phase(model) not in DOWN}
        all_down = asyncio.Event()

        def on_phase(model: ModelId, phase: Phase) -> None:
            if phase in DOWN:
                left.discard(model)
                if not left:
                    all_down.set()

        self._callbacks.add(on_phase)
        try:
            if left:
                await all_down.wait()
        finally:
            self._callbacks.discard(on_phase)
