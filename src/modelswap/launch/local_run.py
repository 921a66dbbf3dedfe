"""What the local launcher remembers of each server, and what follows from that alone.

Records and plain readings of them; nothing here talks to the keeper or waits.
"""

from __future__ import annotations

import asyncio
import os
import re
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from . import Exit
from .ports import is_listening, start_time

if TYPE_CHECKING:
    from . import Job
    from .local_link import RunningServer
    from .ports import Holder

_CANNOT_BIND: Final = re.compile(
    rb"address already in use|eaddrinuse|(?:couldn't|could not|cannot|failed to) bind",
    re.IGNORECASE,
)
"""What servers say of it: Python, Node.js, libuv, llama.cpp."""
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
    cannot_bind: bool = False
    """It has said so; whoever had the port may be gone when we look."""
    failure: str = ""
    """Why we ended it ourselves."""
    probe: asyncio.Task[None] | None = None

    def hear(self, output: bytes) -> None:
        """Notice in what a starting server says that it does not get its port."""
        if not self.is_ready and _CANNOT_BIND.search(output):
            self.cannot_bind = True


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


def ending_of(run: Run, code: int) -> Exit:
    """Put the end of a run into words; `code` is an exit code, or minus a signal."""
    port = run.job.port
    clash = run.clash is not None
    if port is not None and not run.is_ready and not run.is_stopping:
        clash = clash or run.cannot_bind or is_listening(port)
    reason = f"exited with code {code}" if code >= 0 else f"killed by signal {-code}"
    if clash:
        reason = f"{CLASH} ({reason})"
    return Exit(
        code=code if code >= 0 else None,
        signal=-code if code < 0 else None,
        reason=run.failure or reason,
        port_clash=clash,
    )


def is_alive(server: RunningServer) -> bool:
    """Whether the server is still the process that was started."""
    return start_time(server.pid) in (0, server.started)


def environment(job: Job) -> dict[str, str]:
    """Our own environment with the job's additions."""
    pairs = (entry.partition("=") for entry in job.env)
    return {**os.environ, **{name: value for name, _, value in pairs}}


def directory(job: Job) -> str:
    """Where it runs; the keeper's own directory is never meant."""
    return job.cwd if job.cwd is not None else os.getcwd()  # noqa: PTH109 - a string is wanted
