"""The connection to the keeper: found or started, and its frames.

A keeper that accepts but does not answer is killed, and its servers with it, and replaced.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from modelswap.core.spec import ServerId
from modelswap.deferred import dataclass
from modelswap.keeper import protocol
from modelswap.launch.protocol import Handle, LaunchError
from modelswap.procfs import peer_of
from modelswap.units import Seconds

from .starting import StartingKeeper, is_readable, is_ready, open_connection, start_keeper

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Mapping

_ANSWER_TIMEOUT: Final = Seconds(5.0)
"""A keeper answers within milliseconds; one that is swapped out may need seconds."""
_STOP_GRACE: Final = Seconds(5.0)
"""For the servers of a keeper of another version, whose configuration is not known here."""
_SWEEP_TRIES: Final = 10
"""With the pause, five seconds for a machine without a free process to get one."""
_SWEEP_PAUSE: Final = Seconds(0.5)
"""Between two of these tries."""
_CONNECT_TRIES: Final = 3
"""A keeper that is exiting, and one of another version, are each replaced once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportedServer:
    """A server that the keeper already had when this front connected."""

    run: int
    server: ServerId
    pid: int
    started: int
    stopping: bool
    fingerprint: str
    port: int | None

    @property
    def handle(self) -> Handle:
        return Handle(text=f"pid {self.pid}", pid=self.pid, port=self.port)


@dataclass(frozen=True, slots=True, kw_only=True)
class KeeperState:
    """What the keeper says in its first answer."""

    keeper: str
    pid: int
    next_run: int
    servers: tuple[ReportedServer, ...]


class KeeperLink(asyncio.Protocol):
    """One connection. After `begin`, frames and the end are passed on, on the loop and in order."""

    def __init__(self) -> None:
        self._decoder = protocol.FrameDecoder()
        self._transport: asyncio.Transport | None = None
        self._on_frame: Callable[[protocol.Frame], None] | None = None
        self._on_lost: Callable[[], None] | None = None
        self._early: list[protocol.Frame] = []
        self.first: asyncio.Future[Mapping[str, object]] = asyncio.Future()
        self.ended: asyncio.Future[None] = asyncio.Future()

    def begin(
        self, on_frame: Callable[[protocol.Frame], None], on_lost: Callable[[], None]
    ) -> None:
        """Pass on the frames since the first answer, and everything from now on."""
        self._on_frame, self._on_lost = on_frame, on_lost
        early, self._early = self._early, []
        try:
            for frame in early:
                on_frame(frame)
        except protocol.ProtocolError:
            self.close()
        if self.ended.done():
            on_lost()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if isinstance(transport, asyncio.Transport) or hasattr(transport, "write"):
            self._transport = transport  # type: ignore[assignment]  # uvloop's is not a subclass

    def data_received(self, data: bytes) -> None:
        try:
            for frame in self._decoder.feed(data):
                self._on_frame_received(frame)
        except protocol.ProtocolError:
            self.close()

    def _on_frame_received(self, frame: protocol.Frame) -> None:
        if self._on_frame is not None:
            self._on_frame(frame)
        elif self.first.done():
            self._early.append(frame)
        elif frame.message is not None:
            self.first.set_result(frame.message)

    def connection_lost(self, exc: Exception | None) -> None:
        del exc  # however it ended, it ended
        self._transport = None
        if not self.first.done():
            self.first.cancel()
        if not self.ended.done():
            self.ended.set_result(None)
        if self._on_lost is not None:
            self._on_lost()

    def send(self, frame: bytes) -> None:
        """Send an order; without effect when the keeper is gone, which `on_lost` reports."""
        if self._transport is not None:
            self._transport.write(frame)

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()


