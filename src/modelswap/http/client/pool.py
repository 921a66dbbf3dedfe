"""The connections to one address.

Law: a connection carries one exchange at a time, and is used again only after
an answer that ended exactly where its framing said, with nothing behind it.
What is waited for has a deadline (`Timeouts`), watched by one clock. It refuses
to pipeline, and to keep more than `MAX_IDLE` idle connections.
"""

from __future__ import annotations

import asyncio
import select
import socket
from typing import TYPE_CHECKING

from modelswap.bounded_cache import BoundedCache
from modelswap.http.message.head import of_length
from modelswap.http.message.head_template import cut
from modelswap.http.transport.deadline_sweeper import DeadlineSweeper
from modelswap.http.transport.sockets import is_loopback, keep_alive, unpace
from modelswap.http.transport.write_coalescer import WriteCoalescer
from modelswap.net.unix_sockets import name_of

from .connection import UpstreamConnection
from .result import EndReason

if TYPE_CHECKING:
    import ssl

    from modelswap.config.plan import Timeouts
    from modelswap.http.message.head import ResponseHead
    from modelswap.net.address import Address

    from .relay import Relay
    from .tunnel import RelayEnds

MAX_IDLE = 256
LAST_WORDS = 0.5
"""Seconds in which the kernel delivers what a server sent before it exited: it is all there, unless
a descendant of the server holds the connection open."""
_KNOWN_HEADS = 128
_KNOWN_HEAD_SIZE = 2048
_PROBABLY_ALIVE = 0.5
"""Seconds of idleness below which a server's idle timeout cannot have struck."""
_LOCALHOST = ("127.0.0.1", "::1")


