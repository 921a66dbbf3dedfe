"""Waiting until models are down."""

from __future__ import annotations

import asyncio

from modelswap.core.models.lifecycle import Phase
from modelswap.core.spec import ModelId
from modelswap.fleet.departures import Departures

A, B = ModelId("a"), ModelId("b")


class Phases(dict[ModelId, Phase]):
    """Phases of models, with the departures that hear of each change."""

    def __init__(self, **phases: Phase) -> None:
        super().__init__({ModelId(name): phase for name, phase in phases.items()})
        self.departures = Departures(self.__getitem__)

    def change(self, model: ModelId, phase: Phase) -> None:
        self[model] = phase
        self.departures.on_phase(model, phase)


async def test_each_has_to_be_down_once() -> None:
    """One that starts again at once counts as down; a stuck one does, too."""
    phases = Phases(a=Phase.READY, b=Phase.STOPPING)
    waiting = asyncio.ensure_future(phases.departures.wait([A, B]))  # noqa: TID251 - one task
    await asyncio.sleep(0)
    phases.change(A, Phase.STOPPED)
    phases.change(A, Phase.STARTING)
    await asyncio.sleep(0)
    assert not waiting.done()
    phases.change(B, Phase.STUCK)
    await waiting


async def test_nothing_to_wait_for() -> None:
    """Models that are down are not waited for."""
    await Phases(a=Phase.STOPPED).departures.wait([A])


def test_callbacks() -> None:
    """A callback hears of every change."""
    phases, heard = Phases(a=Phase.READY), list[tuple[ModelId, Phase]]()
    phases.departures.add(lambda model, phase: heard.append((model, phase)))
    phases.change(A, Phase.STOPPING)
    phases.change(A, Phase.STOPPED)
    assert heard == [(A, Phase.STOPPING), (A, Phase.STOPPED)]
