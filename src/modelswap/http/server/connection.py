"""One client's connection: it serves the requests that its reader finds, one at a time, in order.

Everything that is waited for has a deadline. A client that closes its sending side after a request
still gets its response when that has not begun; whether it is really gone is found out by sending
`100 Continue`. Once the response has begun, and for HTTP/1.0 and TLS, end of input means gone.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, cast

from modelswap.http.body.buffered_protocol import BufferedBodyProtocol
from modelswap.http.transport.swept_connections import REST_AFTER
from modelswap.units import Bytes

from .client_probes import HalfClosedProbe
from .client_transport import ClientTransport
from .exchange import Exchange
from .request_reader import RequestReader

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from typing import Any

    from modelswap.http.message.request import Request

    from .context import ServerContext
    from .protocols import ClientTunnel

_MAX_DISCARDED = Bytes(256 << 10)
"""An unread rest of a body up to this is read and thrown away, to keep the connection."""


class ServerConnection(asyncio.Protocol):
    def __init__(self, context: ServerContext) -> None:
        self._context = context
        self._client = ClientTransport(context.coalescer, context.sweeper)
        self.reader = RequestReader(context, self._client, self)
        self._exchange: Exchange | None = None
        self._tunnel: ClientTunnel | None = None
        self._task: asyncio.Task[None] | None = None
        self._busy = False
        """The next request begins when the current call returns."""
        self._probe: HalfClosedProbe | None = None
        self._idle_since = 0.0
        self._is_resting = False
        self.charged = 0
        """Bytes of the current exchange that count against the server's bound."""
        self.peer = ""
        self.idle_number = 0
        self.keep_alive = True

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        client = self._client
        client.begin(cast("asyncio.Transport", transport))
        self.reader.peer = self.peer = client.peer
        self.reader.scheme = "https" if client.is_tls else "http"
        context = self._context
        context.sweeper.wake()
        self._note_idle()
        if not context.connections.add(self, self.peer, context.sweeper.now):
            self.refuse(503, "too many connections")

    def data_received(self, data: bytes) -> None:
        self.reader.feed(data)

    def eof_received(self) -> bool:
        self.wake()
        client = self._client
        client.eof = True
        if self._tunnel is not None:
            self._tunnel.on_client_eof()
            return not client.is_tls
        exchange = self._exchange
        if exchange is not None and self._may_still_listen(exchange):
            self._probe = HalfClosedProbe(self._context.loop, client.write, self._awaits_response)
            return True
        client.close_at_eof()
        self.reader.stop()
        self._drop_exchange()
        return False

    def _may_still_listen(self, exchange: Exchange) -> bool:
        body = self.reader.body
        if exchange.started or exchange.finished or (body is not None and not body.complete):
            return False
        return not self._client.is_tls and exchange.request.version == "1.1"

    def _awaits_response(self) -> bool:
        exchange = self._exchange
        return exchange is not None and not exchange.started and self._client.transport is not None

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self.reader.stop()
        self._client.transport = None
        if self._probe is not None:
            self._probe.cancel()
        self._free_held()
        self._context.connections.remove(self, self.peer)
        tunnel, self._tunnel = self._tunnel, None
        if tunnel is not None:
            tunnel.on_client_lost()
        self._drop_exchange()

    def pause_writing(self) -> None:
        self._client.on_paused()
        if self._tunnel is not None:
            self._tunnel.on_client_paused()

    def resume_writing(self) -> None:
        self._client.paused = False
        if self._tunnel is not None:
            self._tunnel.on_client_resumed()
        elif self._exchange is not None:
            if self._exchange.finished:
                self._advance()
            else:
                self._exchange.drained()

    def on_request(self, request: Request, ready: bytes | None) -> None:
        context = self._context
        exchange = self._exchange = Exchange(self, self._client, request, ready)
        self.keep_alive = request.keep_alive and not context.draining
        busy, self._busy = self._busy, True
        try:
            context.handler(exchange)
        except Exception as bug:  # noqa: BLE001 - the border: one request's bug ends one request
            context.on_crash(exchange, bug)
        self._busy = busy
        body = self.reader.body
        if body is not None and body.must_wait:
            self._client.pause_reading()
        if exchange.finished and not busy:
            self._advance()

    def on_body_end(self) -> None:
        exchange = self._exchange
        if exchange is not None and exchange.finished and not self._busy:
            self._advance()

    def refuse(
        self, status: int, text: str, *, head: bytes = b"", request: Request | None = None
    ) -> None:
        exchange = self._exchange
        self.reader.stop()
        self.keep_alive = False
        if exchange is not None and exchange.started:
            self._drop_exchange()
            self.break_off(reset=True)
            return
        self._client.write(self._context.refusal(request, status, text, head))
        self._drop_exchange()
        self._end(self._client.linger)

    def fill_bodies(self) -> None:
        if self._client.transport is not None:
            self._client.transport.set_protocol(
                BufferedBodyProtocol(self, self.reader, self._context.read_buffer)
            )

    def date_line(self) -> bytes:
        return self._context.date_line()

    def must_close(self) -> bool:
        if self._context.draining:
            self.keep_alive = False
        body = self.reader.body
        if body is not None and not body.complete:
            exchange = self._exchange
            unasked = not body.received and exchange is not None and exchange.request.expects
            if (not body.expected and unasked) or body.left > _MAX_DISCARDED:
                self.keep_alive = False
        return not self.keep_alive

    def closing_line(self) -> bytes:
        if self.must_close():
            return b"Connection: close\r\n"
        if self._exchange is not None and self._exchange.request.version == "1.0":
            return b"Connection: keep-alive\r\n"
        return b""

    def send_whole(self, data: bytes) -> bool:
        context = self._context
        client = self._client
        reader = self.reader
        if reader.body is not None or context.draining or not self.keep_alive:
            return False
        if client.transport is not None:
            context.coalescer.write(client.transport, data)
        if (
            client.is_reading
            and self._task is None
            and not (self._busy or reader.waiting or client.paused or self.charged or client.eof)
        ):  # nothing is left of the request: the next may come at once
            self._exchange = None
            reader.feed = reader.at_head
            self._idle_since = context.sweeper.now
            context.idle_count = self.idle_number = context.idle_count + 1
        else:
            self.on_finished()
        return True

    def on_finished(self) -> None:
        if self.reader.waiting:
            self._context.loop.call_soon(self._advance)  # behind the caller, which is not done yet
        elif not self._busy:
            self._advance()

    def break_off(self, *, reset: bool) -> None:
        self._end(self._client.reset if reset else self._client.close)

    def spawn(self, coro: Coroutine[Any, Any, None]) -> None:
        assert self._exchange is not None
        self._task = self._context.spawn(self._exchange, coro)

    def hold(self, count: int) -> bool:
        if not self._context.memory.hold(self.peer, count, self._context.limits.body):
            return False
        self.charged += count
        return True

    def _advance(self) -> None:
        """Leave requests that have their response and begin those that wait."""
        self._busy = True
        try:
            while self._exchange is not None and self._exchange.finished:
                if not self._leave_exchange():
                    return
                data = self.reader.take_waiting()
                if data:
                    self.reader.read_head(data)
        finally:
            self._busy = False

    def _leave_exchange(self) -> bool:
        """False: no other request can begin (now)."""
        self._free_held()
        reader = self.reader
        client = self._client
        if not self.keep_alive:
            body = reader.body
            is_cut = body is not None and not body.complete  # unread bytes would reset it
            lingers = is_cut or not self._context.draining
            self._end(client.linger if lingers else client.close)
            return False
        if client.paused:  # a client that does not read gets no pile of responses
            client.pause_reading()
            return False
        if not reader.discard_body():
            client.resume_reading()
            return False
        self._exchange = None
        self._cancel_task()
        if client.eof and not reader.waiting:
            self._end(client.close)
            return False
        reader.feed = reader.at_head
        self._note_idle()
        client.resume_reading()
        return True

    def _note_idle(self) -> None:
        context = self._context
        self._idle_since = context.sweeper.now
        context.idle_count = self.idle_number = context.idle_count + 1

    def _free_held(self) -> None:
        if self.charged:
            self._context.memory.free(self.peer, self.charged)
            self.charged = 0

    def _cancel_task(self) -> None:
        task, self._task = self._task, None
        if task is not None and not task.done() and task is not asyncio.current_task():
            task.cancel()

    def _drop_exchange(self) -> None:
        exchange, self._exchange = self._exchange, None
        self._cancel_task()
        if exchange is not None:
            exchange.client_gone()

    def begin_tunnel(self, tunnel: ClientTunnel, head: bytes) -> None:
        """Have bytes read by the loop's own way again: over TLS a tunnel may end without a word.

        What uvloop has not given to a `BufferedBodyProtocol` by then, 64 KiB at a time, is lost.
        """
        client = self._client
        if self.reader.fills_bodies and client.transport is not None:
            self.reader.fills_bodies = False
            client.transport.set_protocol(self)
        self._tunnel = tunnel
        client.write(head)
        early = self.reader.hand_over(tunnel.from_client)
        client.resume_reading()
        if early:
            tunnel.from_client(early)

    def kill(self) -> None:
        self._client.abort()

    def close_if_idle(self) -> bool:
        """Close it unless it is busy. False: a request has begun to come, or a response to go out."""
        client = self._client
        if client.transport is None or self.is_busy:
            return True
        if not self.is_between_requests or client.has_unread:
            return False
        self._end(client.close)
        return not client.transport.get_write_buffer_size()

    def _end(self, close: Callable[[], None]) -> None:
        """Forget what runs, then close the connection in this way."""
        self.wake()
        self.reader.stop()
        self._exchange = None
        self._cancel_task()
        close()

    @property
    def is_busy(self) -> bool:
        """Whether a request runs on it, or the end of a response is still on its way."""
        return self._exchange is not None or self._tunnel is not None or self._client.is_closing

    @property
    def is_between_requests(self) -> bool:
        return not (self.is_busy or self.reader.partial or self.reader.waiting or self._client.eof)

    @property
    def is_idle(self) -> bool:
        """Whether it is between requests, all was sent, and nothing has come that was not read yet."""
        return self.is_between_requests and self._client.is_quiet

    def sweep(self, now: float) -> None:
        client = self._client
        if client.transport is None:
            return
        limits = self._context.limits
        exchange = self._exchange
        if client.closes_at is not None:
            if now > client.closes_at:
                client.abort()
        elif exchange is None:
            self._sweep_idle(now)
        else:
            body = self.reader.body
            if body is not None and body.too_slow(now, limits.body_timeout, limits.body_min_rate):
                self.refuse(408, "the request's body comes too slowly", request=exchange.request)
            elif client.is_too_slow(now, limits):
                client.abort()

    def _sweep_idle(self, now: float) -> None:
        limits = self._context.limits
        partial = self.reader.partial
        if partial:
            if now - self.reader.head_since > limits.header_timeout:
                self.refuse(408, "the request's headers come too slowly", head=bytes(partial))
        elif now - self._idle_since > limits.idle_timeout:
            self.close_if_idle()
        elif now - self._idle_since > REST_AFTER and self.is_idle:
            self._is_resting = True
            self.reader.feed = self._on_next_request
            until = self._idle_since + limits.idle_timeout
            self._context.connections.swept.rest(self, until)

    def _on_next_request(self, data: bytes) -> None:
        self.wake()
        self.reader.feed(data)

    def wake(self) -> None:
        """Have each sweep look at it again."""
        if self._is_resting:
            self._is_resting = False
            self.reader.feed = self.reader.at_head
            self._context.connections.swept.add(self)
