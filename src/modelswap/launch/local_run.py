"""What the local launcher remembers of each server, and what follows from that alone.

Records and plain readings of them; nothing here talks to the keeper or waits.
"""

from __future__ import annotations

import asyncio
import os
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from . import Exit
from .ports import start_time

if TYPE_CHECKING:
    from . import Job
    from .local_link import RunningServer
    from .ports import Holder

EARLY_FRAMES: Final = 16
"""Of output kept for a server that is not adopted yet."""


@dataclass(slots=True, eq=False)
class Run:
    """One server as we see it, from the order to start it until its exit is told."""

    number: int
    job: Job
    pid: int = 0
    is_ready: bool = False
    is_bereft: bool = False
    """Its main process has left; the rest serves on."""
    is_stopping: bool = False
    clash: Holder | None = None
    failure: str = ""
    """Why we ended it ourselves."""
    probe: asyncio.Task[None] | None = None


@dataclass(slots=True, eq=False)
class Found:
    """A server found at `open`, until somebody decides about it."""

    server: RunningServer
    gone: asyncio.Event = field(default_factory=asyncio.Event)
    output: deque[bytes] = field(default_factory=lambda: deque(maxlen=EARLY_FRAMES))
    """What it said while there was no front, and since."""


CLASH: Final = "its port is taken by another program"


def clash_text(run: Run) -> str:
    """Say who holds the port that the run was to have; for the model's log."""
    port = "its port" if run.job.port is None else f"port {run.job.port}"
    if run.clash is None:
        return f"{port} is held by another process"
    return f"{port} is held by another process: {run.clash.name}, pid {run.clash.pid}"


def ending_of(run: Run, code: int, *, port_is_taken: bool) -> Exit:
    """Put the end of a run into words; `code` is an exit code, or minus a signal."""
    clash = port_is_taken or run.clash is not None
    reason = f"exited with code {code}" if code >= 0 else f"killed by signal {-code}"
    if clash:
        reason = f"{CLASH} ({reason})"
    return Exit(
        code=code if code >= 0 else None,
        signal=-code if code < 0 else None,
        reason=run.failure or reason,
        port_clash=clash,
    )


def is_same(server: RunningServer, job: Job) -> bool:
    """Whether the server is what `job` would start, and still the process that was started."""
    now = start_time(server.pid)
    return server.fingerprint == job.fingerprint and now in (0, server.started)


def environment(job: Job) -> dict[str, str]:
    """Our own environment with the job's additions."""
    pairs = (entry.partition("=") for entry in job.env)
    return {**os.environ, **{name: value for name, _, value in pairs}}


def directory(job: Job) -> str:
    """Where it runs; the keeper's own directory is never meant."""
    return job.cwd if job.cwd is not None else os.getcwd()  # noqa: PTH109 - a string is wanted
