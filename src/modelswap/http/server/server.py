"""The listening side: sockets, connections, limits, deadlines.

Law: at most `limits.connections` connections, each with a bound on its memory
(see `connection`) and a deadline on everything that it waits for. It knows
nothing of what requests mean: `handler` does, and `error` words the refusals.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time
from email.utils import formatdate
from typing import TYPE_CHECKING, NamedTuple

from modelswap.http.body.buffered_protocol import SHARED
from modelswap.http.message.fields import status_line, written
from modelswap.http.message.head import path_in
from modelswap.http.transport.deadline_sweeper import DeadlineSweeper
from modelswap.http.transport.listening import ListenAddress, bound
from modelswap.http.transport.malloc_trim import malloc_trim
from modelswap.http.transport.sockets import is_local
from modelswap.http.transport.write_coalescer import WriteCoalescer
from modelswap.net.unix_sockets import SocketFile

from .connection import ServerConnection
from .connections import Connections

if TYPE_CHECKING:
    import socket
    import ssl
    from collections.abc import Callable, Coroutine, Sequence
    from typing import Any

    from modelswap.http.limits import Limits
    from modelswap.http.message.fields import Field
    from modelswap.http.message.head import RequestHead
    from modelswap.http.message.request import Request

    from .endpoint import ServerEndpoint
    from .exchange import Exchange

_KNOWN_HEADS = 512
_KNOWN_HEAD_SIZE = 4096
_BACKLOG = 1024
_QUIET = 5.0
"""Seconds after the last large body until the memory that it took is given back."""
_CLOSE_PATIENCE = 2.0
"""Seconds for what was cut or cancelled to be gone."""
_MOST_HELD = 2 << 30
_BODIES_HELD = 8
"""All bodies in memory together: so many bytes, or so many of the largest; one address half of it."""
_PASSING = frozenset({408, 503})
"""Refusals that another try may not meet: a slow client, too much at once."""
_SOON = 1.0
"""Seconds after which it may come."""
_DRAIN_LOOK = 0.02
"""Seconds between two looks whether requests still run, in a drain."""


class Refused(NamedTuple):
    """A refusal that has no words yet."""

    status: int
    text: str
    retry_after: float | None
    """Seconds."""
    request: Request | None
    path: str = ""
    """Where there is no request: its path, as far as it can be told."""


class Server:
    def __init__(
        self,
        handler: Callable[[Exchange], None],
        *,
        limits: Limits,
        error: Callable[[Refused], tuple[Sequence[Field], bytes]],
        ssl_context: ssl.SSLContext | None = None,
        crashed: Callable[[BaseException], None] | None = None,
        is_unbounded: Callable[[str], bool] = is_local,
    ) -> None:
        """`error` gives headers and body of a refusal; `crashed` hears of a handler's exceptions.

        `is_unbounded` tells whether an address may have any number of connections.
        """
        self._handler = handler
        self._error = error
        self._crashed = crashed
        self._ssl = ssl_context
        self._servers: list[asyncio.Server] = []
        self._socket_path = ""
        self._socket_file: SocketFile | None = None
        self.loop = asyncio.get_running_loop()
        self._open = Connections(self.loop, limits, is_unbounded)
        self._held = 0
        self._held_by: dict[str, int] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._empty = asyncio.Event()
        self._empty.set()
        self._date = b""
        self._date_until = 0.0
        self.sweeper = DeadlineSweeper(self.loop, self._sweep)
        self.coalescer = WriteCoalescer(self.loop)
        self._quiet: asyncio.TimerHandle | None = None
        self.limits = limits
        self.heads: dict[bytes, RequestHead] = {}
        """Heads read before: equal bytes have an equal reading."""
        self.draining = False
        self.turn = 0
        """Counts the times that a connection became idle: the lower its number, the longer ago."""
        self.shared = memoryview(bytearray(SHARED))
        """Where connections that pour read everything else, one read at a time."""

    @property
    def connections(self) -> int:
        return len(self._open)

    async def listen(self, host: str, port: int) -> tuple[str, int]:
        """Accept connections; return the real address. ListenError when it is taken."""
        address = await self.bind(ListenAddress(host, port))
        await self.accept()
        return address

    async def bind(self, address: ListenAddress) -> tuple[str, int]:
        """Take the address without accepting yet; return the real one. ListenError when it is taken.

        The real one of a Unix socket is its path and 0.
        """
        real = await self.take(await bound(address), address)
        self._own_file()
        return real

    def _own_file(self) -> None:
        if self._socket_path:
            self._socket_file = SocketFile(self._socket_path)

    async def take(
        self, listening: Sequence[socket.socket], address: ListenAddress
    ) -> tuple[str, int]:
        """Use sockets that are bound to the address, without accepting yet; return the real one."""
        self._open.set_limits(self.limits)
        self._socket_path = address.socket_path
        create = self.loop.create_unix_server if address.socket_path else self.loop.create_server
        # From 3.13 on the loop would remove the file, which may be the next front's by then.
        keeps_file = bool(address.socket_path) and sys.version_info >= (3, 13)
        more: dict[str, Any] = {"cleanup_socket": False} if keeps_file else {}
        for one in listening:
            server = await create(
                lambda: ServerConnection(self),
                sock=one,
                ssl=self._ssl,
                # a handshake comes before the connection is counted: it must not take its time
                ssl_handshake_timeout=None if self._ssl is None else self.limits.header_timeout,
                backlog=_BACKLOG,
                start_serving=False,
                **more,
            )
            self._servers.append(server)
        if address.socket_path:
            return address.socket_path, 0
        name = listening[0].getsockname()
        return str(name[0]), int(name[1])

    def listening(self) -> list[int]:
        """Return the descriptors of the sockets that are accepted on."""
        return [one.fileno() for server in self._servers for one in server.sockets]

    async def accept(self) -> None:
        """Accept connections on what is bound. From now on a Unix socket's file is ours to remove."""
        self._own_file()
        for server in self._servers:
            await server.start_serving()

    def set_limits(self, limits: Limits) -> None:
        """New limits, for whatever is checked from now on."""
        self.limits = limits
        self._open.set_limits(limits)
        self.heads.clear()

    def hand_over(self) -> None:
        """Stop accepting on an address that another process listens on from now on."""
        self._socket_file = None
        self.stop_accepting()

    def stop_accepting(self) -> None:
        for server in self._servers:
            server.close()
        self._servers.clear()
        if self._socket_file is not None:
            self._socket_file.remove()

    async def drain(self, timeout: float | None, quiet: float = 0.0) -> bool:  # noqa: ASYNC109 - the caller's word for it
        """Let running requests end; False when some were still running after `timeout`.

        Connections stay open for it, each for one more request: whoever asks meanwhile gets an
        answer (most likely that we are leaving), not a closed connection. They get `quiet` seconds
        without any request to ask for it.
        """
        self.stop_accepting()
        self.draining = True
        try:
            async with asyncio.timeout(timeout):
                busy = self.loop.time()
                while self._open:
                    now = self.loop.time()
                    if any(connection.is_busy for connection in self._open):
                        busy = now
                    elif now - busy >= quiet and self._close_idle():
                        break
                    await asyncio.sleep(_DRAIN_LOOK)
        except TimeoutError:
            return False
        return True

    def _close_idle(self) -> bool:
        """Close the idle connections; False when a request has come on one, read or not."""
        return all(connection.close_if_idle() for connection in self._open)

    async def close(self) -> None:
        """End everything now."""
        self.stop_accepting()
        self.draining = True
        for connection in self._open:
            connection.kill()
        for task in list(self._tasks):
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=_CLOSE_PATIENCE)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_CLOSE_PATIENCE):
                await self._empty.wait()
        self.sweeper.stop()
        if self._quiet is not None:
            self._quiet.cancel()

    # For connections

    def add(self, connection: ServerEndpoint, peer: str) -> str | None:
        """Count a connection; a text when there are too many."""
        self.sweeper.wake()
        self._empty.clear()
        return (
            None if self._open.add(connection, peer, self.sweeper.now) else "too many connections"
        )

    def remove(self, connection: ServerEndpoint, peer: str) -> None:
        self._open.remove(connection, peer)
        if not self._open:
            self._empty.set()

    def hold(self, peer: str, count: int) -> bool:
        """Account for so many bytes of a body in memory; False when that is too much."""
        most = max(_MOST_HELD, _BODIES_HELD * self.limits.body)
        its = self._held_by.get(peer, 0) + count
        if self._held + count > most or its > most // 2:
            return False
        self._held += count
        self._held_by[peer] = its
        return True

    def let_go(self, peer: str, count: int) -> None:
        """Give back what was accounted for."""
        self._held -= count
        left = self._held_by.pop(peer, 0) - count
        if left > 0:
            self._held_by[peer] = left
        if not self._held and self._quiet is None:
            self._quiet = self.loop.call_later(_QUIET, self._on_quiet)

    def _on_quiet(self) -> None:
        """A while after the last large body: its memory may go."""
        self._quiet = None
        if not self._held:
            malloc_trim()

    @property
    def held(self) -> int:
        """Bytes of bodies in memory."""
        return self._held

    def remember(self, head: bytes, reading: RequestHead) -> RequestHead:
        if len(head) <= _KNOWN_HEAD_SIZE:
            if len(self.heads) >= _KNOWN_HEADS:
                self.heads.clear()
            self.heads[head] = reading
        return reading

    def handle(self, exchange: Exchange) -> None:
        """Give a request to the handler; an exception becomes a 500."""
        try:
            self._handler(exchange)
        except Exception as bug:  # noqa: BLE001 - the border: one request's bug ends one request
            self._on_crash(exchange, bug)

    def spawn(self, exchange: Exchange, coro: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        # A task group would cancel every request for the exception of one; this set is the
        # owner instead: it keeps the reference, reports the exception, and `close` waits for all.
        task = self.loop.create_task(
            self._guarded(exchange, coro), name=f"request {exchange.request.path}"
        )
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _guarded(self, exchange: Exchange, coro: Coroutine[Any, Any, None]) -> None:
        try:
            await coro
        except Exception as bug:  # noqa: BLE001 - as in `handle`
            self._on_crash(exchange, bug)

    def _on_crash(self, exchange: Exchange, bug: BaseException) -> None:
        if self._crashed is not None:
            self._crashed(bug)
        if exchange.started:
            exchange.abort()
            return
        fields, body = self._error(Refused(500, "internal error", None, exchange.request))
        exchange.reply(500, fields, body)

    def error_answer(self, request: Request | None, status: int, text: str, head: bytes) -> bytes:
        """A refusal, complete; the connection closes after it. `head` is what is no request."""
        after = _SOON if status in _PASSING else None
        fields, body = self._error(Refused(status, text, after, request, path_in(head)))
        headers = [
            *fields,
            (b"Content-Length", b"%d" % len(body)),
            (b"Connection", b"close"),
        ]
        if request is not None and request.method == "HEAD":
            body = b""
        return b"".join((status_line(status), written(headers), self.date_line(), b"\r\n", body))

    def date_line(self) -> bytes:
        """`Date`, as old as one tick at most."""
        now = self.sweeper.now
        if now >= self._date_until:
            wall = time.time()  # noqa: TID251 - this is for display
            self._date = f"Date: {formatdate(wall, usegmt=True)}\r\n".encode("ascii")
            self._date_until = now + 1.0 - wall % 1.0
        return self._date

    def _sweep(self, now: float) -> bool:
        for connection in self._open:
            connection.sweep(now)
        return bool(self._open)
