"""The fleet of another front, to which this one has handed over its model servers.

This front asks the other one for each lease, and sends the request to the model server itself.

Guarantees: a lease is given back exactly once, also when this front ends.
"""

from __future__ import annotations

import itertools
from collections import Counter
from dataclasses import asdict
from typing import TYPE_CHECKING

from modelswap.core.commands import Fail, Reason
from modelswap.core.failure import Cause, Failure
from modelswap.core.models.lifecycle import LEAVING, Phase
from modelswap.core.spec import ModelId, RequestId
from modelswap.units import Seconds

from .departures import Departures
from .memory.fleet_memory import nothing_known
from .model_server import ModelServer, running
from .waiting import DetachedWaiter, Ticket

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from typing import Any

    from modelswap.config.plan import Model, Plan
    from modelswap.core.commands import LeaseRequest
    from modelswap.core.scheduling.explanation import Explanation
    from modelswap.pull.progress import PullProgress

    from .failures import ModelFailure
    from .fleet import Fleet
    from .memory.state import MemoryState
    from .waiting import LeaseWaiter

    Send = Callable[..., None]


class RemoteFleet:
    """Has the methods of a `Fleet` that a front needs to finish its requests."""

    killed = 0

    def __init__(self, fleet: Fleet, plan: Plan, send: Send) -> None:
        """Take over what *fleet* knows; `send(kind, **fields)` reaches the other front."""
        inherited, waiting = fleet.estate()
        self.inherited = inherited
        """As it was at this moment."""
        self._plan = plan
        self._send = send
        self._pulls = dict(inherited.pulling)
        """As they were when this front gave them up; until the model is heard of."""
        self.leases = Counter(inherited.leases)
        self._servers: dict[ModelId, ModelServer] = {}
        self._phases: dict[ModelId, Phase] = {}
        for model, phase, _ in fleet.running():
            self._phases[model.id] = phase
            if (server := fleet.server(model.id)) is not None:
                self._servers[model.id] = server
        self._tickets: dict[RequestId, Ticket] = {}
        self._requests: dict[RequestId, LeaseRequest] = {}
        self.departures = Departures(self.phase)
        for request, ticket in waiting:
            self._ask(ticket, request, is_new=False)
        highest = max((ticket.id for _, ticket in waiting), default=0)
        self._ids = itertools.count(highest + 1)

    # Requests

    def lease_now(self, model: ModelId) -> ModelServer | None:  # noqa: ARG002 - as a `Fleet`
        """Return None: a lease comes by `ask` alone."""
        return None

    def ask(self, request: LeaseRequest, waiter: LeaseWaiter) -> Ticket:
        """Wait for a lease of the other front."""
        ticket = Ticket(RequestId(0), request.model, waiter)
        self.enter(ticket, request)
        return ticket

    def enter(self, ticket: Ticket, request: LeaseRequest, *, is_new: bool = True) -> None:
        """Wait with this ticket, which gets a number."""
        ticket.id = RequestId(next(self._ids))
        self._ask(ticket, request, is_new=is_new)

    def _ask(self, ticket: Ticket, request: LeaseRequest, *, is_new: bool) -> None:
        self._tickets[ticket.id] = ticket
        self._requests[ticket.id] = request
        self._send("ask", id=ticket.id, is_new=is_new, **asdict(request))

    def leave(self, ticket: Ticket) -> None:
        """Stop waiting, but let the load go on."""
        if ticket.id in self._tickets:
            ticket.waiter = DetachedWaiter(self.release)

    def cancel(self, ticket: Ticket) -> None:
        """Stop waiting. Does nothing when the wait is over."""
        if self._forget(ticket.id) is not None:
            self._send("cancel", id=ticket.id)

    def release(self, model: ModelId, ttl: Seconds | None = None) -> None:
        """End one lease; *ttl*: what its request asked for instead of the model's."""
        self.leases[model] -= 1
        said = {} if ttl is None else {"ttl": ttl}
        self._send("release", model=model, **said)

    def _forget(self, number: RequestId) -> Ticket | None:
        self._requests.pop(number, None)
        return self._tickets.pop(number, None)

    # Questions

    def phase(self, model: ModelId) -> Phase:
        return self._phases.get(model, Phase.STOPPED)

    listed_phase = phase

    def server(self, model: ModelId) -> ModelServer | None:
        return self._servers.get(model)

    def running(self) -> list[tuple[Model, Phase, int | None]]:
        """Return (model at its port, phase, pid) of what this front has heard of, by id."""
        return running(self._plan.models, self._servers, self.phase)

    def load_time_left(self, model: ModelId) -> Seconds | None:  # noqa: ARG002 - as a `Fleet`
        """Return None: only the other front could estimate it."""
        return None

    def pull_of(self, model: ModelId) -> PullProgress | None:
        """Return how the pull of a model stood when the other front took it over."""
        return self._pulls.get(model)

    def in_flight(self, model: ModelId) -> int:
        return self.leases[model]

    def waiting(self, model: ModelId) -> int:
        return sum(ticket.model == model for ticket in self._tickets.values())

    def has_idled(self, model: ModelId) -> bool:  # noqa: ARG002 - as a `Fleet`
        """Return False: only the other front knows."""
        return False

    def explain(self, model: ModelId) -> Explanation | None:  # noqa: ARG002 - as a `Fleet`
        """Return None: only the other front decides."""
        return None

    def is_pending(self, model: ModelId) -> bool:  # noqa: ARG002 - as a `Fleet`
        """Return False: only the other front decides."""
        return False

    def expires_in(self, model: ModelId) -> Seconds | None:  # noqa: ARG002 - as a `Fleet`
        """Return None: only the other front knows."""
        return None

    def failure(self, model: ModelId) -> ModelFailure | None:  # noqa: ARG002 - as a `Fleet`
        """Return None: only the other front knows."""
        return None

    def memory_state(self) -> MemoryState:
        """Return nothing: only the other front reads devices."""
        return nothing_known()

    async def read_memory(self, models: Iterable[ModelId] = ()) -> MemoryState:  # noqa: ARG002 - as a `Fleet`
        """Return nothing, as above."""
        return nothing_known()

    # Orders

    async def unload(self, models: Iterable[ModelId], *, force: bool = False) -> None:
        """Have the other front unload; return when they are down."""
        wanted = list(models)
        self.begin_unload(wanted, force=force)
        await self.departures.wait(wanted)

    def begin_unload(self, models: Iterable[ModelId], *, force: bool) -> None:
        self._send("unload", models=[*models], force=force)

    def pull(self, source: str) -> None:
        """Have the other front pull a source."""
        self._send("pull", source=source)

    def retry_pull(self, model: ModelId) -> None:
        """Do nothing: only the other front knows of failures."""

    def stalled(self, server: ModelServer, detail: str) -> None:
        """Take note that a ready server did not answer in its time."""
        self._send("stalled", model=server.model.id, detail=detail)

    async def stop_all(self) -> None:
        """Do nothing: the servers are the other front's."""

    def kill_all(self) -> None:
        """Do nothing, as above."""

    async def close(self, *, stop_servers: bool = True) -> None:
        """Do nothing, as above."""

    def refuse_all(self) -> None:
        """Refuse all that wait: the other front is gone."""
        for number in list(self._tickets):
            ticket = self._forget(number)
            if ticket is not None:
                ticket.waiter.on_refused(Fail(number, Reason.SHUTTING_DOWN))
        for model in list(self._phases):  # running requests go on: their servers may still live
            self._phases[model] = Phase.STOPPED
            self.departures.on_phase(model, Phase.STOPPED)

    drain = refuse_all

    def give_back(self, fleet: Fleet, leases: Mapping[ModelId, int]) -> None:
        """Let *fleet*, of this front, go on: the hand-over has failed.

        *leases*: those that *fleet* counts; some may have ended meanwhile.
        """
        for model, count in leases.items():
            for _ in range(count - self.leases[model]):
                fleet.release(model)
        for number, request in list(self._requests.items()):
            ticket = self._forget(number)
            if ticket is not None:
                fleet.enter(ticket, request, is_new=False)
        for source in self.inherited.pulls:
            fleet.pull(source)

    # Messages of the other front

    def on_message(self, kind: str, message: Mapping[str, Any]) -> None:
        """Take a message of the other front."""
        match kind:
            case "granted":
                self._on_granted(message)
            case "refused":
                number = RequestId(message["id"])
                ticket = self._forget(number)
                if ticket is not None:
                    ticket.waiter.on_refused(_refused(number, message))
            case "position":
                ticket = self._tickets.get(RequestId(message["id"]))
                if ticket is not None:
                    ticket.waiter.on_position(int(message["position"]))
            case "phase":
                self._on_phase(ModelId(message["model"]), Phase(message["phase"]))
            case _:
                pass

    def _on_granted(self, message: Mapping[str, Any]) -> None:
        name = ModelId(message["model"])
        self.leases[name] += 1
        ticket = self._forget(RequestId(message["id"]))
        server = self._server_at(name, str(message["proxy"]), message.get("port"))
        if ticket is None or server is None:  # it was cancelled while the grant was on its way
            self.release(name)
        else:
            ticket.waiter.on_granted(server)

    def _server_at(self, name: ModelId, proxy: str, port: int | None) -> ModelServer | None:
        server = self._servers.get(name)
        if server is None or server.address != proxy:
            model = self._plan.models.get(name)
            if model is None:
                return None
            server = self._servers[name] = ModelServer(
                model if port is None else model.at_port(port)
            )
            server.on_address(proxy)
        return server

    def _on_phase(self, model: ModelId, phase: Phase) -> None:
        self._phases[model] = phase
        self._pulls.pop(model, None)
        if phase in LEAVING or phase is Phase.STOPPED:
            server = self._servers.pop(model, None)
            if server is not None and phase is Phase.STOPPED:
                server.on_exited()
            elif server is not None:
                server.close()
        self.departures.on_phase(model, phase)


def refusal_fields(refused: Fail) -> dict[str, Any]:
    """Write a refusal as the fields of a message; `_refused` reads it."""
    return {
        "reason": refused.reason.name,
        "detail": refused.detail,
        "retry_after": refused.retry_after,
        "failure": None if refused.failure is None else asdict(refused.failure),
    }


def _refused(number: RequestId, message: Mapping[str, Any]) -> Fail:
    after, why = message["retry_after"], message["failure"]
    return Fail(
        number,
        Reason[message["reason"]],
        str(message["detail"]),
        None if after is None else Seconds(after),
        None if why is None else Failure(**why | {"cause": Cause(why["cause"])}),
    )
