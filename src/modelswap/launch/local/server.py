"""What the local launcher remembers of each server, and what follows from that alone.

Records and plain readings of them; nothing here talks to the keeper or waits.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from modelswap.core.failure import Cause, Failure, ProbeObservation, failure
from modelswap.launch.diagnosis.diagnosis import LAST_WORDS, MASK, Tail, diagnose, secrets_in
from modelswap.launch.diagnosis.unstartable import explain
from modelswap.launch.protocol import Exit
from modelswap.net.address import Address, is_unix
from modelswap.net.unix_sockets import remove_unused

from .ports import is_listening, start_time

if TYPE_CHECKING:
    from collections.abc import Sequence

    from modelswap.launch.diagnosis.diagnosis import Finding
    from modelswap.launch.probe import Glance
    from modelswap.launch.protocol import LaunchSpec

    from .link import ReportedServer
    from .ports import Holder

_ENDED_BY_OTHERS: Final = frozenset(
    {signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT}
)
"""Signals that come from outside; the others come from a mistake in the program."""
_SHELL_SIGNAL: Final = 128
"""A shell and Docker report a signal as this plus its number."""
_KILLS: Final = frozenset({signal.SIGKILL, _SHELL_SIGNAL + signal.SIGKILL})
_FOR_MEMORY: Final = ", perhaps by the system for lack of memory"
"""What the kernel does then cannot be seen from here, and is the usual reason."""
_SHELL_NOT_FOUND: Final = 127
_DIED: Final = failure(Cause.KILLED, "the keeper died", brief="the keeper died")
KEEPER_DIED: Final = Exit(signal=signal.SIGKILL, reason=_DIED.text, failure=_DIED)
_NONE: Final = failure(Cause.CANNOT_START, "the keeper cannot be started", is_lasting=False)
NO_KEEPER: Final = Exit(reason=_NONE.text, failure=_NONE)
UNWATCHED: Final = failure(Cause.CANNOT_START, "it cannot be watched", is_lasting=False)
_GONE_TEXT: Final = "the server has gone; what it left behind is being ended"
GONE: Final = failure(Cause.EXITED, _GONE_TEXT, brief=_GONE_TEXT)
EARLY_FRAMES: Final = 16
"""Of output kept for a server that is not adopted yet."""


@dataclass(slots=True, eq=False)
class LocalServer:
    """One server as we see it, from the order to start it until its exit is told."""

    number: int
    job: LaunchSpec
    pid: int = 0
    is_ready: bool = False
    is_bereft: bool = False
    """Its main process has left; the rest serves on."""
    is_stopping: bool = False
    clash: Holder | None = None
    failure: Failure | None = None
    """Why we ended it ourselves."""
    probe: asyncio.Task[None] | None = None
    glance: Glance | None = None
    """What the probe saw last."""
    tail: Tail = field(default_factory=Tail)
    """The last of its output."""

    def hear(self, output: bytes) -> None:
        """Keep the last output: when the server ends, it says why."""
        self.tail.add(output)

    def said(self) -> Finding | None:
        """Choose the line of its output that says why it ended, without the secrets of its command."""
        lines = self.tail.lines()
        found = diagnose(lines[-LAST_WORDS:] if self.is_ready else lines)
        if found is None:
            return None
        line = found.line
        for secret in secrets_in(self.job.argv, self.job.env):
            line = line.replace(secret, MASK)
        return replace(found, line=line)

    def note_ready(self) -> None:
        """Forget what it said while it started: that did not keep it from being ready."""
        self.is_ready = True
        self.tail.clear()


@dataclass(slots=True, eq=False)
class FoundServer:
    """A server found at `open`, until somebody decides about it."""

    server: ReportedServer
    gone: asyncio.Event = field(default_factory=asyncio.Event)
    output: deque[bytes] = field(default_factory=lambda: deque(maxlen=EARLY_FRAMES))
    """What it said while there was no front, and since."""


def clash_of(run: LocalServer) -> str:
    """Say that somebody else has the run's address; the reason of its failure."""
    return f"{_address_of(run)} is taken by another program"


def _address_of(run: LocalServer) -> str:
    return "its Unix socket" if is_unix(run.job.url) else "its port"


def clash_text(run: LocalServer) -> str:
    """Say who holds the address that the run was to have; for the model's log."""
    port = _address_of(run) if run.job.port is None else f"port {run.job.port}"
    if run.clash is None:
        return f"{port} is held by another process"
    return f"{port} is held by another process: {run.clash.name}, pid {run.clash.pid}"


def ending_of(run: LocalServer, code: int) -> Exit:
    """Put the end of a run into words; `code` is an exit code, or minus a signal."""
    reason = f"exited with code {code}" if code >= 0 else f"killed by signal {-code}"
    if run.is_stopping and run.failure is None:
        return _exit(code, reason, None)
    found = run.said()
    port = run.job.port
    clash = run.clash is not None
    if port is not None and not run.is_ready and not run.is_stopping:
        said_so = found is not None and found.cause is Cause.ADDRESS_IN_USE
        clash = clash or said_so or is_listening(port)
    why = run.failure
    if why is None and clash:
        why = _clash(run, reason, found)
    why = why or _why(run, code, reason, found)
    return _exit(code, why.text if run.failure or clash else reason, why, port_clash=clash)


