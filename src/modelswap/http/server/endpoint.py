"""One client's connection as a socket: its transport, deadlines, tunnel and end.

The lower half of `connection`, which reads requests. Everything that is waited for has a deadline,
looked at by one sweep of the server. It refuses to read HTTP, except that a refusal is an answer.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, cast

from modelswap.http.transport.sockets import (
    client_of,
    has_unread,
    is_loopback,
    reset_at_end,
    unpace,
)

from .client_probes import HalfClosedProbe, SlowReader

if TYPE_CHECKING:
    from collections.abc import Callable

    from modelswap.http.message.head import EarlyCheck
    from modelswap.http.message.request import Request

    from .exchange import ClientTunnel, Exchange
    from .intake import BodyIntake
    from .server import Server


HIGH_WATER = 256 << 10
_LINGER = 2.0
_FLUSH = 5.0
"""Seconds that a closing connection gets to take what is still buffered."""
CHARGED = 128 << 10
"""Held bodies are accounted for in steps of this; smaller ones are not."""


class ServerEndpoint(asyncio.Protocol):
    """The state of a connection, and what needs no HTTP."""

    __slots__ = (
        "_body",
        "_busy",
        "_charged",
        "_check",
        "_closes_at",
        "_eof",
        "_exchange",
        "_head",
        "_idle_since",
        "_intake",
        "_next",
        "_partial",
        "_probe",
        "_reading",
        "_ready",
        "_request",
        "_scheme",
        "_server",
        "_slow",
        "_task",
        "_transport",
        "_tunnel",
        "keep_alive",
        "paused",
        "peer",
        "turn",
    )

    def __init__(self, server: Server) -> None:
        self._server = server
        self._transport: asyncio.Transport | None = None
        self._intake: Callable[[bytes], None] = self._on_head
        """Who takes the next bytes: this is the state of the receiving side."""
        self._exchange: Exchange | None = None
        self._body: BodyIntake | None = None
        self._tunnel: ClientTunnel | None = None
        self._task: asyncio.Task[None] | None = None
        self._partial = bytearray()
        self._check: EarlyCheck | None = None
        self._head = b""
        self._request: Request | None = None
        self._next = b""
        """Bytes behind the current request."""
        self._ready = b""
        """The current request's body, when it came whole with its head."""
        self._busy = False
        self._charged = 0
        """Bytes of the current body that count against the server's bound."""
        self._eof = False
        self._reading = True
        self._probe: HalfClosedProbe | None = None
        self._closes_at: float | None = None
        self._idle_since = 0.0
        self._slow: SlowReader | None = None
        self.peer = ""
        """The client's address; empty for a Unix socket."""
        self.turn = 0
        """The server's count when it became idle."""
        self._scheme = "http"
        self.keep_alive = True
        """Of the current request: may another follow?"""
        self.paused = False
        """The client does not keep up."""

    # The upper half's

    def _on_head(self, data: bytes) -> None:
        """Take the bytes of a head."""
        raise NotImplementedError

    def _advance(self) -> None:
        """Leave requests that are answered and begin those that wait."""
        raise NotImplementedError

    # The transport's calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(HIGH_WATER)
        self.peer = client_of(transport.get_extra_info("peername"))
        if is_loopback(self.peer):
            unpace(transport.get_extra_info("socket"))
        self._scheme = "https" if transport.get_extra_info("sslcontext") else "http"
        server = self._server
        server.turn += 1
        self.turn = server.turn
        refusal = server.add(self, self.peer)
        self._idle_since = self._server.sweeper.now
        if refusal is not None:
            self._refuse(503, refusal)

    def data_received(self, data: bytes) -> None:
        self._intake(data)

    def eof_received(self) -> bool:
        self._eof = True
        if self._tunnel is not None:
            self._tunnel.on_client_eof()
            return self._scheme == "http"
        exchange = self._exchange
        if exchange is not None and self._may_still_listen(exchange):
            self._probe = HalfClosedProbe(self._server.loop, self.write, self._awaits_answer)
            return True
        self._closes_at = self._closes_at or self._server.sweeper.now + _FLUSH
        self._server.coalescer.flush()  # an answer of this very turn: the transport closes now
        self._intake = self._ignore
        self._drop_exchange()
        return False

    def _may_still_listen(self, exchange: Exchange) -> bool:
        """Whether a client that sends no more may still want this answer."""
        whole = self._body is None or self._body.complete
        begun = exchange.started or exchange.finished
        return whole and not begun and self._scheme == "http" and exchange.request.version == "1.1"

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self._intake = self._ignore
        self._transport = None
        self._body = None
        if self._probe is not None:
            self._probe.cancel()
        self._uncharge()
        self._server.remove(self, self.peer)
        tunnel, self._tunnel = self._tunnel, None
        if tunnel is not None:
            tunnel.on_client_lost()
        self._drop_exchange()

    def pause_writing(self) -> None:
        self.paused = True
        self._slow = SlowReader(self._transport, self._server.sweeper.now)
        if self._tunnel is not None:
            self._tunnel.on_client_paused()

    def resume_writing(self) -> None:
        self.paused = False
        if self._tunnel is not None:
            self._tunnel.on_client_resumed()
        elif self._exchange is not None:
            if self._exchange.finished:
                self._advance()
            else:
                self._exchange.drained()

    # Writing

    def write(self, data: bytes) -> None:
        if self._transport is not None:
            self._server.coalescer.write(self._transport, data)

    def write_all(self, parts: tuple[bytes, ...]) -> None:
        """Write without joining the parts."""
        if self._transport is not None:
            self._server.coalescer.flush()
            self._transport.writelines([part for part in parts if part])

    def date_line(self) -> bytes:
        return self._server.date_line()

    # Endings

    def break_off(self, *, reset: bool) -> None:
        """End the connection so that the answer looks broken; `reset` where a plain end would not."""
        self._intake = self._ignore
        self._exchange = None
        self._body = None
        self._cancel_task()
        transport = self._transport
        if transport is None:
            return
        self._server.coalescer.flush()
        if reset:
            reset_at_end(transport.get_extra_info("socket"))
            transport.abort()
        else:
            self._closes_at = self._server.sweeper.now + _FLUSH
            transport.close()

    def _refuse(self, status: int, text: str, head: bytes = b"") -> None:
        """Answer with an error, if that is still possible, and close; `head` is what is no request."""
        head = head or bytes(self._partial)
        exchange = self._exchange
        request = exchange.request if exchange is not None else None
        self._partial = bytearray()
        self._check = None
        self._body = None
        self._intake = self._ignore
        self.keep_alive = False
        if exchange is not None and exchange.started:
            self._drop_exchange()
            self.break_off(reset=True)
            return
        self.write(self._server.error_answer(request, status, text, head))
        self._drop_exchange()
        self._close(linger=True)

    def _close(self, *, linger: bool) -> None:
        """Close after what is buffered was sent; `linger`: let the client finish talking first."""
        self._intake = self._ignore
        self._exchange = None
        self._body = None
        self._next = b""
        self._cancel_task()
        transport = self._transport
        if transport is None:
            return
        self._server.coalescer.flush()
        now = self._server.sweeper.now
        if linger and not self._eof:
            self._closes_at = now + _LINGER
            self._resume()
            if transport.can_write_eof():
                transport.write_eof()
        else:
            self._closes_at = now + _FLUSH
            transport.close()

    def _ignore(self, data: bytes) -> None: ...

    def close(self) -> None:
        """Close when what is buffered was sent."""
        self._server.coalescer.flush()
        self._closes_at = self._server.sweeper.now + _FLUSH
        if self._transport is not None:
            self._transport.close()

    def kill(self) -> None:
        """Close at once."""
        if self._transport is not None:
            self._transport.abort()

    # Tunnels

    def begin_tunnel(self, tunnel: ClientTunnel, head: bytes) -> None:
        """Send the `101` head and pass all further bytes to `tunnel`."""
        self._tunnel = tunnel
        self._intake = tunnel.from_client
        self.write(head)
        early, self._next = self._next, b""
        self._resume()
        if early:
            tunnel.from_client(early)

    def pause_reading(self) -> None:
        self._pause()

    def resume_reading(self) -> None:
        self._resume()

    def write_eof(self) -> None:
        transport = self._transport
        self._server.coalescer.flush()
        if transport is not None and transport.can_write_eof() and not transport.is_closing():
            transport.write_eof()

    # Deadlines

    @property
    def is_busy(self) -> bool:
        """Whether a request runs on it, or the end of an answer is still on its way."""
        if self._exchange is not None or self._tunnel is not None or self._closes_at is not None:
            return True
        return self._transport is not None and self._transport.is_closing()

    @property
    def is_resting(self) -> bool:
        """Whether no request runs on it or has begun to come."""
        return not (self.is_busy or self._partial or self._next or self._eof)

    @property
    def is_idle(self) -> bool:
        """Whether it rests, nothing is left to send, and nothing has come that was not read yet."""
        transport = self._transport
        return (
            transport is not None
            and self.is_resting
            and not transport.get_write_buffer_size()
            and not has_unread(transport.get_extra_info("socket"))
        )

    def close_if_idle(self) -> bool:
        """Close a connection on which no request runs or has begun to come; False when one has."""
        transport = self._transport
        if transport is not None and not self.is_busy:
            if not self.is_resting or has_unread(transport.get_extra_info("socket")):
                return False
            self._close(linger=False)
        return True

    def sweep(self, now: float) -> None:
        """Look after this connection's deadlines."""
        transport = self._transport
        if transport is None:
            return
        limits = self._server.limits
        if self._closes_at is not None:
            if now > self._closes_at:
                transport.abort()
        elif self._exchange is None:
            self._sweep_idle(now)
        else:
            body = self._body
            if body is not None and body.too_slow(now, limits.body_timeout, limits.body_min_rate):
                self._refuse(408, "the request's body comes too slowly")
            elif self.paused and self._slow and self._slow.is_given_up(transport, now, limits):
                transport.abort()

    def _sweep_idle(self, now: float) -> None:
        limits = self._server.limits
        if self._partial:
            if now - self._idle_since > limits.header_timeout:
                self._refuse(408, "the request's headers come too slowly")
        elif now - self._idle_since > limits.idle_timeout:
            self.close_if_idle()

    # Small things

    def hold(self, count: int) -> bool:
        """See `Exchange.hold`."""
        if not self._server.hold(self.peer, count):
            return False
        self._charged += count
        return True

    def _uncharge(self) -> None:
        if self._charged:
            self._server.let_go(self.peer, self._charged)
            self._charged = 0

    def _cancel_task(self) -> None:
        task, self._task = self._task, None
        if task is not None and not task.done() and task is not asyncio.current_task():
            task.cancel()

    def _drop_exchange(self) -> None:
        exchange, self._exchange = self._exchange, None
        self._cancel_task()
        if exchange is not None:
            exchange.gone()

    def _awaits_answer(self) -> bool:
        exchange = self._exchange
        return exchange is not None and not exchange.started and self._transport is not None

    def _pause(self) -> None:
        if self._reading and self._transport is not None and not self._eof:
            self._reading = False
            self._transport.pause_reading()

    def _resume(self) -> None:
        if not self._reading and self._transport is not None and not self._eof:
            self._reading = True
            self._transport.resume_reading()
