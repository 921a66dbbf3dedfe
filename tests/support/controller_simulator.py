"""The controller on virtual time, with fake servers and clients.

Servers are slow, ignore a request to exit, survive a kill for a while, or crash, as a test wants
them. After each step the simulator asserts every guarantee of the controller.
"""

from __future__ import annotations

import heapq
import itertools
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from modelswap.core.commands import (
    ClearTimer,
    Command,
    Fail,
    Grant,
    Kill,
    LeaseRequest,
    PhaseChanged,
    Position,
    Reason,
    SetTimer,
    Spawn,
    Terminate,
    TimerKey,
)
from modelswap.core.controller import Controller
from modelswap.core.models.lifecycle import ALIVE, Event, Phase, Timer
from modelswap.core.placement.groups import groups_policy
from modelswap.core.placement.policy import PlacementPlan, Question
from modelswap.core.scheduling.swap_costs import LEAST_BOUND, MOST_BOUND
from modelswap.core.spec import ClientId, ModelId, ModelSpec, RequestId
from modelswap.units import Seconds

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from modelswap.core.placement.policy import Policy

MAX_WAIT = Seconds(30.0)
MODELS = [ModelId(c) for c in "abcdefgh"]


@dataclass(frozen=True)
class FakeGroup:
    id: str
    members: tuple[ModelId, ...]
    swap: bool = True
    exclusive: bool = True
    persistent: bool = False


def group(
    name: str, *, swap: bool = True, exclusive: bool = True, persistent: bool = False
) -> FakeGroup:
    return FakeGroup(name, tuple(ModelId(c) for c in name), swap, exclusive, persistent)


GROUPS = (
    group("abc"),
    group("de", swap=False, exclusive=False),
    group("f", persistent=True),
    group("gh"),
)


def spec(name: str, **settings: object) -> ModelSpec:
    return replace(ModelSpec(id=ModelId(name), stop_grace=Seconds(2)), **settings)  # type: ignore[arg-type]  # typed by use


def specs(**changes: ModelSpec) -> dict[ModelId, ModelSpec]:
    """Return three plain models, some of them replaced."""
    plain = {ModelId(m): spec(m) for m in "abc"}
    return plain | {ModelId(name): changed for name, changed in changes.items()}


def waiting_in(controller: Controller) -> list[tuple[RequestId, LeaseRequest]]:
    """Return the queued requests, background loads (under negative ids) included."""
    return [(q.id, q.request) for q in controller._queue]


@dataclass(frozen=True)
class FakeServer:
    """How the next process of a model behaves."""

    starts_in: float = 0.5
    fails: bool = False
    exits_in: float | None = None
    stops_in: float | None = 0.1
    killed_in: float = 0.01


@dataclass
class OpenRequest:
    id: RequestId
    request: LeaseRequest
    arrived: float
    due: float


@dataclass
class FakeProcess:
    server: FakeServer
    is_gone: bool = False


