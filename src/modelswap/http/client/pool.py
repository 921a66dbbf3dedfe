"""The pool of connections to one upstream address.

Guarantees: a connection carries one exchange at a time, and is used again only after a response that
ended exactly where its framing said, with nothing behind it.
"""

from __future__ import annotations

import asyncio
import select
import socket
from typing import TYPE_CHECKING

from modelswap.http.message.response_heads import ResponseHeads
from modelswap.http.transport.deadline_sweeper import DeadlineSweeper
from modelswap.http.transport.sockets import is_loopback, keep_alive, unpace
from modelswap.http.transport.write_coalescer import WriteCoalescer
from modelswap.net.tls import create_connection, default_context
from modelswap.net.unix_sockets import name_of
from modelswap.units import Seconds

from .connection import PROBABLY_OPEN, UpstreamConnection
from .result import EndReason
from .upstream_request import JOIN_BELOW

if TYPE_CHECKING:
    import ssl

    from modelswap.http.limits import Timeouts
    from modelswap.net.address import Address

    from .protocols import UpstreamObserver, WholeTaker
    from .upstream_request import UpstreamRequest

MAX_IDLE = 256
"""Connections: more requests at once are rare, and each idle one costs both sides a descriptor."""
LINGER_AFTER_EXIT = Seconds(0.5)
"""In this time the kernel delivers what a server sent before it exited: it is all there, unless a
descendant of the server holds the connection open."""
_LOCALHOST = ("127.0.0.1", "::1")
_CLOSED = "the upstream was closed"


