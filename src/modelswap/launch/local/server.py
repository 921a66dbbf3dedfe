"""What the local launcher knows of each server, and the orders to the keeper that follow from it."""

from __future__ import annotations

import asyncio
import os
from collections import deque
from contextlib import suppress
from dataclasses import field, replace
from typing import TYPE_CHECKING, Final

from modelswap import procfs
from modelswap.deferred import dataclass
from modelswap.launch.diagnosis.diagnosis import FINAL_LINES, MASK, OutputTail, diagnose, secrets_in
from modelswap.launch.protocol import Handle
from modelswap.net.address import Address
from modelswap.net.unix_sockets import remove_unused

if TYPE_CHECKING:
    from modelswap.core.failure import Failure
    from modelswap.core.spec import ServerId
    from modelswap.launch.diagnosis.diagnosis import Finding
    from modelswap.launch.probe import ProbeResult
    from modelswap.launch.probe_pace import ProbePace
    from modelswap.launch.protocol import LaunchSpec

    from .keeper_client.link import ReportedServer
    from .ports import Holder

EARLY_FRAMES: Final = 16
"""Frames of output kept for a server that is not adopted yet: the keeper sends at most 100 KiB at once."""


@dataclass(slots=True, eq=False)
class LocalServer:
    """One server, from the order to start it until its exit is reported."""

    run: int
    """Its number in the keeper's protocol."""
    spec: LaunchSpec
    """At the port that it was given."""
    usual_port: int | None = None
    pid: int = 0
    is_ready: bool = False
    is_main_exited: bool = False
    """Its main process has exited; others that it started run on."""
    is_stopping: bool = False
    clash: Holder | None = None
    """The foreign process that holds its address."""
    failure: Failure | None = None
    probe: asyncio.Task[None] | None = None
    diagnosis: asyncio.Task[None] | None = None
    """Finds out why it has exited, and reports that."""
    probe_result: ProbeResult | None = None
    pace: ProbePace | None = None
    """Once it is probed."""
    tail: OutputTail = field(default_factory=OutputTail)

    @property
    def id(self) -> ServerId:
        return self.spec.server

    @property
    def port(self) -> int | None:
        return self.spec.port

    @property
    def handle(self) -> Handle:
        return Handle(text=f"pid {self.pid}", pid=self.pid, port=self.port)

    def on_ready(self) -> None:
        """Forget the output of the start, which did not keep the server from being ready."""
        self.is_ready = True
        self.tail.clear()

    def cancel_probe(self) -> None:
        if self.probe is not None:
            self.probe.cancel()
            self.probe = None

    def finding(self) -> Finding | None:
        """Choose the line of output that says why it ended, without the secrets of its command."""
        lines = self.tail.lines()
        found = diagnose(lines[-FINAL_LINES:] if self.is_ready else lines)
        if found is None:
            return None
        line = found.line
        for secret in secrets_in(self.spec.argv, self.spec.env):
            line = line.replace(secret, MASK)
        return replace(found, line=line)


@dataclass(slots=True, eq=False)
class FoundServer:
    """A server found at `open`, until it is adopted or discarded."""

    reported: ReportedServer
    gone: asyncio.Event = field(default_factory=asyncio.Event)
    output: deque[bytes] = field(default_factory=lambda: deque(maxlen=EARLY_FRAMES))
    """Of the time without a front, and since."""


def spawn_order(server: LocalServer) -> dict[str, object]:
    spec = server.spec
    return {
        "run": server.run,
        "model": server.id,
        "argv": list(spec.argv),
        "env": environment(spec),
        "cwd": directory(spec),
        "tag": {"fingerprint": spec.fingerprint, "port": spec.port},
    }


def stop_order(server: LocalServer) -> dict[str, object]:
    spec = server.spec
    argv = [part.replace("${PID}", str(server.pid)) for part in spec.stop_command]
    return {"run": server.run, "argv": argv, "env": environment(spec), "cwd": directory(spec)}


def is_alive(server: ReportedServer) -> bool:
    """Whether the server is still the process that was started."""
    return procfs.start_time(server.pid) in (0, server.started)


def remove_dead_socket(spec: LaunchSpec) -> None:
    """Remove the Unix socket that the last server left at this address: most cannot bind over it."""
    with suppress(ValueError):  # an address that cannot be probed: the probe says so
        if spec.url and (path := Address.parse(spec.url).socket_path):
            remove_unused(path)


def environment(spec: LaunchSpec) -> dict[str, str]:
    """Return our own environment with the specification's additions."""
    pairs = (entry.partition("=") for entry in (*spec.device_env, *spec.env))
    return {**os.environ, **{name: value for name, _, value in pairs}}


def directory(spec: LaunchSpec) -> str:
    """Return where it runs; the keeper's own directory is never meant."""
    return spec.cwd if spec.cwd is not None else os.getcwd()  # noqa: PTH109 - a string is wanted
