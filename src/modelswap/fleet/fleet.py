"""The one owner of the model servers: feeds the room, and carries its commands out.

Everyone else holds a lease (a running request) or a ticket (a waiting one).
All of it happens in plain calls on the one event loop; whatever the room
decides is carried out before the call returns, in order, even when carrying
out one command makes the next decision.

It decides nothing: which model runs, who waits and who leaves is `core.room`'s.
"""

from __future__ import annotations

import asyncio
import itertools
from collections import deque
from typing import TYPE_CHECKING, assert_never

from modelswap.config.load import specs
from modelswap.core.controller import (
    ClearTimer,
    Controller,
    Fail,
    Grant,
    Kill,
    LeaseRequest,
    PhaseChanged,
    Position,
    SetTimer,
    Spawn,
    Terminate,
)
from modelswap.core.models.lifecycle import Event, Phase
from modelswap.core.models.load_times import LoadTimes
from modelswap.core.spec import ClientId, ModelId, RequestId
from modelswap.launch.local.ports import NoFreePortError
from modelswap.units import Seconds

from .adoption import NOTHING_INHERITED, Inherited, adoption_of
from .departures import Departures
from .failures import ModelFailure, ModelFailures, redacted, unspawned
from .ports import Ports
from .servers import (
    DetachedWaiter,
    ModelServer,
    SafeObserver,
    Ticket,
    launch_spec_of,
    running,
    startable,
)
from .timers import Timers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from collections.abc import Set as AbstractSet

    from modelswap.config.plan import Model, Plan
    from modelswap.core.controller import Command, TimerKey
    from modelswap.core.failure import Failure
    from modelswap.core.placement.policy import Policy
    from modelswap.launch.protocol import Exit, Launcher, Listener, RunningServer

    from .servers import Observer, Waiter

PORT_TRIES = 4
"""How often a model whose port a stranger took is started, each time on another port."""