class UpstreamPool:
    """Needs a running event loop."""

    def __init__(
        self, address: Address, timeouts: Timeouts, *, ssl_context: ssl.SSLContext | None = None
    ) -> None:
        """`ssl_context` replaces the default one for https."""
        self.address = address
        self.timeouts = timeouts
        self.heads: BoundedCache[bytes, ResponseHead] = BoundedCache(_KNOWN_HEADS)
        """Heads read before: equal bytes have an equal reading."""
        self._shapes: BoundedCache[bytes, ResponseHead] = BoundedCache(_KNOWN_HEADS)
        """The same, by what they are without the digits of their length."""
        self._ssl = ssl_context
        self._loop = asyncio.get_running_loop()
        self.sweeper = DeadlineSweeper(self._loop, self._sweep)
        self.coalescer = WriteCoalescer(self._loop)
        self._idle: list[UpstreamConnection] = []
        self._wires: set[UpstreamConnection] = set()
        self._connecting: dict[RelayEnds, asyncio.Task[None]] = {}
        self._closed = False

    @property
    def idle(self) -> int:
        """Connections that wait for a request."""
        return len(self._idle)

    @property
    def open(self) -> int:
        return len(self._wires)

    def close_idle(self) -> None:
        """Close the connections that carry nothing, and keep none until the next request."""
        for wire in self._idle:
            wire.close()
        self._idle.clear()

    def close(self) -> None:
        """Close all connections; running exchanges end with `UPSTREAM_LOST`."""
        self._closed = True
        self.close_idle()
        for relay, task in list(self._connecting.items()):
            task.cancel()
            relay.on_broken(EndReason.UPSTREAM_LOST, "the upstream was closed", never_ran=True)
        self._connecting.clear()
        for wire in list(self._wires):
            wire.fail(EndReason.UPSTREAM_LOST, "the upstream was closed")
        self.sweeper.stop()

    def orphan(self) -> None:
        """The server has exited: let running exchanges read what it still sent, then close."""
        self._closed = True
        self.close_idle()
        self._loop.call_later(LAST_WORDS, self.close)

    # For relays

    def begin(self, relay: Relay, *, fresh: bool = False) -> None:
        """Send the relay's request, on a connection that waits or on a new one."""
        if self._closed:
            relay.on_broken(EndReason.UPSTREAM_LOST, "the upstream was closed", never_ran=True)
            return
        while self._idle and not fresh:
            wire = self._idle.pop()
            if not wire.is_closing():
                is_fresh = self.sweeper.now - wire.last < _PROBABLY_ALIVE
                if (is_fresh and not relay.is_streaming) or _is_open(wire):
                    wire.begin(relay)
                    return
            wire.close()
        task = self._loop.create_task(
            self._connect(relay), name=f"connect {self.address.authority}"
        )
        self._connecting[relay] = task

    def forget(self, relay: RelayEnds) -> None:
        """The relay wants no connection any more."""
        task = self._connecting.pop(relay, None)
        if task is not None:
            task.cancel()

    def release(self, wire: UpstreamConnection) -> None:
        """Keep a connection for the next request."""
        if self._closed or len(self._idle) >= MAX_IDLE:
            wire.close()
        else:
            self._idle.append(wire)

    def lost(self, wire: UpstreamConnection) -> None:
        self._wires.discard(wire)
        if wire in self._idle:
            self._idle.remove(wire)

    def remember(self, head: bytes, reading: ResponseHead, *, was_repaired: bool = False) -> None:
        """Keep a reading. A repaired head has no shape: it may hold its length twice."""
        if len(head) <= _KNOWN_HEAD_SIZE:
            self.heads[head] = reading
            digits = None if was_repaired else cut(head)
            if digits is not None:
                self._shapes[_without(head, digits)] = reading

    def of_known_shape(self, head: bytes) -> ResponseHead | None:
        """Read a head that differs from a known one in its length only."""
        digits = cut(head)
        if digits is None:
            return None
        known = self._shapes.get(_without(head, digits))
        return None if known is None else of_length(known, head[slice(*digits)], len(head))

    async def _connect(self, relay: Relay) -> None:
        try:
            async with asyncio.timeout(self.timeouts.connect):
                wire = await self._open()
        except TimeoutError:
            self._connecting.pop(relay, None)
            relay.on_broken(EndReason.CONNECT_TIMEOUT, "connecting took too long", never_ran=True)
            return
        except (OSError, ValueError) as wrong:
            self._connecting.pop(relay, None)
            relay.on_broken(EndReason.CONNECT_FAILED, _reason(wrong), never_ran=True)
            return
        self._connecting.pop(relay, None)
        wire.begin(relay)

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
        secure = context is not None
        transport, wire = await self._loop.create_connection(
            lambda: UpstreamConnection(self),
            host,
            self.address.port,
            ssl=context,
            server_hostname=self.address.host if secure else None,
            ssl_handshake_timeout=self.timeouts.tls_handshake if secure else None,
        )
        peer = transport.get_extra_info("peername")
        if peer and is_loopback(peer[0]):
            unpace(transport.get_extra_info("socket"))
        else:
            keep_alive(transport.get_extra_info("socket"), self.timeouts.keepalive)
        return wire

    async def _open_unix(self, name: str) -> UpstreamConnection:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            connection.settimeout(0)
            await self._loop.sock_connect(connection, name)
            _, wire = await self._loop.create_unix_connection(
                lambda: UpstreamConnection(self), sock=connection
            )
        except BaseException:
            connection.close()
            raise
        return wire

    async def _context(self) -> ssl.SSLContext | None:
        if self.address.scheme == "http":
            return None
        if self._ssl is None:
            self._ssl = await asyncio.to_thread(_default_context)
        return self._ssl

    def add(self, wire: UpstreamConnection) -> None:
        self._wires.add(wire)
        self.sweeper.wake()

    def _sweep(self, now: float) -> bool:
        for wire in list(self._wires):
            wire.sweep(now)
        return bool(self._wires)


def _is_open(wire: UpstreamConnection) -> bool:
    """Whether an idle connection was not closed by the server, as far as the kernel knows."""
    poll = select.poll()
    fd = wire.fileno()
    if fd < 0:
        return False
    poll.register(fd, select.POLLIN)
    return not poll.poll(0)


def _without(head: bytes, digits: tuple[int, int]) -> bytes:
    """A head with a mark, which no valid head has, in the place of its length."""
    start, end = digits
    return b"%b\0%b" % (head[:start], head[end:])


def _default_context() -> ssl.SSLContext:
    import ssl  # noqa: PLC0415 - costs start-up time, and few have an https upstream

    return ssl.create_default_context()


def _reason(wrong: Exception) -> str:
    if isinstance(wrong, ConnectionRefusedError):
        return "connection refused"
    if isinstance(wrong, FileNotFoundError):
        return "its Unix socket does not exist"
    return getattr(wrong, "strerror", None) or type(wrong).__name__