@dataclass
class ControllerSimulator:
    """Executes the commands, and records every request."""

    specs: dict[ModelId, ModelSpec]
    max_wait: Seconds | None = MAX_WAIT
    """`None`: each request has a bound of its own, by the cost of its swap."""
    queue_limit: int = 200
    groups: tuple[FakeGroup, ...] = GROUPS
    server_of: Callable[[ModelId], FakeServer] = lambda _: FakeServer()
    seconds_of_work: Callable[[], float] = lambda: 0.2
    now: float = 0.0
    open: dict[RequestId, OpenRequest] = field(default_factory=dict)
    running: dict[RequestId, ModelId] = field(default_factory=dict)
    answers: dict[RequestId, Grant | Fail] = field(default_factory=dict)
    granted: list[RequestId] = field(default_factory=list)
    reasons: Counter[Reason] = field(default_factory=Counter)
    spawned: list[ModelId] = field(default_factory=list)
    terminated: list[ModelId] = field(default_factory=list)
    killed: list[ModelId] = field(default_factory=list)
    phase_changes: list[PhaseChanged] = field(default_factory=list)
    positions: dict[RequestId, int] = field(default_factory=dict)
    processes: dict[ModelId, FakeProcess] = field(default_factory=dict)
    timers: dict[TimerKey, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.controller = Controller(
            self.specs,
            self.policy(),
            max_wait=self.max_wait,
            queue_limit=self.queue_limit,
        )
        self._agenda: list[tuple[float, int, Callable[[], None]]] = []
        self._serial = itertools.count()
        self._ids = itertools.count()

    def policy(self) -> Policy:
        return groups_policy(self.groups)

    # Events

    def at(self, when: float, what: Callable[[], None]) -> None:
        heapq.heappush(self._agenda, (when, next(self._serial), what))

    def step(self) -> bool:
        """Run the next event; say whether there was one."""
        if not self._agenda:
            return False
        when, _, what = heapq.heappop(self._agenda)
        self.now = max(self.now, when)
        what()
        self.check()
        return True

    def run(self, seconds: float) -> None:
        end = self.now + seconds
        while self._agenda and self._agenda[0][0] <= end:
            self.step()
        self.now = end

    def clock(self) -> Seconds:
        return Seconds(self.now)

    def arrive(
        self,
        model: str,
        client: str = "c",
        *,
        background: bool = False,
        watched: bool = False,
        no_swap: bool = False,
    ) -> RequestId:
        id_ = RequestId(next(self._ids))
        name = ModelId(model)
        if not background and self.controller.serve_now(name):
            self.answers[id_] = Grant(id_, name)
            if self.timers.get(TimerKey(Timer.OVERDUE), self.now + 1) > self.now:
                self.check_overtaking(name, self.now)  # after a leap, the timer comes next
            self.begin(id_, name)
            return id_
        request = LeaseRequest(name, ClientId(client), background, watched, no_swap)
        bound = MOST_BOUND if self.max_wait is None else self.max_wait
        self.open[id_] = OpenRequest(id_, request, self.now, self.now + bound)
        self.execute(self.controller.on_arrived(id_, request, self.clock()))
        if self.max_wait is None:
            self.take_bound(id_)
        return id_

    def take_bound(self, id_: RequestId) -> None:
        """Hold the controller to the bound that it gave a request."""
        queued = self.controller._queue.find(id_)
        if queued is not None and queued.due != float("inf"):
            self.open[id_].due = queued.due
            bound = queued.due - queued.arrived
            assert LEAST_BOUND - 1e-6 <= bound <= MOST_BOUND + 1e-6

    def leave(self, id_: RequestId) -> None:
        """The client disconnects, whether its request is queued or running."""
        if self.open.pop(id_, None) is not None:
            self.execute(self.controller.on_cancelled(id_, self.clock()))
            self.positions.pop(id_, None)
        elif id_ in self.running:
            self.finish(id_)

    def begin(self, id_: RequestId, model: ModelId) -> None:
        assert self.controller.phase(model) is Phase.READY, "granted on a server that is not ready"
        self.granted.append(id_)
        self.running[id_] = model
        self.at(self.now + self.seconds_of_work(), lambda: self.finish(id_))

    def finish(self, id_: RequestId) -> None:
        model = self.running.pop(id_, None)
        if model is not None:
            self.execute(self.controller.on_finished(model, self.clock()))

    def event(self, model: str, event: Event, detail: str = "") -> None:
        self.execute(self.controller.on_event(ModelId(model), event, self.clock(), detail))

    def exit(self, model: str, detail: str = "exit code 1") -> None:
        """The process exits, and with it every request that ran on it."""
        name = ModelId(model)
        process = self.processes.pop(name, None)
        if process is None or process.is_gone:
            return
        process.is_gone = True
        self.event(name, Event.EXITED, detail)
        for id_ in [r for r, m in self.running.items() if m == name]:
            self.finish(id_)

    # Commands

    def execute(self, commands: Iterable[Command]) -> None:  # noqa: C901 - one arm per command
        for command in commands:
            match command:
                case Grant(id=id_, model=model):
                    self.check_overtaking(model, self.open[id_].arrived)
                    self.close(id_, command)
                    self.begin(id_, model)
                case Fail(id=id_, reason=reason):
                    self.close(id_, command)
                    self.reasons[reason] += 1
                case Position(id=id_, position=position):
                    assert id_ in self.open
                    self.positions[id_] = position
                case Spawn():
                    self.on_spawn(command)
                case Terminate(model=model):
                    self.terminate(model)
                case Kill(model=model):
                    self.kill(model)
                case SetTimer(key=key, at=at):
                    self.set_timer(key, at)
                case ClearTimer(key=key):
                    assert self.timers.pop(key, None) is not None, "a timer that does not run"
                case PhaseChanged():
                    self.phase_changes.append(command)
                    if command.why.startswith("making room for "):
                        target = ModelId(command.why.split()[3])
                        self.check_eviction(command.model, target)

    def close(self, id_: RequestId, answer: Grant | Fail) -> None:
        assert id_ in self.open, f"answered twice or after it was cancelled: {answer}"
        self.answers[id_] = answer
        del self.open[id_]
        self.positions.pop(id_, None)

    def on_spawn(self, command: Spawn) -> None:
        self.spawn(command.model)

    def spawn(self, model: ModelId) -> None:
        assert model not in self.processes, "two processes of one model"
        process = self.processes[model] = FakeProcess(self.server_of(model))
        self.spawned.append(model)
        server = process.server
        if server.fails:
            self.at(self.now + server.starts_in, lambda: self.end(model, process))
            return
        self.at(self.now + server.starts_in, lambda: self.probe(model, process))
        if server.exits_in is not None:
            self.at(self.now + server.exits_in, lambda: self.end(model, process))

    def probe(self, model: ModelId, process: FakeProcess) -> None:
        if self.processes.get(model) is process:
            self.event(model, Event.PROBE_PASSED)

    def end(self, model: ModelId, process: FakeProcess) -> None:
        if self.processes.get(model) is process:
            self.exit(model)

    def terminate(self, model: ModelId) -> None:
        process = self.processes[model]
        self.terminated.append(model)
        stops_in = process.server.stops_in
        if stops_in is not None:
            self.at(self.now + stops_in, lambda: self.end(model, process))

    def kill(self, model: ModelId) -> None:
        process = self.processes[model]
        self.killed.append(model)
        self.at(self.now + process.server.killed_in, lambda: self.end(model, process))

    def set_timer(self, key: TimerKey, at: Seconds) -> None:
        self.timers[key] = at
        self.at(at, lambda: self.fire(key, at))

    def fire(self, key: TimerKey, at: Seconds) -> None:
        if self.timers.get(key) == at:
            del self.timers[key]
            self.execute(self.controller.on_timer(key, self.clock()))

    # Guarantees

    def evicts(self, target: ModelId, victim: ModelId) -> bool:
        plan = self.policy()(Question(target, [victim]))
        return isinstance(plan, PlacementPlan) and victim in plan.evicted

    def check_overtaking(self, model: ModelId, arrived: float) -> None:
        """No request that came after another was overdue is served where it stands in its way."""
        for other in self.open.values():
            theirs = other.request
            never_overdue = theirs.background or theirs.no_swap
            if not never_overdue and theirs.model != model and arrived > other.due:
                assert not self.evicts(theirs.model, model), f"{other.id} is overtaken for too long"

    def check_eviction(self, victim: ModelId, target: ModelId) -> None:
        """A swap cuts no request off; one for background requests takes no model from the others."""
        assert victim not in self.running.values(), "a swap cut off a running request"
        wanted = [o.request for o in self.open.values() if o.request.model == target]
        waiting = [o for o in self.open.values() if o.arrived < self.now]
        others = [o.request for o in waiting if o.request.model == victim]
        if all(r.background for r in wanted):
            assert all(r.background for r in others), "a background request took a model away"
        self.check_served_together(victim, target)
        is_background_load = any(
            i < 0 and r.model == target for i, r in waiting_in(self.controller)
        )
        if wanted and not is_background_load:
            assert not all(r.no_swap for r in wanted), (
                "a model had to leave for a request without swap"
            )

    def check_served_together(self, victim: ModelId, target: ModelId) -> None:
        """While none is overdue, a model leaves only when none of its requests waits for it."""
        wanted, state = self.controller.state(target), self.controller.state(victim)
        kinds = {(o.request.background, o.request.no_swap) for o in self.open.values()}
        if (
            any(queued.is_overdue for queued in self.controller._queue)
            or wanted.spec.priority > state.spec.priority
            or state.phase is Phase.STARTING
            or wanted.phase is Phase.READY
            or len(kinds) > 1
            or any(self.evicts(victim, other) for other in self.processes)
        ):
            return
        waiting = [o for o in self.open.values() if o.request.model == victim]
        left = [o.id for o in waiting if not o.request.background]
        assert not left, f"{victim} left with requests that waited for it"

    def check(self) -> None:
        for model in self.specs:
            alive = self.controller.phase(model) in ALIVE
            assert alive == (model in self.processes), "a phase without its process"
            assert self.controller.in_flight(model) == sum(
                m == model for m in self.running.values()
            )
            waiting = sum(o.request.model == model for o in self.open.values())
            assert self.controller.waiting(model) >= waiting, "a waiting request was lost"
        self.check_together()

    def check_together(self) -> None:
        """Inside a swapping group, two servers never run at once."""
        for group_ in self.groups:
            if group_.swap:
                alive = [m for m in group_.members if m in self.processes]
                assert len(alive) <= 1, f"together: {alive}"


def swapping(**settings: object) -> ControllerSimulator:
    """Return a simulator in which one model runs at a time, unless told otherwise."""
    defaults: dict[str, object] = {"specs": specs(), "groups": (group("abc"),)}
    return ControllerSimulator(**(defaults | settings))  # type: ignore[arg-type]  # typed by use


def reasons(sim: ControllerSimulator, *ids: RequestId) -> list[Reason | None]:
    """Return why each was refused; `None` for those that were granted."""
    answers = [sim.answers[i] for i in ids]
    return [a.reason if isinstance(a, Fail) else None for a in answers]
