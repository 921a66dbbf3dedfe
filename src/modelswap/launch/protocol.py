"""Launchers: start and stop model servers, and say what became of them.

The fleet knows launchers by the protocols of this page alone. Orders are plain calls that return at
once; every consequence comes as news through the `Listener`, in order, on the event loop, never from
within the order itself. A launcher judges readiness (it owns the probe) and nothing else: when to
start, how long to be patient, what to do after a failure is decided elsewhere.

    local           the launcher of this machine, a client of the keeper
    local_link      the connection to the keeper, and how one is started
    local_watch     is it our server that answers, and does the keeper still obey
    probe           when is a server ready
    diagnosis       which line of a server's output says why it ended
    unstartable     why a program cannot be started
    ports           which ports are free, and who holds one
    state           the state directory and its lock
    fronts          which fronts run, and what they say of themselves
    memory          a stopped server's GPU memory is free before its exit is told
    descriptors     how many files we may hold open
    first           being process 1

For each `start` exactly one `on_exited` comes, however it ends; `on_spawned` and `on_ready` come at
most once before it.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from modelswap.core.failure import Failure, ProbeObservation


@dataclass(frozen=True, slots=True, kw_only=True)
class LaunchSpec:
    """How to run one server. Command and environment may hold secrets: `repr` leaves them out."""

    model: str
    argv: tuple[str, ...] = field(repr=False)
    env: tuple[str, ...] = field(default=(), repr=False)
    """`NAME=value`, on top of our own environment."""
    cwd: str | None = None
    """`None`: our own."""
    stop_command: tuple[str, ...] = field(default=(), repr=False)
    """Split, with `${PID}` still in it; empty: SIGTERM."""
    url: str
    """Where the server will answer, perhaps with a base path."""
    check: str | None = "/health"
    """Path (and query) below `url` that answers 200 when ready; `None`: ready once spawned."""
    key: str = field(default="", repr=False)
    """What the check sends as Bearer; empty: nothing. Not a part of how the server runs."""
    port: int | None = None
    """The port we chose for it, if we did."""

    @property
    def fingerprint(self) -> str:
        """Hash of all that makes a running server the one that this job would start."""
        facts = [self.argv, self.env, self.cwd, self.url]
        return hashlib.sha256(json.dumps(facts).encode("ascii")).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Exit:
    """How a server ended, or why it never began."""

    code: int | None = None
    signal: int | None = None
    reason: str = ""
    """In a few words: how it ended."""
    failure: Failure | None = None
    """Why, with the line of its output that says so; `None` when it was asked to end."""
    port_clash: bool = False
    """It ended while starting, and somebody else holds its port: another port may help."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningServer:
    """A server that an earlier front started and that still runs."""

    model: str
    pid: int
    fingerprint: str
    port: int | None


class Listener(Protocol):
    """Whoever wants the news; the calls must not block."""

    def on_spawned(self, model: str, pid: int) -> None: ...
    def on_ready(self, model: str) -> None: ...
    def on_exited(self, model: str, ending: Exit) -> None: ...
    def on_output(self, model: str, data: bytes) -> None: ...
    def on_trouble(self, model: str, what: str) -> None:
        """Hear what the user of the whole should know, beside the model's own output."""
        ...


class Launcher(Protocol):
    async def open(self) -> None:
        """Take possession; raise `AlreadyRunningError` when another front has."""
        ...

    def adopted(self) -> list[RunningServer]:
        """Servers found running at `open` that were neither adopted nor discarded yet.

        One that is already on its way out is among them; it cannot be adopted.
        """
        ...

    def adopt(self, job: LaunchSpec, *, as_it_is: bool = False) -> bool:
        """Take over the running server of that model if it is the one `job` would start.

        *as_it_is*: whatever started it. News follows as after `start`: spawned, then ready once the probe has passed.
        """
        ...

    async def discard(self, *models: str) -> None:
        """Stop servers found at `open`, all when none is named; return when they are gone."""
        ...

    def start(self, job: LaunchSpec) -> None: ...
    def terminate(self, model: str) -> None:
        """Ask the server to leave: its stop command, else SIGTERM to all its processes."""
        ...

    def kill(self, model: str) -> None: ...

    def last_look(self, model: str) -> ProbeObservation | None:
        """Say what the probe of a starting server saw last; `None` when it did not look."""
        ...

    async def close(self, *, stop_servers: bool) -> None:
        """Give up possession; the servers stop now, or live on for the keeper's grace."""
        ...


class LaunchError(Exception):
    """The launcher itself cannot work; the text is for the user."""


class AlreadyRunningError(LaunchError):
    """Another front uses the same state directory."""