class UpstreamPool:
    def __init__(
        self, address: Address, timeouts: Timeouts, *, ssl_context: ssl.SSLContext | None = None
    ) -> None:
        """`ssl_context` replaces the default one for https."""
        self.address = address
        self.timeouts = timeouts
        self.heads = ResponseHeads()
        self._ssl = ssl_context
        self._loop = asyncio.get_running_loop()
        self.sweeper = DeadlineSweeper(self._loop, self._sweep)
        self.coalescer = WriteCoalescer(self._loop)
        self._idle: list[UpstreamConnection] = []
        self._connections: set[UpstreamConnection] = set()
        self._connecting: dict[UpstreamObserver, asyncio.Task[None]] = {}
        self._closed = False

    def close_idle(self) -> None:
        """Keep no idle connection until the next request."""
        for connection in self._idle:
            connection.close()
        self._idle.clear()

    def close(self) -> None:
        """Running exchanges end with `UPSTREAM_LOST`."""
        self._closed = True
        self.close_idle()
        for observer, task in list(self._connecting.items()):
            task.cancel()
            observer.on_broken(EndReason.UPSTREAM_LOST, _CLOSED, never_ran=True)
        self._connecting.clear()
        for connection in list(self._connections):
            connection.fail(EndReason.UPSTREAM_LOST, _CLOSED)
        self.sweeper.stop()

    def close_after_exit(self) -> None:
        """Let running exchanges read what the server sent before it exited, then close."""
        self._closed = True
        self.close_idle()
        self._loop.call_later(LINGER_AFTER_EXIT, self.close)

    def ask(
        self, taker: WholeTaker, request: UpstreamRequest, body: bytes
    ) -> UpstreamConnection | None:
        """Send a small request, if that takes nothing but an idle connection; None: `begin` is for it."""
        idle = self._idle
        if not (idle and body and request.is_plain and len(body) < JOIN_BELOW):
            return None
        connection = idle.pop()
        data = b"%bContent-Length: %d\r\n\r\n%b" % (request.block, len(body), body)
        if connection.ask(taker, data):
            return connection
        idle.append(connection)
        return None

    def begin(
        self,
        observer: UpstreamObserver,
        fresh: bool = False,  # noqa: FBT001, FBT002 - keywords cost time
    ) -> None:
        if self._closed:
            observer.on_broken(EndReason.UPSTREAM_LOST, _CLOSED, never_ran=True)
            return
        idle = self._idle
        while idle and not fresh:
            connection = idle.pop()
            if not connection.is_closing():
                is_fresh = self.sweeper.now - connection.last < PROBABLY_OPEN
                if (is_fresh and not observer.is_streaming) or _is_open(connection):
                    connection.begin(observer)
                    return
            connection.close()
        task = self._loop.create_task(
            self._connect(observer), name=f"connect {self.address.authority}"
        )
        self._connecting[observer] = task

    def cancel_connect(self, observer: UpstreamObserver) -> None:
        task = self._connecting.pop(observer, None)
        if task is not None:
            task.cancel()

    def put_idle(self, connection: UpstreamConnection) -> None:
        if self._closed or len(self._idle) >= MAX_IDLE:
            connection.close()
        else:
            self._idle.append(connection)

    def remove(self, connection: UpstreamConnection) -> None:
        self._connections.discard(connection)
        if connection in self._idle:
            self._idle.remove(connection)

    async def _connect(self, observer: UpstreamObserver) -> None:
        try:
            async with asyncio.timeout(self.timeouts.connect):
                connection = await self._open()
        except TimeoutError:
            self._connecting.pop(observer, None)
            observer.on_broken(
                EndReason.CONNECT_TIMEOUT, "connecting took too long", never_ran=True
            )
            return
        except (OSError, ValueError) as wrong:
            self._connecting.pop(observer, None)
            observer.on_broken(EndReason.CONNECT_FAILED, _reason(wrong), never_ran=True)
            return
        self._connecting.pop(observer, None)
        connection.begin(observer)

    async def _open(self) -> UpstreamConnection:
        if self.address.socket_path:
            return await self._open_unix(name_of(self.address.socket_path))
        context = await self._context()
        hosts = _LOCALHOST if self.address.host == "localhost" else (self.address.host,)
        for host in hosts[:-1]:
            try:
                return await self._open_to(host, context)
            except OSError:
                continue
        return await self._open_to(hosts[-1], context)

    async def _open_to(self, host: str, context: ssl.SSLContext | None) -> UpstreamConnection:
        transport, connection = await create_connection(
            self._loop,
            lambda: UpstreamConnection(self),
            context,
            server_hostname=self.address.host,
            handshake_timeout=self.timeouts.tls_handshake,
            host=host,
            port=self.address.port,
        )
        peer = transport.get_extra_info("peername")
        if peer and is_loopback(peer[0]):
            unpace(transport.get_extra_info("socket"))
        else:
            keep_alive(transport.get_extra_info("socket"), self.timeouts.keepalive)
        return connection

    async def _open_unix(self, name: str) -> UpstreamConnection:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            sock.settimeout(0)
            await self._loop.sock_connect(sock, name)
            _, connection = await self._loop.create_unix_connection(
                lambda: UpstreamConnection(self), sock=sock
            )
        except BaseException:
            sock.close()
            raise
        return connection

    async def _context(self) -> ssl.SSLContext | None:
        if self.address.scheme == "http":
            return None
        if self._ssl is None:
            self._ssl = await asyncio.to_thread(default_context)
        return self._ssl

    def add(self, connection: UpstreamConnection) -> None:
        self._connections.add(connection)
        self.sweeper.wake()

    def _sweep(self, now: float) -> bool:
        for connection in list(self._connections):
            connection.sweep(now)
        return bool(self._connections)


def _is_open(connection: UpstreamConnection) -> bool:
    """As far as the kernel knows."""
    poll = select.poll()
    fd = connection.fileno()
    if fd < 0:
        return False
    poll.register(fd, select.POLLIN)
    return not poll.poll(0)


def _reason(wrong: Exception) -> str:
    if isinstance(wrong, ConnectionRefusedError):
        return "connection refused"
    if isinstance(wrong, FileNotFoundError):
        return "its Unix socket does not exist"
    return getattr(wrong, "strerror", None) or type(wrong).__name__
