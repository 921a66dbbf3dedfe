"""A machine on virtual time: servers that load, serve in slots and stop, and requests that wait for them.

Guarantees: every scheduler has the same machine. It refuses what no machine can do: more models than its
memory holds, a stop under a running request, a request on a model that is not loaded.

Units: seconds of virtual time, bytes.
"""

from __future__ import annotations

import heapq
import itertools
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


@dataclass(frozen=True)
class Model:
    """What one model costs; the same for every scheduler."""

    name: str
    size: int
    """Bytes of memory while it loads, runs and stops."""
    start: float
    """From the start of its process until it is ready."""
    stop: float = 0.5
    """From the request to exit until its memory is free: "VRAM settle after kill: typical 0.5-1.5 s"
    (`field.md` §9)."""
    slots: int = 4
    """Requests that the server runs at once; more wait inside it. llama-server's default."""


@dataclass(frozen=True)
class Step:
    """One request of a client, and what the client does when it has ended."""

    model: str
    work: float
    """Seconds in a slot."""
    think: float = 0.0
    """From the end of the step before it, or from the trace's begin, until it is sent."""
    client: str = ""
    background: bool = False
    then: tuple[Step, ...] = ()


@dataclass(frozen=True)
class Trace:
    """Everything that clients do, whatever the scheduler; times depend on its answers."""

    name: str
    models: Mapping[str, Model]
    memory: int
    steps: tuple[Step, ...]


@dataclass(eq=False)
class Request:
    step: Step
    arrived: float
    began: float | None = None

    @property
    def model(self) -> str:
        return self.step.model


@dataclass
class Tally:
    """What became of a trace under one scheduler."""

    waits: list[float] = field(default_factory=list)
    loads: int = 0
    seconds: float = 0.0
    swapping: float = 0.0
    """Seconds in which a model was loading or stopping."""
    longest_drain: float = 0.0
    """The longest time that one request ran: what a swap may have to wait for."""

    @property
    def total(self) -> float:
        return sum(self.waits)

    @property
    def longest(self) -> float:
        return max(self.waits, default=0.0)

    @property
    def share(self) -> float:
        return self.swapping / self.seconds if self.seconds else 0.0


class Scheduler(Protocol):
    """Decides which model is loaded when; the machine does it."""

    def on_request(self, request: Request) -> None: ...

    def on_end(self, request: Request) -> None: ...

    def on_loaded(self, model: str) -> None: ...

    def on_unloaded(self, model: str) -> None: ...


@dataclass
class _Server:
    model: Model
    is_ready: bool = False
    is_stopping: bool = False
    running: int = 0
    waiting: deque[Request] = field(default_factory=deque[Request])


class Machine:
    def __init__(self, trace: Trace, scheduler: Callable[[Machine], Scheduler]) -> None:
        self.trace = trace
        self.now = 0.0
        self.tally = Tally()
        self._agenda: list[tuple[float, int, Callable[[], None]]] = []
        self._serial = itertools.count()
        self._servers: dict[str, _Server] = {}
        self._changing = 0
        self._changing_since = 0.0
        self._left = 0
        self._scheduler = scheduler(self)

    def replay(self) -> Tally:
        """Play the trace to its end."""
        for step in self.trace.steps:
            self._send_later(step)
        while self._left:
            if not self._agenda:
                raise AssertionError(f"{self._left} requests are never served")
            when, _, what = heapq.heappop(self._agenda)
            self.now = max(self.now, when)
            what()
        self.tally.seconds = self.now
        return self.tally

    def at(self, when: float, what: Callable[[], None]) -> None:
        heapq.heappush(self._agenda, (when, next(self._serial), what))

    # Orders of the scheduler

    def load(self, model: str) -> None:
        if model in self._servers:
            raise AssertionError(f"{model} is loaded twice")
        server = self._servers[model] = _Server(self.trace.models[model])
        held = sum(s.model.size for s in self._servers.values())
        if held > self.trace.memory:
            raise AssertionError(f"out of memory: {sorted(self._servers)}")
        self.tally.loads += 1
        self._change(+1)

        def ready() -> None:
            server.is_ready = True
            self._change(-1)
            self._scheduler.on_loaded(model)

        self.at(self.now + server.model.start, ready)

    def unload(self, model: str) -> None:
        server = self._servers[model]
        if not server.is_ready or server.is_stopping or self.in_use(model):
            raise AssertionError(f"{model} cannot be stopped now")
        server.is_stopping = True
        self._change(+1)

        def gone() -> None:
            del self._servers[model]
            self._change(-1)
            self._scheduler.on_unloaded(model)

        self.at(self.now + server.model.stop, gone)

    def serve(self, request: Request) -> None:
        server = self._servers[request.model]
        if not server.is_ready or server.is_stopping:
            raise AssertionError(f"{request.model} cannot serve now")
        server.waiting.append(request)
        self.tally.waits.append(self.now - request.arrived)
        self._fill(server)

    # Questions of the scheduler

    def is_ready(self, model: str) -> bool:
        server = self._servers.get(model)
        return server is not None and server.is_ready and not server.is_stopping

    def in_use(self, model: str) -> int:
        """Return how many requests the model's server runs or holds back."""
        server = self._servers[model]
        return server.running + len(server.waiting)

    def loaded(self) -> list[str]:
        """Return every model that holds memory."""
        return list(self._servers)

    # Inside

    def _send_later(self, step: Step) -> None:
        self._left += 1

        def send() -> None:
            self._scheduler.on_request(Request(step, self.now))

        self.at(self.now + step.think, send)

    def _fill(self, server: _Server) -> None:
        while server.waiting and server.running < server.model.slots:
            request = server.waiting.popleft()
            request.began = self.now
            self.tally.longest_drain = max(self.tally.longest_drain, request.step.work)
            server.running += 1
            self.at(self.now + request.step.work, lambda r=request: self._end(server, r))  # type: ignore[misc]  # bound now

    def _end(self, server: _Server, request: Request) -> None:
        server.running -= 1
        self._left -= 1
        self._fill(server)
        for step in request.step.then:
            self._send_later(step)
        self._scheduler.on_end(request)

    def _change(self, by: int) -> None:
        if not self._changing:
            self._changing_since = self.now
        self._changing += by
        if not self._changing:
            self.tally.swapping += self.now - self._changing_since