class Fleet:
    def __init__(
        self,
        plan: Plan,
        policy: Policy,
        launcher: Callable[[Listener], Launcher],
        observer: Observer,
    ) -> None:
        """`launcher` makes the launcher that will tell its news to us."""
        self.plan = plan
        self._launcher = launcher(self)
        self._observer = SafeObserver(observer)
        self._loop = asyncio.get_running_loop()
        self._controller = Controller(
            specs(plan),
            policy,
            max_wait=plan.settings.max_wait,
            queue_limit=plan.settings.limits.queue,
        )
        self._servers: dict[ModelId, ModelServer] = {}
        self._ports = Ports(plan.models)
        self._tickets: dict[RequestId, Ticket] = {}
        self._timers = Timers(self._loop, self._on_timer)
        self._ids = itertools.count(1)
        self._todo: deque[Command] = deque()
        self._obeying = False
        self._load_times = LoadTimes()
        self._failures = ModelFailures()
        self.departures = Departures(self._controller.phase)
        self.killed = 0  # how often a server did not leave when asked, so far

    # Requests

    def lease_now(self, model: ModelId, client: ClientId) -> ModelServer | None:  # noqa: ARG002 - whose turn it is counts only among those who wait
        """Take a lease if the model is ready and it is this request's turn, else None."""
        return self._servers[model] if self._controller.serve_now(model) else None

    def ask(
        self,
        model: ModelId,
        waiter: Waiter,
        *,
        client: ClientId,
        background: bool = False,
        watched: bool = False,
        no_swap: bool = False,
    ) -> Ticket:
        """Wait for a lease; the waiter may be answered before this returns. See `LeaseRequest`."""
        ticket = Ticket(RequestId(0), model, waiter)
        self.enter(ticket, client=client, background=background, watched=watched, no_swap=no_swap)
        return ticket

    def enter(
        self,
        ticket: Ticket,
        *,
        client: ClientId,
        background: bool,
        watched: bool,
        no_swap: bool,
        is_new: bool = True,
    ) -> None:
        """Wait with this ticket, which gets a number; not *is_new*: it waits elsewhere already."""
        ticket.id = RequestId(next(self._ids))
        self._tickets[ticket.id] = ticket
        request = LeaseRequest(ticket.id, ticket.model, client, background, watched, no_swap)
        self._obey(self._controller.on_arrived(request, self._now(), is_new=is_new))

    def leave(self, ticket: Ticket) -> None:
        """Stop waiting, but let the load go on: its result is wanted soon."""
        if self._controller.waiting(ticket.model) > 1:
            self.cancel(ticket)
        elif ticket.id in self._tickets:
            ticket.waiter = DetachedWaiter(self.release)

    def cancel(self, ticket: Ticket) -> None:
        """Stop waiting. Does nothing when the wait is over."""
        if self._tickets.pop(ticket.id, None) is not None:
            self._obey(self._controller.on_cancelled(ticket.id, self._now()))

    def release(self, model: ModelId) -> None:
        """End one lease."""
        commands = self._controller.on_finished(model, Seconds(self._loop.time()))
        if commands:
            self._obey(commands)

    # Questions

    def phase(self, model: ModelId) -> Phase:
        return self._controller.phase(model)

    def listed_phase(self, model: ModelId) -> Phase:
        return self._controller.listed_phase(model)

    def has_idled(self, model: ModelId) -> bool:
        return self._controller.has_idled(model)

    def server(self, model: ModelId) -> ModelServer | None:
        """Return the running server of a model, whatever its phase."""
        return self._servers.get(model)

    def running(self) -> list[tuple[Model, Phase, int | None]]:
        """Return (model at its port, phase, pid) of every model that is not down, by id."""
        return running(self.plan.models, self._servers, self._controller.phase)

    def load_time_left(self, model: ModelId) -> Seconds | None:
        """Guess how long at least it takes until the model is ready, from its last load."""
        is_ready = self._controller.phase(model) is Phase.READY
        return None if is_ready else self._load_times.left(model, self._now())

    def in_flight(self, model: ModelId) -> int:
        return self._controller.in_flight(model)

    def waiting(self, model: ModelId) -> int:
        return self._controller.waiting(model)

    def failure(self, model: ModelId) -> ModelFailure | None:
        """Return why a model is down, if its last life ended badly and no other has begun."""
        return self._failures.of(self._controller, model, self._now())

    # Orders

    async def unload(self, models: Iterable[ModelId], *, force: bool = False) -> None:
        """Unload and return when they are gone. Blocks nobody else."""
        wanted = list(models)
        self.begin_unload(wanted, force=force)
        await self.departures.wait(wanted)

    def begin_unload(self, models: Iterable[ModelId], *, force: bool) -> None:
        for model in models:
            self._obey(self._controller.unload(model, self._now(), force=force))

    def preload(self, models: Sequence[ModelId]) -> None:
        """Start these in order, as if somebody had asked."""
        self._obey(self._controller.preload(models, self._now()))

    def stalled(self, server: ModelServer, detail: str) -> None:
        """Take note that a ready server did not answer in its time."""
        model = server.model.id
        self._observer.on_note("warn", f"<{model}> is stuck: {detail}")
        if self._servers.get(model) is server and server.model.restart_on_stall:
            self._report(model, Event.STALLED, detail)
            self.preload([model])  # up again as soon as it is down

    # Life of the program

    async def open(self, inherited: Inherited = NOTHING_INHERITED) -> None:
        """Connect to the keeper, and take over the servers that it still runs."""
        await self._launcher.open()
        strangers = [f.model for f in self._launcher.adopted() if not self._adopt(f, inherited)]
        if strangers:
            await self._launcher.discard(*strangers)
        for name, count in inherited.leases.items():
            self._controller.add_in_flight(name, count - self._controller.in_flight(name))

    def _adopt(self, found: RunningServer, inherited: Inherited) -> bool:
        adoption = adoption_of(self.plan, found, inherited)
        if adoption is None or not adoption.carry_out(self._launcher, self._servers, self._ports):
            return False
        name, facts = adoption.model.id, adoption.facts
        self._observer.on_note("info", f"<{name}> found running, pid {found.pid}")
        self._obey(self._controller.adopt(name, self._now(), in_flight=adoption.in_flight, **facts))
        return True

    def estate(self) -> tuple[Inherited, list[tuple[LeaseRequest, Ticket]]]:
        """Return what another front has to know to go on: leases, ready models, who waits."""
        alive = self._controller.alive()
        leases = {m: n for m in alive if (n := self._controller.in_flight(m))}
        ready = frozenset(m for m in alive if self._controller.phase(m) is Phase.READY)
        waiting = [
            (r, self._tickets[r.id]) for r in self._controller.requests() if r.id in self._tickets
        ]
        return Inherited(leases=leases, ready=ready), waiting

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
        self._ports.replace(plan.models, frozenset(plan.models.keys() - changed))
        for name, server in self._servers.items():
            if name in plan.models and name not in changed:
                server.take_over(plan.models[name])
        self._obey(
            self._controller.replace(
                specs(plan),
                policy,
                changed=changed,
                removed=removed,
                max_wait=plan.settings.max_wait,
                queue_limit=plan.settings.limits.queue,
                now=self._now(),
            )
        )

    def drain(self) -> None:
        """Refuse new requests and those that wait; running ones go on."""
        self._obey(self._controller.drain(self._now()))

    async def stop_all(self) -> None:
        """Stop every server and return when all are gone."""
        self._obey(self._controller.stop_all(self._now()))
        await self.departures.wait(self._controller.alive())

    def kill_all(self) -> None:
        """Stop asking."""
        self._obey(self._controller.stop_all(self._now(), force=True))

    async def close(self, *, stop_servers: bool = True) -> None:
        """Let go of the keeper, which then ends, or keeps the servers for its grace."""
        self._timers.clear_all()
        await self._launcher.close(stop_servers=stop_servers)

    # News from the launcher

    def on_spawned(self, model: str, pid: int) -> None:
        server = self._servers.get(ModelId(model))
        if server is not None:
            server.pid = pid
            self._observer.on_note("debug", f"<{model}> started, pid {pid}")

    def on_ready(self, model: str) -> None:
        self._report(ModelId(model), Event.PROBE_PASSED, "")

    def on_output(self, model: str, data: bytes) -> None:
        self._observer.on_output(ModelId(model), data)

    def on_trouble(self, model: str, what: str) -> None:
        self._observer.on_note("warn", f"<{model}> {what}")

    def on_exited(self, model: str, ending: Exit) -> None:
        name = ModelId(model)
        server = self._servers.pop(name, None)
        if server is not None:
            server.upstream.close_after_exit()
        if (
            server is not None
            and ending.port_clash
            and server.model.port is not None  # one that is written in the command stays
            and server.tries < PORT_TRIES
            and self._controller.phase(name) is Phase.STARTING
        ):
            self._observer.on_note(
                "warn", f"<{model}> its port is taken by another program; trying the next"
            )
            self._spawn(name, tries=server.tries + 1, beyond=server.model.port)
            return
        self._report(name, Event.EXITED, ending.failure or ending.reason)

    # Carrying out

    def _now(self) -> Seconds:
        return Seconds(self._loop.time())

    def _report(self, model: ModelId, event: Event, detail: str | Failure) -> None:
        told = detail if isinstance(detail, str) else redacted(self.plan, detail)
        self._obey(self._controller.on_event(model, event, self._now(), told))

    def _obey(self, commands: Iterable[Command]) -> None:
        self._todo.extend(commands)
        if self._obeying:
            return
        self._obeying = True
        try:
            while self._todo:
                self._try(self._todo.popleft())
        finally:
            self._obeying = False

    def _try(self, command: Command) -> None:
        """Let one request's or one model's bug end that one, not the commands behind it."""
        try:
            self._carry_out(command)
        except Exception as bug:  # noqa: BLE001 - a border: whoever fed us is not to blame
            self._observer.on_note("error", f"internal error, please report: {bug!r}")

    def _carry_out(self, command: Command) -> None:  # noqa: C901, PLR0912 - one arm per command
        match command:
            case Grant(id=id_, model=model):
                ticket = self._tickets.pop(id_, None)
                if ticket is None:  # it was cancelled while the grant was on its way
                    self.release(model)
                else:
                    ticket.waiter.on_granted(self._servers[model])
            case Fail(id=id_):
                ticket = self._tickets.pop(id_, None)
                if ticket is not None:
                    ticket.waiter.on_refused(command)
            case Position(id=id_, position=position):
                ticket = self._tickets.get(id_)
                if ticket is not None:
                    ticket.waiter.on_position(position)
            case Spawn(model=model):
                self._spawn(model)
            case Terminate(model=model):
                server = self._servers.get(model)
                if server is not None:  # an open connection delays a server's exit
                    server.upstream.close()
                self._launcher.terminate(model)
            case Kill(model=model):
                self.killed += 1
                self._launcher.kill(model)
            case SetTimer(key=key, at=at):
                self._timers.set(key, at)
            case ClearTimer(key=key):
                self._timers.clear(key)
            case PhaseChanged(model=model, phase=phase, why=why):
                self._load_times.on_phase(model, phase, self._now())
                self._observer.on_phase(model, phase, why)
                self.departures.on_phase(model, phase)
            case _ as never:
                assert_never(never)

    def _on_timer(self, key: TimerKey) -> None:
        seen = None if key.model is None else self._launcher.last_look(key.model)
        self._obey(self._controller.on_timer(key, self._now(), seen and redacted(self.plan, seen)))

    def _spawn(self, name: ModelId, *, tries: int = 1, beyond: int | None = None) -> None:
        model = self.plan.models[name]
        try:
            if model.port is not None:
                model = model.at_port(self._ports.choose(name, model.port, beyond))
            upstream = startable(model)
        except (ValueError, NoFreePortError) as error:
            self._report(name, Event.SPAWN_FAILED, unspawned(error))
            return
        self._servers[name] = ModelServer(model, upstream, tries=tries)
        self._launcher.start(launch_spec_of(model))
