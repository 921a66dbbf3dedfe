"""A launcher that does what the test says, and what a fleet under test speaks with."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from modelswap.launch.protocol import NO_CAPABILITIES, Exit

if TYPE_CHECKING:
    from modelswap.core.commands import Fail, SwapDecided
    from modelswap.core.models.lifecycle import Phase
    from modelswap.core.spec import ModelId, ServerId
    from modelswap.fleet import ModelServer
    from modelswap.launch.protocol import Capability, LaunchSpec, Listener, RunningServer

ADDRESS = "http://127.0.0.1:9"


class HandLauncher:
    """Starts nothing; servers are ready at once and exit when the test says so."""

    capabilities: frozenset[Capability] = NO_CAPABILITIES

    def __init__(self, listener: Listener) -> None:
        self.listener = listener
        self.orders: list[str] = []
        self.specs: list[LaunchSpec] = []

    async def open(self) -> None: ...
    async def close(self, *, stop_servers: bool) -> None: ...
    async def discard(self, *servers: ServerId) -> None: ...

    def found_servers(self) -> list[RunningServer]:
        return []

    def adopt(self, spec: LaunchSpec, *, as_it_is: bool = False) -> str | None:
        del spec, as_it_is
        return None

    def start(self, spec: LaunchSpec) -> None:
        self.orders.append(f"start {spec.server}")
        self.specs.append(spec)
        asyncio.get_running_loop().call_soon(self.listener.on_ready, spec.server, ADDRESS)

    def terminate(self, server: ServerId) -> None:
        self.orders.append(f"terminate {server}")

    def kill(self, server: ServerId) -> None:
        self.orders.append(f"kill {server}")

    def last_observation(self, server: ServerId) -> None: ...

    def exit(self, server: ServerId) -> None:
        self.listener.on_exited(server, Exit(code=0, reason="exited with code 0"))


class Notes:
    """An observer that keeps what it is told."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def on_phase(self, model: ModelId, phase: Phase, why: str) -> None: ...
    def on_swap(self, decided: SwapDecided) -> None: ...
    def on_output(self, model: ModelId, data: bytes) -> None: ...

    def on_note(self, level: str, text: str) -> None:
        self.notes.append(f"{level}: {text}")


class Asker:
    """A waiter that remembers its answer, or breaks over it."""

    def __init__(self, *, breaks: bool = False) -> None:
        self.breaks = breaks
        self.answers: list[str] = []
        self.refused: Fail | None = None

    def on_granted(self, server: ModelServer) -> None:
        if self.breaks:
            raise ZeroDivisionError
        self.answers.append(f"granted {server.model.id}")

    def on_refused(self, refused: Fail) -> None:
        self.refused = refused
        self.answers.append(str(refused.reason))

    def on_position(self, position: int) -> None: ...