@dataclass(slots=True)
class Keeper:
    """How to reach or start the keeper of one state directory."""

    directory: Path
    grace: Seconds
    child: int | None = None
    """Its pid, when we are its parent and have to wait for it."""
    starting: StartingKeeper | None = None
    """One that was started ahead of the connection."""

    async def connect(self) -> tuple[KeeperLink, KeeperState]:
        """Return the connection to a keeper that answers, starting one where there is none."""
        if self.starting is not None:  # without effect where it fails: the next one is tried
            await self._wait_until_up(self.starting)
        for _ in range(_CONNECT_TRIES):
            connection = open_connection(self.directory)
            if connection is None:
                await self._start()
                connection = open_connection(self.directory)
            greeted = None if connection is None else await self._greet(connection)
            if greeted is not None:
                return greeted
        raise LaunchError(f"the keeper cannot be reached; see {self.directory / 'keeper.log'}")

    def greeting(self) -> bytes:
        """Return the order that the keeper answers each time."""
        return protocol.encode("hello", version=protocol.VERSION, grace=self.grace)

    def end(self) -> None:
        """See that a keeper that was our child has ended, and wait for it."""
        if self.child is not None:
            with contextlib.suppress(ProcessLookupError, ChildProcessError):
                os.kill(self.child, signal.SIGKILL)  # most likely dead, but not yet waited for
                os.waitpid(self.child, 0)
            self.child = None

    async def _greet(self, connection: socket.socket) -> tuple[KeeperLink, KeeperState] | None:
        peer = peer_of(connection)
        loop = asyncio.get_running_loop()
        _, link = await loop.create_unix_connection(KeeperLink, sock=connection)
        link.send(self.greeting())
        try:
            async with asyncio.timeout(_ANSWER_TIMEOUT):
                message = await asyncio.shield(link.first)
        except TimeoutError:
            link.close()
            self._replace(0 if peer is None else peer[0])
            return None
        except asyncio.CancelledError:
            if not link.first.cancelled():
                link.close()
                raise
            return None  # it left while this front connected
        if message.get("version") != protocol.VERSION:
            link.send(protocol.encode("stop_all", grace=_STOP_GRACE))
            async with asyncio.timeout(2 * _STOP_GRACE):
                await link.ended
            return None
        try:
            return link, _keeper_state(message)
        except protocol.ProtocolError as error:
            link.close()
            raise LaunchError(f"the keeper speaks nonsense: {error}") from error

    def _replace(self, pid: int) -> None:
        if pid == 0:
            raise LaunchError("the keeper does not answer")
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        self.end()

    async def _start(self) -> None:
        self.end()
        if not await self._wait_until_up(start_keeper(self.directory, self.grace)):
            raise LaunchError(f"the keeper did not start; see {self.directory / 'keeper.log'}")

    async def _wait_until_up(self, starting: StartingKeeper) -> bool:
        self.starting = None
        self.child, reader = starting.take()
        try:
            return await asyncio.to_thread(is_ready, reader)
        finally:
            os.close(reader)


def _keeper_state(message: Mapping[str, object]) -> KeeperState:
    return KeeperState(
        keeper=protocol.text(message, "keeper"),
        pid=protocol.whole(message, "pid"),
        next_run=protocol.whole(message, "next_run"),
        servers=tuple(_server(protocol.mapping(item)) for item in protocol.items(message, "runs")),
    )


def _server(facts: Mapping[str, object]) -> ReportedServer:
    tag = protocol.mapping(facts.get("tag"))
    return ReportedServer(
        run=protocol.whole(facts, "run"),
        server=ServerId(protocol.text(facts, "model")),
        pid=protocol.whole(facts, "pid"),
        started=protocol.whole(facts, "started"),
        stopping=facts.get("stopping") is True,
        fingerprint=protocol.text(tag, "fingerprint"),
        port=protocol.whole_or_none(tag, "port"),
    )


def wait_for_end(pid: int, within: Seconds) -> None:
    """Block until a process has exited, where the system allows that for one that is no child."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError):  # gone, or a kernel without such handles
            handle = os.pidfd_open(pid)
            try:
                is_readable(handle, within)
            finally:
                os.close(handle)


async def sweep(keeper: str) -> None:
    """Kill what a dead keeper's servers left behind; without a free process the guard must do."""
    script = str(Path(protocol.__file__).with_name("sweep.py"))
    argv = (sys.executable, "-I", "-S", script, keeper)
    for _ in range(_SWEEP_TRIES):
        try:
            process = await asyncio.create_subprocess_exec(*argv)
        except (OSError, RuntimeError):  # no descriptor, process or thread to be had
            await asyncio.sleep(_SWEEP_PAUSE)
        else:
            await process.wait()
            return
