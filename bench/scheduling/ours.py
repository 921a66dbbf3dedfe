"""The program's own controller on the machine of the bench."""

from __future__ import annotations

from typing import TYPE_CHECKING

from modelswap.config.plan import MemoryRouting
from modelswap.core.commands import (
    ClearTimer,
    Fail,
    Grant,
    LeaseRequest,
    SetTimer,
    Spawn,
    Terminate,
    TimerKey,
)
from modelswap.core.controller import Controller
from modelswap.core.models.lifecycle import Event
from modelswap.core.placement.memory.memory_policy import memory_policy
from modelswap.core.placement.policy import RAM, DevicePool, Facts, Need, NeedSource
from modelswap.core.spec import ClientId, ModelId, ModelSpec, RequestId
from modelswap.units import Bytes, Seconds

if TYPE_CHECKING:
    from collections.abc import Iterable

    from bench.scheduling.machine import Machine, Request, Trace
    from modelswap.core.commands import Command


def _facts(trace: Trace) -> Facts:
    """One device of the trace's size, and what each model needs of it."""
    needs = {
        ModelId(name): Need(fixed={RAM: Bytes(model.size)}, source=NeedSource.DECLARED)
        for name, model in trace.models.items()
    }
    pool = DevicePool(id=RAM, total=Bytes(trace.memory))
    return Facts(epoch=1, pools=(pool,), needs=needs)


class Modelswap:
    """Executes the controller's commands."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        trace = machine.trace
        specs = {ModelId(m): ModelSpec(id=ModelId(m)) for m in trace.models}
        policy = memory_policy(MemoryRouting())
        self._controller = Controller(specs, policy, max_wait=None, queue_limit=1 << 20)
        self._controller.on_facts(_facts(trace), Seconds(0.0))
        self._requests: dict[RequestId, Request] = {}
        self._ids = 0
        self._timers: dict[TimerKey, Seconds] = {}

    def on_request(self, request: Request) -> None:
        model, step = ModelId(request.model), request.step
        if not step.background and self._controller.serve_now(model):
            self._machine.serve(request)
            return
        self._ids += 1
        id_ = RequestId(self._ids)
        self._requests[id_] = request
        lease = LeaseRequest(model, ClientId(step.client), background=step.background)
        self._execute(self._controller.on_arrived(id_, lease, self._now()))

    def on_end(self, request: Request) -> None:
        self._execute(self._controller.on_finished(ModelId(request.model), self._now()))

    def on_loaded(self, model: str) -> None:
        self._execute(self._controller.on_event(ModelId(model), Event.PROBE_PASSED, self._now()))

    def on_unloaded(self, model: str) -> None:
        self._execute(self._controller.on_event(ModelId(model), Event.EXITED, self._now()))

    def _now(self) -> Seconds:
        return Seconds(self._machine.now)

    def _execute(self, commands: Iterable[Command]) -> None:
        for command in commands:
            match command:
                case Grant(id=id_):
                    self._machine.serve(self._requests.pop(id_))
                case Fail():
                    raise AssertionError(f"refused: {command}")
                case Spawn(model=model):
                    self._machine.load(model)
                case Terminate(model=model):
                    self._machine.unload(model)
                case SetTimer(key=key, at=at):
                    self._set(key, at)
                case ClearTimer(key=key):
                    del self._timers[key]
                case _:
                    pass

    def _set(self, key: TimerKey, at: Seconds) -> None:
        self._timers[key] = at

        def fire() -> None:
            if self._timers.get(key) == at:
                del self._timers[key]
                self._execute(self._controller.on_timer(key, self._now()))

        self._machine.at(at, fire)
