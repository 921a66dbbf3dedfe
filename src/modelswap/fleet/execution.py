"""Executes the commands of the controller.

Guarantees: the commands of a decision are executed before `run` returns, in order, also when one command
leads to the next decision. A bug ends one request or model, not what follows.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, assert_never

from modelswap.core.commands import (
    ClearTimer,
    Fail,
    Grant,
    Kill,
    PhaseChanged,
    Position,
    SetTimer,
    Spawn,
    SwapDecided,
    Terminate,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from modelswap.core.commands import Command
    from modelswap.core.spec import ModelId, RequestId

    from .memory.fleet_memory import FleetMemory
    from .running_servers import RunningServers
    from .timers import Timers
    from .waiting import Ticket


class Execution:
    def __init__(
        self,
        *,
        tickets: dict[RequestId, Ticket],
        timers: Timers,
        running: RunningServers,
        memory: FleetMemory,
        release: Callable[[ModelId], None],
        tell: Callable[[PhaseChanged | SwapDecided], None],
        on_bug: Callable[[Exception], None],
    ) -> None:
        self._tickets = tickets
        self._timers = timers
        self._running = running
        self._memory = memory
        self._release = release
        self._tell = tell
        self._on_bug = on_bug
        self._commands: deque[Command] = deque()
        self._untold: deque[PhaseChanged | SwapDecided] = deque()
        """What is still to be told."""
        self._is_running = False

    def run(self, commands: Iterable[Command]) -> None:
        """Execute in order; but phases are told when nothing waits for the telling: log and events take time."""
        self._commands.extend(commands)
        if self._is_running:
            return
        self._is_running = True
        try:
            while self._commands or self._untold:
                try:
                    self._next()
                except Exception as bug:  # noqa: BLE001 - ends one request or model, not what follows
                    self._on_bug(bug)
        finally:
            self._is_running = False

    def _next(self) -> None:
        is_answer_next = bool(self._commands) and isinstance(self._commands[0], Fail)
        if self._untold and (is_answer_next or not self._commands):
            self._tell(self._untold.popleft())  # the reason of a failure stands above it in the log
        else:
            self._execute(self._commands.popleft())

    def _execute(self, command: Command) -> None:  # noqa: C901, PLR0912 - one arm per command
        match command:
            case Grant(id=id_, model=model):
                ticket = self._tickets.pop(id_, None)
                if ticket is None:  # it was cancelled while the grant was on its way
                    self._release(model)
                else:
                    ticket.waiter.on_granted(self._running.by_model[model])
            case Fail(id=id_):
                ticket = self._tickets.pop(id_, None)
                if ticket is not None:
                    ticket.waiter.on_refused(command)
            case Position(id=id_, position=position):
                ticket = self._tickets.get(id_)
                if ticket is not None:
                    ticket.waiter.on_position(position)
            case Spawn(model=model, placement=placement):
                self._running.start(model, placement)
                self._memory.on_spawn(model, placement)
            case Terminate(model=model):
                self._running.terminate(model)
            case Kill(model=model):
                self._running.kill(model)
            case SetTimer(key=key, at=at):
                self._timers.set(key, at)
            case ClearTimer(key=key):
                self._timers.clear(key)
            case SwapDecided():
                self._untold.append(command)
            case PhaseChanged(model=model, phase=phase):
                self._memory.on_phase(model, phase)
                self._untold.append(command)
            case _ as never:
                assert_never(never)
