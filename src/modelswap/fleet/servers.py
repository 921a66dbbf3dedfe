"""What the fleet holds and whom it tells: servers, tickets, waiters, observers.

And how a configured model becomes a job for the launcher and a pool of
connections. Nothing here decides or keeps count.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, ParamSpec, Protocol

from modelswap.core.models.lifecycle import ALIVE
from modelswap.http import Address, UpstreamPool
from modelswap.launch.protocol import LaunchSpec

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from modelswap.config.plan import Model
    from modelswap.core.controller import Fail
    from modelswap.core.models.lifecycle import Phase
    from modelswap.core.spec import ModelId, RequestId

P = ParamSpec("P")


class Waiter(Protocol):
    """Somebody whose request could not be served at once."""

    def on_granted(self, server: ModelServer) -> None:
        """Have the lease, now: end it with `Fleet.release`."""

    def on_refused(self, refused: Fail) -> None:
        """Be told that the wait ended without a lease."""

    def on_position(self, position: int) -> None:
        """Learn the place in the queue; 1 is the next."""


class Observer(Protocol):
    """Whoever wants to know; called on the loop, must be quick."""

    def on_phase(self, model: ModelId, phase: Phase, why: str) -> None: ...
    def on_output(self, model: ModelId, data: bytes) -> None: ...
    def on_note(self, level: str, text: str) -> None: ...


class SafeObserver:
    """An observer before another one, whose bug is its own: news and orders go on."""

    def __init__(self, observer: Observer) -> None:
        self._observer = observer

    def on_phase(self, model: ModelId, phase: Phase, why: str) -> None:
        self._tell(self._observer.on_phase, model, phase, why)

    def on_output(self, model: ModelId, data: bytes) -> None:
        self._tell(self._observer.on_output, model, data)

    def on_note(self, level: str, text: str) -> None:
        with suppress(Exception):  # who cannot be told cannot be told that either
            self._observer.on_note(level, text)

    def _tell(self, call: Callable[P, None], *args: P.args, **named: P.kwargs) -> None:
        try:
            call(*args, **named)
        except Exception as bug:  # noqa: BLE001 - a border: whoever brings news is not to blame
            self.on_note("error", f"internal error, please report: {bug!r}")


@dataclass(slots=True, eq=False)
class ModelServer:
    """One model server, from its start to its exit."""

    model: Model
    upstream: UpstreamPool
    pid: int | None = None
    tries: int = 1

    def take_over(self, model: Model) -> None:
        """Go on with what a reload says about the same server: name, priority, timeouts."""
        port = self.model.port
        self.model = model if port is None else model.at_port(port)
        self.upstream.timeouts = model.timeouts


@dataclass(slots=True, eq=False)
class Ticket:
    """A place in the wait. Give it back with `Fleet.cancel`."""

    id: RequestId
    model: ModelId
    waiter: Waiter


class DetachedWaiter:
    """Waits in the place of somebody who left but comes back."""

    def __init__(self, release: Callable[[ModelId], None]) -> None:
        self._release = release

    def on_granted(self, server: ModelServer) -> None:
        self._release(server.model.id)

    def on_refused(self, refused: Fail) -> None:
        """Nobody is there to be told."""

    def on_position(self, position: int) -> None:
        """Nobody is there to be told."""


def launch_spec_of(model: Model) -> LaunchSpec:
    """Say to the launcher what the configuration says."""
    return LaunchSpec(
        model=model.id,
        argv=model.argv,
        env=model.env,
        cwd=None,
        stop_command=model.stop_command,
        url=model.proxy,
        check=model.check_endpoint,
        key="" if model.api_key is None else model.api_key.reveal(),
        port=model.port,
    )


def startable(model: Model) -> UpstreamPool:
    """Return the pool of a model that is to be started.

    Raises:
        ValueError: it cannot be started as it is configured.
    """
    if not model.argv:
        raise ValueError("the command is empty: set `cmd`")
    return upstream_of(model)


def upstream_of(model: Model) -> UpstreamPool:
    """Return a pool of connections to the model's server; none is open yet.

    Raises:
        ValueError: `proxy` is not a URL that can be connected to.
    """
    return UpstreamPool(Address.parse(model.proxy), model.timeouts)


def running(
    models: Mapping[ModelId, Model],
    servers: Mapping[ModelId, ModelServer],
    phase_of: Callable[[ModelId], Phase],
) -> list[tuple[Model, Phase, int | None]]:
    """Return (model at its port, phase, pid) of every model that is not down, by id."""
    found: list[tuple[Model, Phase, int | None]] = []
    for name in sorted({*models, *servers}):  # removed ones may still finish
        phase = phase_of(name)
        if phase in ALIVE:
            server = servers.get(name)
            shown = models[name] if server is None else server.model
            found.append((shown, phase, None if server is None else server.pid))
    return found
