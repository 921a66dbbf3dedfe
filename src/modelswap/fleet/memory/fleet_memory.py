"""The fleet's side of memory: a watch where decisions need facts or somebody asks, else nothing.

Guarantees: a configuration whose policy needs no facts has no watch, and so no reading, thread or import.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final, NamedTuple

from modelswap.core.failure import Cause

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path

    from modelswap.config.plan import Plan
    from modelswap.core.commands import Command
    from modelswap.core.controller import Controller
    from modelswap.core.failure import Failure
    from modelswap.core.models.lifecycle import Phase
    from modelswap.core.placement.policy import Facts, Placement
    from modelswap.core.spec import ModelId
    from modelswap.devices.memory import DeviceMemory
    from modelswap.fleet.model_server import ModelServer
    from modelswap.fleet.observers import SafeObserver
    from modelswap.units import Seconds

    from .readings.reading import MemoryReader
    from .state import MemoryState
    from .watch import MemoryWatch


class MemorySources(NamedTuple):
    """Where readings and learned needs come from."""

    reader: Callable[[], MemoryReader] | None = None
    """`None`: the devices of this machine."""
    store: Path | None = None
    """The file of learned needs; `None`: they are forgotten at the end."""


THIS_MACHINE: Final = MemorySources()


def nothing_known() -> MemoryState:
    from .state import NO_MEMORY_STATE  # noqa: PLC0415 - for those who ask

    return NO_MEMORY_STATE


class FleetHost:
    """The `Host` of the watch."""

    def __init__(
        self,
        controller: Controller,
        servers: Mapping[ModelId, ModelServer],
        execute: Callable[[Sequence[Command]], None],
        now: Callable[[], Seconds],
        observer: SafeObserver,
    ) -> None:
        self._controller = controller
        self._servers = servers
        self._execute = execute
        self._now = now
        self._observer = observer

    def servers(self) -> dict[ModelId, tuple[Phase, int | None]]:
        """Return phase and pid of each model that may have a process."""
        found: dict[ModelId, tuple[Phase, int | None]] = {}
        for model in self._controller.alive():
            server = self._servers.get(model)
            found[model] = self._controller.phase(model), None if server is None else server.pid
        return found

    def is_room_waited_for(self) -> bool:
        """Say whether a queued request waits for room."""
        return self._controller.is_room_waited_for

    def in_flight(self, model: ModelId) -> int:
        return self._controller.in_flight(model)

    def used(self, model: ModelId) -> Seconds:
        """Return when the model became ready, or its last request ended."""
        return self._controller.state(model).used

    def on_facts(self, facts: Facts) -> None:
        self._execute(self._controller.on_facts(facts, self._now()))

    def on_note(self, level: str, text: str) -> None:
        self._observer.on_note(level, text)


class FleetMemory:
    """What the fleet tells of its models, and what it asks about memory."""

    def __init__(self, plan: Plan, sources: MemorySources, host: FleetHost) -> None:
        self._plan = plan
        self._sources = sources
        self._host = host
        self._watch: MemoryWatch | None = None
        self.unserved: set[ModelId] = set()
        """Ready models of which no request has ended yet, where that is to be told."""

    def open(self) -> None:
        """Begin to watch, if the policy in force needs facts."""
        if self._plan.memory is not None:
            self._watched().open()

    def _watched(self) -> MemoryWatch:
        if self._watch is None:
            from .making import make_watch  # noqa: PLC0415 - files made for llama-swap need no facts

            reader, store = self._sources
            self._watch = make_watch(self._plan, reader, store, self._host, self.unserved)
        return self._watch

    def prepare(self, models: Sequence[ModelId], then: Callable[[], None]) -> None:
        """Call *then* when loads of the models can be decided: now, or in a moment."""
        if self._watch is None:
            then()
        else:
            self._watch.prepare(models, then)

    def settle(self) -> None:
        """Have everything decided now that waits for a reading, and read no more until asked."""
        if self._watch is not None:
            self._watch.settle()

    def on_spawn(self, model: ModelId, placement: Placement) -> None:
        if self._watch is not None:
            self._watch.on_spawn(model, placement)

    def on_phase(self, model: ModelId, phase: Phase) -> None:
        if self._watch is not None:
            self._watch.on_phase(model, phase)

    def on_served(self, model: ModelId) -> None:
        """Learn that the first request of a model that is `unserved` has ended."""
        if self._watch is not None:
            self._watch.on_served(model)

    def explained(self, model: ModelId, why: Failure) -> Failure:
        """Learn from a start that failed; return the reason, with need and capacity where those count."""
        if self._watch is None or self._plan.memory is None or why.cause is not Cause.OUT_OF_MEMORY:
            return why
        needed = self._watch.on_out_of_memory(model, why)
        if not needed:
            return why
        text, brief = f"{why.text}; it needs {needed}", f"{why.brief}; it needs {needed}"
        return replace(why, text=text, brief=brief)

    def replace(self, plan: Plan) -> None:
        """Go on with another configuration."""
        self._plan = plan
        if self._watch is not None:
            self._watch.replace(plan)
        else:
            self.open()

    async def close(self) -> None:
        if self._watch is not None:
            await self._watch.close()

    # Questions

    def devices(self) -> Sequence[DeviceMemory]:
        """Return the devices as they were read last; none when nobody asked for them."""
        return () if self._watch is None else self._watch.devices

    def state(self) -> MemoryState:
        """Return what is known now, without reading."""
        if self._watch is not None:
            return self._watch.state()
        return nothing_known()

    async def read(self, models: Iterable[ModelId] = ()) -> MemoryState:
        """Read the devices, and predict what the models need; return what is known a moment later."""
        return await self._watched().refresh(models)
