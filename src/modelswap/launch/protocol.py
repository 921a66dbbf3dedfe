"""The protocols between the fleet and a launcher, and the values that pass between them."""

from __future__ import annotations

import json
from dataclasses import field
from enum import StrEnum
from typing import TYPE_CHECKING, Final, Protocol

from modelswap.core.placement.policy import ANYWHERE
from modelswap.deferred import dataclass
from modelswap.digest import sha256

if TYPE_CHECKING:
    from collections.abc import Callable
    from collections.abc import Set as AbstractSet

    from modelswap.core.failure import Failure, ProbeObservation
    from modelswap.core.placement.policy import Placement
    from modelswap.core.spec import ServerId


@dataclass(frozen=True, slots=True, kw_only=True)
class LaunchSpec:
    """How to run one server. Command and environment may hold secrets: `repr` leaves them out."""

    server: ServerId
    argv: tuple[str, ...] = field(repr=False)
    env: tuple[str, ...] = field(default=(), repr=False)
    """`NAME=value`, on top of the launcher's own environment."""
    device_env: tuple[str, ...] = ()
    """`NAME=value`, below `env`: shows it the GPUs of its placement. Not a part of the fingerprint, so that
    a server on other GPUs than would be chosen now is still the same."""
    cwd: str | None = None
    """`None`: the launcher's own."""
    stop_command: tuple[str, ...] = field(default=(), repr=False)
    """`${PID}` is still in it; empty: SIGTERM."""
    url: str
    """Where the server listens on its machine, perhaps with a base path."""
    check: str | None = "/health"
    """Path (and query) below `url` that answers 200 when ready; `None`: ready once started."""
    key: str = field(default="", repr=False)
    """What the check sends as Bearer; empty: nothing. Not a part of how the server runs."""
    port: int | None = None
    """What `${PORT}` stands for in the fields above; `None`: they do not use it."""
    reserved_ports: AbstractSet[int] = field(default=frozenset(), repr=False)
    """Ports of other servers, which this one must not get."""
    placement: Placement = ANYWHERE
    """Where it shall run; the local launcher does not place servers."""
    render: Callable[[int], LaunchSpec] | None = field(default=None, compare=False, repr=False)
    """Makes the specification for another port; `None` where there is no `${PORT}`."""

    @property
    def fingerprint(self) -> str:
        """Hash of all that makes a running server the one that this would start."""
        facts = [self.argv, self.env, self.cwd, self.url]
        return sha256(json.dumps(facts).encode("ascii")).hexdigest()

    def at_port(self, port: int | None) -> LaunchSpec:
        """Return the specification with `${PORT}` rendered as *port*."""
        if self.render is None or port is None or port == self.port:
            return self
        return self.render(port)


@dataclass(frozen=True, slots=True, kw_only=True)
class Handle:
    """What a launcher tells of a server that runs, for display."""

    text: str
    """In a few words: `pid 4711`."""
    pid: int | None = None
    """`None`: not known, or of another machine."""
    port: int | None = None
    """What `${PORT}` stands for in its command, where it was given one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Exit:
    """How a server ended, or why it never began."""

    code: int | None = None
    signal: int | None = None
    reason: str = ""
    failure: Failure | None = None
    """Why, with the line of its output that says so; `None` when it was asked to end."""
    retryable: bool = False
    """It ended while starting, for a reason that the launcher avoids at the next `start`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningServer:
    """A server that an earlier front started and that still runs."""

    server: ServerId
    handle: Handle


class Listener(Protocol):
    """Receives a launcher's news; the calls must not block."""

    def on_started(self, server: ServerId, handle: Handle) -> None: ...
    def on_ready(self, server: ServerId, address: str) -> None:
        """Learn that requests may be sent to the URL *address*."""

    def on_exited(self, server: ServerId, ending: Exit) -> None: ...
    def on_output(self, server: ServerId, data: bytes) -> None: ...
    def on_trouble(self, server: ServerId, what: str) -> None:
        """Learn what the operator should know, beside the server's own output."""


class Capability(StrEnum):
    """What a launcher can do beside starting and stopping."""

    SLEEP = "sleep"
    """It is a `SleepingLauncher`."""
    PREFETCH = "prefetch"
    """It is a `PrefetchingLauncher`."""


NO_CAPABILITIES: Final[frozenset[Capability]] = frozenset()


class Launcher(Protocol):
    """Starts and stops servers; the package's docstring has the contract."""

    @property
    def capabilities(self) -> frozenset[Capability]: ...

    async def open(self) -> None:
        """Take possession; raise `AlreadyRunningError` when another front has."""

    def found_servers(self) -> list[RunningServer]:
        """Return those that ran at `open`, stopping ones too, less the adopted and discarded."""
        ...

    def adopt(self, spec: LaunchSpec, *, as_it_is: bool = False) -> str | None:
        """Return the address of the server taken over: as `spec` would start it, or *as_it_is*."""

    async def discard(self, *servers: ServerId) -> None:
        """Stop servers found at `open`, all when none is named; return when they have exited."""

    def start(self, spec: LaunchSpec) -> None: ...
    def terminate(self, server: ServerId) -> None:
        """Ask the server to exit: its stop command, else SIGTERM to all its processes."""

    def kill(self, server: ServerId) -> None: ...

    def last_observation(self, server: ServerId) -> ProbeObservation | None:
        """Return what the probe of a starting server saw last; `None` when it was not probed."""

    async def close(self, *, stop_servers: bool) -> None:
        """Give up possession; the servers stop now, or run on for the keeper's grace."""


class SleepingLauncher(Launcher, Protocol):
    """A launcher that can free a server's device memory and keep its process."""

    def sleep(self, server: ServerId) -> None:
        """Free the memory of a ready server; it serves no request until `wake`."""

    def wake(self, server: ServerId) -> None:
        """Load it again; `on_ready` follows once more."""


class PrefetchingLauncher(Launcher, Protocol):
    """A launcher that can bring a model's files near before the start."""

    def prefetch(self, spec: LaunchSpec) -> None:
        """Begin to read or fetch the files; no news follows."""


class LaunchError(Exception):
    """The launcher itself cannot work; the text is for the user."""


class AlreadyRunningError(LaunchError):
    """Another front uses the same state directory."""
