"""The program's own controller on the machine of the bench."""

from __future__ import annotations

from typing import TYPE_CHECKING

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
from modelswap.core.placement.policy import NO_EVICTIONS, NeverFits, PlacementPlan, Question, stop
from modelswap.core.spec import ClientId, ModelId, ModelSpec, RequestId
from modelswap.units import Seconds

if TYPE_CHECKING:
    from collections.abc import Iterable

    from bench.scheduling.machine import Machine, Request, Trace
    from modelswap.core.commands import Command
    from modelswap.core.placement.policy import Policy


import os, itertools
from math import exp

POL = os.environ.get("POL", "cost")
H = float(os.environ.get("HOR", "60"))
WQ = float(os.environ.get("WQ", "1"))


def capacity(trace: Trace) -> Policy:
    """Evict the least recently used until the target fits."""

    def lru(question: Question) -> PlacementPlan | NeverFits:
        held = sum(trace.models[m].size for m in {*question.live, question.target})
        gone: set[ModelId] = set()
        for model in question.live:
            if held <= trace.memory:
                break
            if model != question.target:
                gone.add(model)
                held -= trace.models[model].size
        return stop(frozenset(gone)) if gone else NO_EVICTIONS

    def cost(question):
        others = [m for m in question.live if m != question.target]
        over = (
            sum(trace.models[m].size for m in others)
            + trace.models[question.target].size
            - trace.memory
        )
        if over <= 0:
            return NO_EVICTIONS
        costs = {}
        for m in others:
            u = question.usage(m)
            r = question.facts.reload.get(m, 2 + trace.models[m].size / 2**30)
            if POL == "rate":
                p = 1 - exp(-H * u.rate)
            elif POL == "purerate":
                p = u.rate
            else:
                p = 1 - exp(-H * (u.rate + 1 / (u.idle + 10)) / 2)
            costs[m] = max(1e-6, r * (p + WQ * u.waiting)) + (1e6 if u.in_flight else 0)
        best = None
        for n in range(1, len(others) + 1):
            for c in itertools.combinations(others, n):
                if sum(trace.models[m].size for m in c) >= over:
                    k = sum(costs[m] for m in c)
                    if best is None or k < best[0]:
                        best = (k, c)
        return stop(frozenset(best[1]))

    return lru if POL == "lru" else cost


class Modelswap:
    """Executes the controller's commands."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        trace = machine.trace
        specs = {ModelId(m): ModelSpec(id=ModelId(m)) for m in trace.models}
        self._controller = Controller(specs, capacity(trace), max_wait=None, queue_limit=1 << 20)
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
