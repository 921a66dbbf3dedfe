"""The owner of the model servers: feeds the controller and has its commands executed.

A request holds a lease while it runs, and a ticket while it is queued.

Guarantees: the commands of a decision are executed before the call returns (`execution`).
"""

from __future__ import annotations

import asyncio
import itertools
from functools import partial
from typing import TYPE_CHECKING, cast

from modelswap.core.commands import SwapDecided
from modelswap.core.controller import Controller
from modelswap.core.failure import Cause
from modelswap.core.models.lifecycle import UP, Event, Phase
from modelswap.core.spec import RequestId

from .adoption import NOTHING_INHERITED, estate
from .departures import Departures
from .execution import Execution
from .failures import ModelFailure, ModelFailures, redacted
from .memory.fleet_memory import THIS_MACHINE, FleetHost, FleetMemory
from .model_server import running
from .observers import SafeObserver
from .pulls.gate import PullGate, no_pulls
from .running_servers import RunningServers
from .timers import Timers
from .waiting import DetachedWaiter, Ticket

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from collections.abc import Set as AbstractSet

    from modelswap.config.plan import Model, Plan
    from modelswap.core.commands import Command, LeaseRequest, PhaseChanged, TimerKey
    from modelswap.core.failure import Failure
    from modelswap.core.placement.policy import Policy
    from modelswap.core.scheduling.explanation import Explanation
    from modelswap.core.spec import ModelId
    from modelswap.launch.protocol import Launcher, Listener
    from modelswap.pull.progress import PullProgress
    from modelswap.units import Seconds

    from .adoption import Adoption, Inherited
    from .memory.fleet_memory import MemorySources
    from .model_server import ModelServer
    from .observers import FleetObserver
    from .pulls.gate import Pulls
    from .waiting import LeaseWaiter