def taken(run: LocalServer) -> Failure:
    """Say that the run's address is taken, for a server that we end."""
    return failure(Cause.ADDRESS_IN_USE, clash_of(run), brief=clash_of(run))


def _clash(run: LocalServer, reason: str, found: Finding | None) -> Failure:
    """Say that the address is taken, and by whom or in what words."""
    brief = text = clash_of(run)
    if run.clash is not None:
        text = f"{brief}, {run.clash.name}, pid {run.clash.pid}"
    elif found is not None and found.cause is Cause.ADDRESS_IN_USE:
        text = f"{brief}: {found.line}"
    return failure(Cause.ADDRESS_IN_USE, f"{text} ({reason})", brief=f"{brief} ({reason})")


def _exit(code: int, reason: str, why: Failure | None, *, port_clash: bool = False) -> Exit:
    return Exit(
        code=code if code >= 0 else None,
        signal=-code if code < 0 else None,
        reason=reason,
        failure=why,
        port_clash=port_clash,
    )


def _why(run: LocalServer, code: int, reason: str, found: Finding | None) -> Failure:
    """Join what a server said with how it ended."""
    cause = _cause_of(code)
    text = reason + _FOR_MEMORY if cause is Cause.KILLED and abs(code) in _KILLS else reason
    if found is not None and _is_reason(run, cause, found):
        cause = found.cause or cause
        text = f"{found.line} ({text})"
    elif found is not None:
        text = f"{text}; its output: {found.line}"
    brief = reason if cause is Cause.EXITED else f"{cause.phrase} ({reason})"
    return failure(cause, text, brief=brief, exit_code=code if code >= 0 else None)


def _is_reason(run: LocalServer, cause: Cause, found: Finding) -> bool:
    """Whether a line stands for the end, or beside it.

    A server that served and was killed from outside has printed errors of requests. One that starts
    may kill itself after it has said why, as SGLang does.
    """
    if cause is Cause.KILLED and run.is_ready:
        return found.cause is Cause.OUT_OF_MEMORY
    return found.is_error


def _cause_of(code: int) -> Cause:
    """Class an end by its code alone."""
    if code == _SHELL_NOT_FOUND:
        return Cause.PROGRAM_NOT_FOUND
    number = -code if code < 0 else code - _SHELL_SIGNAL
    if number <= 0 or number >= signal.NSIG:
        return Cause.EXITED
    return Cause.KILLED if number in _ENDED_BY_OTHERS else Cause.CRASHED


def last_look(run: LocalServer) -> ProbeObservation | None:
    """Say what the check endpoint of a starting server did at the last look.

    Where nothing answers, what the server printed stands beside it: perhaps that it listens elsewhere.
    """
    if run.glance is None:
        return None
    seen = run.glance.told()
    found = None if run.glance.has_answered else run.said()
    return seen if found is None else replace(seen, text=f"{seen.text}; its output: {found.line}")


def spawn_order(run: LocalServer) -> dict[str, object]:
    """Return the fields of the keeper's order to start the server."""
    job = run.job
    return {
        "run": run.number,
        "model": job.model,
        "argv": list(job.argv),
        "env": environment(job),
        "cwd": directory(job),
        "tag": {"fingerprint": job.fingerprint, "port": job.port},
    }


def stop_order(run: LocalServer) -> dict[str, object]:
    """Return the fields of the keeper's order to run the stop command."""
    argv = [part.replace("${PID}", str(run.pid)) for part in run.job.stop_command]
    return {
        "run": run.number,
        "argv": argv,
        "env": environment(run.job),
        "cwd": directory(run.job),
    }


@dataclass(frozen=True, slots=True)
class SpawnError:
    """What the keeper says of a program that it could not start."""

    reason: str
    number: int | None
    """`errno`; an older keeper does not send it."""

    def explained(self, job: LaunchSpec, argv: Sequence[str]) -> Failure:
        return explain(argv, environment(job), directory(job), self.number, self.reason)


def not_started(job: LaunchSpec, error: SpawnError) -> Exit:
    """Make an exit of the news that the keeper could not start a server."""
    why = error.explained(job, job.argv)
    why = replace(why, text=f"cannot start: {why.text}")
    return Exit(reason=why.text, failure=why)


def stop_trouble(job: LaunchSpec, code: int | None, error: SpawnError) -> str:
    """Say what went wrong with a stop command; empty: nothing did."""
    if code == 0:
        return ""
    said = f"ended with {code}"
    if code is None:
        said = f"could not be started: {error.explained(job, job.stop_command).text}"
    return f"the stop command {said}; sending SIGTERM"


def is_alive(server: ReportedServer) -> bool:
    """Whether the server is still the process that was started."""
    return start_time(server.pid) in (0, server.started)


def clear_the_way(job: LaunchSpec) -> None:
    """Remove a Unix socket that the last server at the job's address left: most cannot bind over it."""
    with suppress(ValueError):  # an address that cannot be probed: said when it is
        if job.url and (path := Address.parse(job.url).socket_path):
            remove_unused(path)


def environment(job: LaunchSpec) -> dict[str, str]:
    """Our own environment with the job's additions."""
    pairs = (entry.partition("=") for entry in job.env)
    return {**os.environ, **{name: value for name, _, value in pairs}}


def directory(job: LaunchSpec) -> str:
    """Where it runs; the keeper's own directory is never meant."""
    return job.cwd if job.cwd is not None else os.getcwd()  # noqa: PTH109 - a string is wanted
