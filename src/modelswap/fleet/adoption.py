"""What one front leaves to the next, and which servers found running the fleet takes over, and how.

A server that the configuration would not start is taken over only to finish another front's requests.
"""

from __future__ import annotations

from dataclasses import field
from typing import TYPE_CHECKING, Final

from modelswap.config.plan import Model
from modelswap.core.models.lifecycle import Phase
from modelswap.core.spec import ModelId, ModelSpec
from modelswap.deferred import dataclass
from modelswap.units import Seconds

from .model_server import ModelServer, model_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from modelswap.config.plan import Plan
    from modelswap.core.commands import LeaseRequest
    from modelswap.core.controller import Controller
    from modelswap.core.spec import RequestId
    from modelswap.launch.protocol import Launcher, RunningServer
    from modelswap.pull.progress import PullProgress

    from .model_server import LaunchSpecs
    from .pulls.gate import PullGate
    from .waiting import Ticket


@dataclass(frozen=True, slots=True, kw_only=True)
class Inherited:
    """What another front still did with the model servers when it gave them to this one."""

    leases: Mapping[ModelId, int] = field(default_factory=dict[ModelId, int])
    """How many requests of it run on each model."""
    ready: frozenset[ModelId] = frozenset()
    pulls: tuple[str, ...] = ()
    """Pulls that it ran, by their names; it has cancelled them."""
    pulling: Mapping[ModelId, PullProgress] = field(default_factory=dict["ModelId", "PullProgress"])
    """How far they were, by model; the other front is not told."""
    kept: Mapping[ModelId, Seconds] = field(default_factory=dict[ModelId, Seconds])
    """How long it would still have kept each ready model loaded, where requests have a say in that."""


NOTHING_INHERITED: Final = Inherited()


def estate(
    controller: Controller,
    tickets: Mapping[RequestId, Ticket],
    gate: PullGate,
    models: Iterable[ModelId],
    now: Seconds,
) -> tuple[Inherited, list[tuple[LeaseRequest, Ticket]]]:
    """Return what another front has to know to go on, and the requests that wait; its pulls are cancelled."""
    alive = controller.alive()
    leases = {m: n for m in alive if (n := controller.in_flight(m))}
    ready = frozenset(m for m in alive if controller.phase(m) is Phase.READY)
    waiting = [
        (request, tickets[number]) for number, request in controller.requests() if number in tickets
    ]
    held, pulls = gate.estate()
    waiting += [(request, ticket) for ticket, request in held]
    pulling = {m: found for m in models if (found := gate.progress(m)) is not None}
    kept = {m: kept for m in ready if (kept := controller.state(m).kept_for(now)) is not None}
    inherited = Inherited(leases=leases, ready=ready, pulls=pulls, pulling=pulling, kept=kept)
    return inherited, waiting


@dataclass(frozen=True, slots=True, kw_only=True)
class Adoption:
    server: ModelServer
    in_flight: int
    is_ready: bool
    is_leaving: bool
    """The configuration would not start it: it only finishes what runs on it."""
    kept_for: Seconds | None = None
    """How long the other front would still have kept it loaded."""


def adopt(
    found: RunningServer, launcher: Launcher, plan: Plan, specs: LaunchSpecs, inherited: Inherited
) -> Adoption | None:
    """Take a server over; `None`: it is not needed, or it is stopping already."""
    name = model_of(found.server)
    in_flight = inherited.leases.get(name, 0)
    model = plan.models.get(name) or _unknown(name)
    spec = specs.of(model)
    address = launcher.adopt(spec)
    is_same = address is not None
    if address is None and in_flight:
        address = launcher.adopt(spec, as_it_is=True)
    if address is None:
        return None
    server = ModelServer(model, spec)
    server.on_started(found.handle)
    server.on_address(address)
    return Adoption(
        server=server,
        in_flight=in_flight,
        is_ready=name in inherited.ready or not is_same,
        is_leaving=not is_same,
        kept_for=inherited.kept.get(name),
    )


def _unknown(name: ModelId) -> Model:
    """Return what stands for a model that is not configured any more, while its server finishes."""
    spec = ModelSpec(id=name)
    return Model(
        id=name, spec=spec, cmd="", argv=(), proxy="http://127.0.0.1:1", check_endpoint=None
    )
