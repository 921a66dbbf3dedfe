"""Waiting until models are gone.

Guarantees: a model counts once it was gone, even when the next request starts it again at once.
Does not: wait for a process that not even SIGKILL ends.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from modelswap.core.models.lifecycle import Phase

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from modelswap.core.spec import ModelId

GONE: Final = frozenset({Phase.STOPPED, Phase.STUCK})


class Departures:
    def __init__(self, phase: Callable[[ModelId], Phase]) -> None:
        self._phase = phase
        self._watchers: set[Callable[[ModelId, Phase], None]] = set()

    def add(self, watch: Callable[[ModelId, Phase], None]) -> None:
        """Have every change of phase told, for ever."""
        self._watchers.add(watch)

    def on_phase(self, model: ModelId, phase: Phase) -> None:
        for watch in tuple(self._watchers):
            watch(model, phase)

    async def wait(self, models: Iterable[ModelId]) -> None:
        """Return when each of the models was gone once."""
        left = {model for model in models if self._phase(model) not in GONE}
        gone = asyncio.Event()

        def watch(model: ModelId, phase: Phase) -> None:
            if phase in GONE:
                left.discard(model)
                if not left:
                    gone.set()

        self._watchers.add(watch)
        try:
            if left:
                await gone.wait()
        finally:
            self._watchers.discard(watch)
