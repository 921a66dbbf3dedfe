"""Who hears of swaps, phases, output and notes, and how a bug there is kept from the fleet."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, ParamSpec, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

    from modelswap.core.commands import SwapDecided
    from modelswap.core.models.lifecycle import Phase
    from modelswap.core.spec import ModelId

P = ParamSpec("P")


class FleetObserver(Protocol):
    """Hears what happens in the fleet; called on the loop, must be quick."""

    def on_phase(self, model: ModelId, phase: Phase, why: str) -> None: ...
    def on_swap(self, decided: SwapDecided) -> None: ...
    def on_output(self, model: ModelId, data: bytes) -> None: ...
    def on_note(self, level: str, text: str) -> None: ...


class SafeObserver:
    """Passes everything on to another observer; what that one raises becomes a note."""

    def __init__(self, observer: FleetObserver) -> None:
        self._observer = observer

    def on_phase(self, model: ModelId, phase: Phase, why: str) -> None:
        self._call(self._observer.on_phase, model, phase, why)

    def on_swap(self, decided: SwapDecided) -> None:
        self._call(self._observer.on_swap, decided)

    def on_output(self, model: ModelId, data: bytes) -> None:
        self._call(self._observer.on_output, model, data)

    def on_note(self, level: str, text: str) -> None:
        with suppress(Exception):  # a note that fails cannot be noted either
            self._observer.on_note(level, text)

    def on_bug(self, bug: Exception) -> None:
        self.on_note("error", f"internal error, please report: {bug!r}")

    def _call(self, call: Callable[P, None], *args: P.args, **named: P.kwargs) -> None:
        try:
            call(*args, **named)
        except Exception as bug:  # noqa: BLE001 - a border: the fleet goes on
            self.on_bug(bug)
