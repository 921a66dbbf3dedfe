"""The controller alone, without a server: CPU time of one decision."""

from __future__ import annotations

import tempfile
import time
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

from bench.growth.curve import Curve
from modelswap.config.load import load
from modelswap.core.commands import LeaseRequest
from modelswap.core.controller import Controller
from modelswap.core.models.lifecycle import Event
from modelswap.core.placement.policy import Facts
from modelswap.core.spec import ClientId, ModelId, RequestId
from modelswap.units import Seconds

if TYPE_CHECKING:
    from collections.abc import Callable

MODELS = (10, 100, 1000)
WAITING = (10, 100, 1000)
CLIENT = ClientId("bench")
MATRIX = "matrix:\n  sets:\n    all: m0 & ({others})\n"


def model_names(count_: int) -> list[str]:
    return [f"m{number}" for number in range(count_)]


def config(names: list[str], routing: str = "") -> str:
    """A configuration of models that never start."""
    rows = (f"  {name}:\n    cmd: sleep {name} --port ${{PORT}}\n" for name in names)
    return f"{routing}models:\n{''.join(rows)}"


def controller(text: str) -> Controller:
    with tempfile.TemporaryDirectory() as name:
        file = Path(name) / "config.yaml"
        file.write_text(text)
        plan = load(file).plan
    if plan is None:
        raise RuntimeError("the bench's own configuration has mistakes")
    return Controller(plan.specs, plan.policy, max_wait=Seconds(60.0), queue_limit=1 << 20)


class Clock:
    """The time that the controller is told: a millisecond passes with each question."""

    def __init__(self) -> None:
        self._ticks = count(1)
        self.ids = count(1)

    def now(self) -> Seconds:
        return Seconds(next(self._ticks) / 1000)

    def new_id(self) -> RequestId:
        return RequestId(next(self.ids))


class Swapping:
    """Two models of a controller swap: each step is one whole swap, from request to end."""

    def __init__(self, text: str, pair: tuple[str, str]) -> None:
        self.controller = controller(text)
        self.clock = Clock()
        self.running, self.next = ModelId(pair[0]), ModelId(pair[1])
        self._arrive(self.running)
        self._start(self.running)

    def _arrive(self, model: ModelId) -> None:
        request = LeaseRequest(model, CLIENT)
        self.controller.on_arrived(self.clock.new_id(), request, self.clock.now())

    def _start(self, model: ModelId) -> None:
        self.controller.on_event(model, Event.PROBE_PASSED, self.clock.now())
        self.controller.on_finished(model, self.clock.now())

    def step(self) -> None:
        self._arrive(self.next)
        self.controller.on_event(self.running, Event.EXITED, self.clock.now())
        self._start(self.next)
        self.running, self.next = self.next, self.running


def micros(work: Callable[[], None], times: int) -> float:
    """CPU time of one call, of so many."""
    began = time.process_time()
    for _ in range(times):
        work()
    return (time.process_time() - began) / times * 1e6


def by_models(rounds: int, *, quick: bool) -> list[Curve]:
    """A swap between two of many models, under each way to configure who runs with whom."""
    groups = Curve("models", "swap, decision alone, groups: CPU", "µs/swap", flat=1.25)
    matrix = Curve("models", "swap, decision alone, matrix: CPU", "µs/swap", flat=1.25)
    times = 200 if quick else 1000
    swaps: list[tuple[Curve, int, Swapping]] = []
    for size in MODELS:
        names = model_names(size)
        routing = MATRIX.format(others=" | ".join(names[1:]))
        swaps.append((groups, size, Swapping(config(names), ("m0", "m1"))))
        swaps.append((matrix, size, Swapping(config(names, routing), ("m1", names[-1]))))
    for _ in range(rounds):
        for curve, size, swapping in swaps:
            curve.add(size, micros(swapping.step, times))
    return [groups, matrix]


class Queue:
    """A busy model, and so many requests that wait for another one."""

    def __init__(self, waiting: int, *, watched: bool = False) -> None:
        self._watched = watched
        self.controller = controller(
            "models:\n  a: {cmd: 'sleep a ${PORT}'}\n  b: {cmd: 'sleep b ${PORT}', concurrencyLimit: 1}\n"
        )
        self.clock = Clock()
        self.a, self.b = ModelId("a"), ModelId("b")
        self._epochs = count(1)
        self._arrive(self.a)
        self.controller.on_event(self.a, Event.PROBE_PASSED, self.clock.now())
        self.ids = [self._arrive(self.b) for _ in range(waiting)]

    def _arrive(self, model: ModelId, *, is_new: bool = True) -> RequestId:
        id_ = self.clock.new_id()
        request = LeaseRequest(model, CLIENT, watched=self._watched)
        self.controller.on_arrived(id_, request, self.clock.now(), is_new=is_new)
        return id_

    def arrive(self) -> None:
        self.ids.append(self._arrive(self.b))

    def give_up(self) -> None:
        self.controller.on_cancelled(self.ids.pop(), self.clock.now())

    def decide(self) -> None:
        """Learn something new about the devices, so that all is decided anew."""
        self.controller.on_facts(Facts(epoch=next(self._epochs)), self.clock.now())

    def load(self) -> None:
        """Let the busy model end, and start the other: one request runs, the others wait."""
        self.controller.on_finished(self.a, self.clock.now())
        self.controller.on_event(self.a, Event.EXITED, self.clock.now())
        self.controller.on_event(self.b, Event.PROBE_PASSED, self.clock.now())

    def serve(self) -> None:
        """One request ends, the next one is served, and another comes behind the others."""
        self.controller.on_finished(self.b, self.clock.now())
        self._arrive(self.b, is_new=False)


def by_waiting(rounds: int, *, quick: bool) -> list[Curve]:
    """What one request costs while many wait."""
    arrival = Curve("waiting requests", "arrival, decision alone: CPU", "µs/request", flat=1.25)
    gone = Curve("waiting requests", "giving up, decision alone: CPU", "µs/request", flat=1.5)
    again = Curve("waiting requests", "deciding anew: CPU", "µs/decision", flat=1.25)
    served = Curve("waiting requests", "served and replaced: CPU", "µs/request", flat=1.25)
    told = Curve(
        "waiting requests", "the same, each is told its place: CPU", "µs/request", most=2000
    )
    times = 50 if quick else 200
    for _ in range(rounds * 3):
        for size in WAITING:
            queue = Queue(size)
            arrival.add(size, micros(queue.arrive, times))
            gone.add(size, micros(queue.give_up, times))
            again.add(size, micros(queue.decide, times))
            queue.load()
            served.add(size, micros(queue.serve, times))
            queue = Queue(size, watched=True)
            queue.load()
            told.add(size, micros(queue.serve, 20))
    return [arrival, gone, again, served, told]