class Fleet:
    def __init__(
        self,
        plan: Plan,
        policy: Policy,
        launcher: Callable[[Listener], Launcher],
        observer: FleetObserver,
        *,
        pulls: Pulls | None = None,
        memory: MemorySources = THIS_MACHINE,
    ) -> None:
        """`launcher` makes the launcher that reports to the given listener; without `pulls` nothing is pulled."""
        self.plan = plan
        self._observer = SafeObserver(observer)
        self._loop = asyncio.get_running_loop()
        self._now = cast("Callable[[], Seconds]", self._loop.time)
        self._controller = Controller(
            plan.specs,
            policy,
            max_wait=plan.settings.max_wait,
            queue_limit=plan.settings.limits.queue,
        )
        self.phase = self._controller.phase
        self.listed_phase = self._controller.listed_phase
        self.has_idled = self._controller.has_idled
        self.in_flight = self._controller.in_flight
        self.is_pending = self._controller.is_pending
        self._running = RunningServers(
            plan, launcher, self._observer, self._report, self._controller.phase
        )
        self._servers = self._running.by_model
        self.server = self._servers.get
        self._tickets: dict[RequestId, Ticket] = {}
        self._timers = Timers(self._loop, self._on_timer)
        self._ids = itertools.count(1)
        self._failures = ModelFailures()
        self.departures = Departures(self._controller.phase)
        self.gate = PullGate(
            plan,
            no_pulls() if pulls is None else pulls,
            self._loop,
            admit=self._admit,
            preload=self._preload,
        )
        self._memory = FleetMemory(
            plan,
            memory,
            FleetHost(self._controller, self._servers, self._execute, self._now, self._observer),
        )
        self._execution = Execution(
            tickets=self._tickets,
            timers=self._timers,
            running=self._running,
            memory=self._memory,
            release=self.release,
            tell=self._tell,
            on_bug=self._observer.on_bug,
        )
        self._running.devices = self._memory.devices
        self.memory_state = self._memory.state
        self.read_memory = self._memory.read

    # Requests

    def lease_now(self, model: ModelId) -> ModelServer | None:
        """Take a lease if the model is ready and no queued request goes first, else None."""
        return self._servers[model] if self._controller.serve_now(model) else None

    def ask(self, request: LeaseRequest, waiter: LeaseWaiter) -> Ticket:
        """Wait for a lease; the waiter may be answered before this returns."""
        ticket = Ticket(RequestId(0), request.model, waiter)
        self.enter(ticket, request)
        return ticket

    def enter(self, ticket: Ticket, request: LeaseRequest, *, is_new: bool = True) -> None:
        """Wait with this ticket, which gets a number; not *is_new*: it was queued elsewhere before."""
        ticket.id = RequestId(next(self._ids))
        if self.needs_pull(ticket.model):
            self.gate.enter(ticket, request, is_new=is_new)
        else:
            self._admit(ticket, request, is_new=is_new)

    def needs_pull(self, model: ModelId) -> bool:
        """Tell whether a model cannot be started yet; one that runs as configured has its files."""
        if not self.gate.holds(model):
            return False
        server = self._servers.get(model)
        is_same = server and server.model.identity == self.plan.models[model].identity
        return not (self.phase(model) in UP and is_same)

    def _admit(self, ticket: Ticket, request: LeaseRequest, *, is_new: bool = False) -> None:
        self._tickets[ticket.id] = ticket
        self._memory.prepare(
            (request.model,), partial(self._arrive, ticket.id, request, is_new=is_new)
        )

    def _arrive(self, id_: RequestId, request: LeaseRequest, *, is_new: bool) -> None:
        if id_ in self._tickets:  # it was not cancelled meanwhile
            self._execute(self._controller.on_arrived(id_, request, self._now(), is_new=is_new))

    def leave(self, ticket: Ticket) -> None:
        """Stop waiting, but let the pull or the load go on: its result is wanted soon."""
        if self.gate.cancel(ticket):
            return
        if self._controller.waiting(ticket.model) > 1:
            self.cancel(ticket)
        elif ticket.id in self._tickets:
            ticket.waiter = DetachedWaiter(self.release)

    def cancel(self, ticket: Ticket) -> None:
        """Stop waiting. Does nothing when the wait is over."""
        self.gate.cancel(ticket)
        if self._tickets.pop(ticket.id, None) is not None:
            self._execute(self._controller.on_cancelled(ticket.id, self._now()))

    def release(self, model: ModelId, ttl: Seconds | None = None) -> None:
        """End one lease; *ttl*: what its request asked for instead of the model's."""
        commands = self._controller.on_finished(model, self._now(), ttl)
        if model in self._memory.unserved:
            self._memory.on_served(model)
        if commands:
            self._execute(commands)

    # Questions

    @property
    def killed(self) -> int:
        """How often a server did not exit when asked, so far."""
        return self._running.killed

    def running(self) -> list[tuple[Model, Phase, int | None]]:
        """Return (model as it runs, phase, pid) of every model that is not down, by id."""
        return running(self.plan.models, self._servers, self._controller.phase)

    def load_time_left(self, model: ModelId) -> Seconds | None:
        """Estimate from its last load how long at least it takes until the model is ready."""
        state = self._controller.state(model)
        return None if state.phase is Phase.READY else state.times.start_left(self._now())

    def waiting(self, model: ModelId) -> int:
        """Return how many requests wait for a lease, also those that wait for a pull."""
        return self._controller.waiting(model) + self.gate.waiting(model)

    def pull_of(self, model: ModelId) -> PullProgress | None:
        """Return how the pull of a model's files stands, if one runs."""
        return self.gate.progress(model)

    def explain(self, model: ModelId) -> Explanation | None:
        """Say what a request that came now would lead to, and why; of one that `needs_pull`: after that."""
        return self._controller.explain(model, self._now())

    def expires_in(self, model: ModelId) -> Seconds | None:
        """Return after how long a model is unloaded if it is not used; `None`: it is used, or stays."""
        return self._controller.state(model).expires_in(self._now())

    def failure(self, model: ModelId) -> ModelFailure | None:
        """Return why a model is down, if its last pull or run ended badly and no other has begun."""
        return self.gate.failure(model) or self._failures.of(
            model, self._controller.state(model), self._now()
        )

    # Orders

    async def unload(self, models: Iterable[ModelId], *, force: bool = False) -> None:
        """Unload and return when they are down; other models are not affected."""
        wanted = list(models)
        self.begin_unload(wanted, force=force)
        await self.departures.wait(wanted)

    def begin_unload(self, models: Iterable[ModelId], *, force: bool) -> None:
        """Begin to unload; a pull of a model is cancelled, what came of it stays."""
        wanted = list(models)
        self.gate.unload(wanted)
        self._execute(self._controller.unload(wanted, self._now(), force=force))

    def preload(self, models: Sequence[ModelId]) -> None:
        """Start these one after another, as if a request had come for each."""
        self._preload(self.gate.preload(models))

    def _preload(self, models: Sequence[ModelId]) -> None:
        self._memory.prepare(
            models, lambda: self._execute(self._controller.preload(models, self._now()))
        )

    def pull(self, source: str) -> None:
        """Pull a source on a user's order, named as in `Model.pull_name`."""
        self.gate.pull(source)

    def retry_pull(self, model: ModelId) -> None:
        """Let the next request pull at once, whatever failed before."""
        self.gate.forget_failure(model)

    def stalled(self, server: ModelServer, detail: str) -> None:
        """Take note that a ready server did not answer in its time."""
        model = server.model.id
        self._observer.on_note("warn", f"<{model}> is stuck: {detail}")
        if self._servers.get(model) is server and server.model.restart_on_stall:
            self._report(model, Event.STALLED, detail)
            self.preload([model])  # up again as soon as it is down

    # Start, reload and end of the program

    async def open(self, inherited: Inherited = NOTHING_INHERITED) -> None:
        """Open the launcher, and take over the servers that it found running."""
        self._memory.open()  # the devices are read meanwhile
        await self._running.open(inherited, self._on_adopted)
        for name, count in inherited.leases.items():
            self._controller.add_in_flight(name, count - self._controller.in_flight(name))
        self._load_when_idle()

    def _on_adopted(self, adoption: Adoption) -> None:
        self._execute(
            self._controller.adopt(
                adoption.server.model.id,
                self._now(),
                in_flight=adoption.in_flight,
                is_ready=adoption.is_ready,
                is_leaving=adoption.is_leaving,
                kept_for=adoption.kept_for,
            )
        )

    def _load_when_idle(self) -> None:
        """Load the configured model whenever none was used for a while."""
        self._execute(self._controller.load_when_idle(self.plan.settings.idle_model, self._now()))

    def estate(self) -> tuple[Inherited, list[tuple[LeaseRequest, Ticket]]]:
        """Return what another front has to know to go on: leases, ready models, queued requests, pulls."""
        self._memory.settle()
        return estate(self._controller, self._tickets, self.gate, self.plan.models, self._now())

    def replace(
        self,
        plan: Plan,
        policy: Policy,
        *,
        changed: AbstractSet[ModelId],
        removed: AbstractSet[ModelId],
    ) -> None:
        """Go on with another plan; models that are the same in both run on untouched."""
        self.plan = plan
        self._running.replace(plan, changed)
        if plan.memory is not None:
            self._memory.replace(plan)
        moved = self._take_back(changed)
        self._execute(
            self._controller.replace(
                plan.specs,
                policy,
                changed=changed,
                removed=removed,
                max_wait=plan.settings.max_wait,
                queue_limit=plan.settings.limits.queue,
                now=self._now(),
            )
        )
        if plan.memory is None:
            self._memory.replace(plan)  # the policy that it ends needed its facts until here
        self.gate.replace(plan)
        for ticket, request in moved:
            self.gate.enter(ticket, request, is_new=False)
        self._load_when_idle()

    def _take_back(self, changed: AbstractSet[ModelId]) -> list[tuple[Ticket, LeaseRequest]]:
        """Take the queued requests of models out whose new files are still to be pulled."""
        moved: list[tuple[Ticket, LeaseRequest]] = []
        for number, request in self._controller.requests():
            ticket = self._tickets.get(number)
            is_missing = request.model in changed and self.plan.models[request.model].is_missing
            if ticket is not None and is_missing:
                moved.append((ticket, request))
                self.cancel(ticket)
        return moved

    def drain(self) -> None:
        """Refuse new and queued requests; running ones go on."""
        self._memory.settle()
        self.gate.drain()
        self._execute(self._controller.drain(self._now()))

    async def stop_all(self) -> None:
        """Stop every server and return when all are down."""
        self._execute(self._controller.stop_all(self._now()))
        await self.departures.wait(self._controller.alive())

    def kill_all(self) -> None:
        """Kill every server that still runs."""
        self._execute(self._controller.stop_all(self._now(), force=True))

    async def close(self, *, stop_servers: bool = True) -> None:
        """Close the launcher; the servers stop now, or run on for the keeper's grace."""
        self._timers.clear_all()
        self.gate.close()
        await self._memory.close()
        await self._running.close(stop_servers=stop_servers)

    # News

    def _report(self, model: ModelId, event: Event, detail: str | Failure) -> None:
        why = detail if isinstance(detail, str) else redacted(self.plan, detail)
        if not isinstance(why, str) and self.phase(model) is Phase.STARTING:
            why = self._memory.explained(model, why)
        self._execute(self._controller.on_event(model, event, self._now(), why))

    def _on_timer(self, key: TimerKey) -> None:
        seen = None if key.model is None else self._running.last_observation(key.model)
        told = None if seen is None else redacted(self.plan, seen)
        self._execute(self._controller.on_timer(key, self._now(), told))

    def _execute(self, commands: Iterable[Command]) -> None:
        self._execution.run(commands)

    def _tell(self, change: PhaseChanged | SwapDecided) -> None:
        if isinstance(change, SwapDecided):
            self._observer.on_swap(change)
            return
        model, phase = change.model, change.phase
        self._observer.on_phase(model, phase, change.why)
        self.departures.on_phase(model, phase)
        failed = self._controller.state(model).failure
        if failed is not None and failed.cause is Cause.FILE_NOT_FOUND:
            self.gate.look_again(model)
