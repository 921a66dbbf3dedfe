"""One client's connection: requests in, one at a time, in order.

Law: nothing that is not a complete, valid head reaches the handler. While a
request is being answered, the next ones wait unread. A connection holds at most
one incomplete head (`limits.headers` + `limits.request_line`), one read beyond
it (256 KiB, uvloop's buffer), 64 KiB of body that nobody asked for yet, and the
transport's write buffer (high-water mark 256 KiB, plus what one write adds).

End of input: a client that closes its sending side after a request still gets
its answer when that has not begun. Whether it is really gone is found out by
sending `100 Continue` a few times: a closed socket answers with a reset. Once
the answer has begun, and for HTTP/1.0 and TLS, end of input means gone.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from typing import TYPE_CHECKING, cast

from .chunked import ChunkError
from .exchange import Exchange
from .head import BAD_REQUEST, EarlyCheck, RefusedError, parse_request
from .intake import BodyIntake
from .outqueue import unsent
from .request import Request

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from typing import Any, Protocol

    from .exchange import BodySink
    from .head import RequestHead
    from .server import Server

    class Tunnel(Protocol):
        """What a connection becomes after `101`."""

        def from_client(self, data: bytes) -> None: ...
        def client_eof(self) -> None: ...
        def client_lost(self) -> None: ...
        def client_paused(self) -> None: ...
        def client_resumed(self) -> None: ...


HIGH_WATER = 256 << 10
_HELD_PIPELINE = 64 << 10
_DISCARD = 256 << 10
"""An unread rest of a body up to this is read and thrown away, to keep the connection."""
_LINGER = 2.0
_FLUSH = 5.0
"""Seconds that a closing connection gets to take what is still buffered."""
_PROBES = (0.02, 0.25, 1.0)
_CHARGED = 128 << 10
"""Held bodies are accounted for in steps of this; smaller ones are not."""
_RESET = struct.pack("ii", 1, 0)


class Connection(asyncio.Protocol):
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
        "_peer",
        "_probe",
        "_reading",
        "_ready",
        "_request",
        "_scheme",
        "_server",
        "_task",
        "_transport",
        "_tunnel",
        "_unsent",
        "_unsent_since",
        "keep_alive",
        "paused",
    )

    def __init__(self, server: Server) -> None:
        self._server = server
        self._transport: asyncio.Transport | None = None
        self._intake: Callable[[bytes], None] = self._on_head
        """Who takes the next bytes: this is the state of the receiving side."""
        self._exchange: Exchange | None = None
        self._body: BodyIntake | None = None
        self._tunnel: Tunnel | None = None
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
        self._probe: asyncio.TimerHandle | None = None
        self._closes_at: float | None = None
        self._idle_since = 0.0
        self._unsent = 0
        self._unsent_since = 0.0
        self._peer = ""
        self._scheme = "http"
        self.keep_alive = True
        """Of the current request: may another follow?"""
        self.paused = False
        """The client does not keep up."""

    # The transport's calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(HIGH_WATER)
        peer: tuple[str, int] | None = transport.get_extra_info("peername")
        self._peer = peer[0] if peer else ""
        self._scheme = "https" if transport.get_extra_info("sslcontext") else "http"
        refusal = self._server.add(self, self._peer)
        self._idle_since = self._server.ticker.now
        if refusal is not None:
            self._refuse(503, refusal)

    def data_received(self, data: bytes) -> None:
        self._intake(data)

    def eof_received(self) -> bool:
        self._eof = True
        if self._tunnel is not None:
            self._tunnel.client_eof()
            return self._scheme == "http"
        exchange = self._exchange
        if exchange is not None and self._may_still_listen(exchange):
            self._probe_client(0)
            return True
        if self._closes_at is None:
            self._closes_at = self._server.ticker.now + _FLUSH
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
        self._server.remove(self, self._peer)
        tunnel, self._tunnel = self._tunnel, None
        if tunnel is not None:
            tunnel.client_lost()
        self._drop_exchange()

    def pause_writing(self) -> None:
        self.paused = True
        self._unsent_since = self._server.ticker.now
        self._unsent = 0 if self._transport is None else unsent(self._transport)
        if self._tunnel is not None:
            self._tunnel.client_paused()

    def resume_writing(self) -> None:
        self.paused = False
        if self._tunnel is not None:
            self._tunnel.client_resumed()
        elif self._exchange is not None:
            if self._exchange.finished:
                self._advance()
            else:
                self._exchange.drained()

    # Heads

    def _on_head(self, data: bytes) -> None:
        if self._partial:
            self._on_more_head(data)
            return
        request = self._request
        if request is not None and data.startswith(self._head):  # the same again
            self._serve(request, data[len(self._head) :])
            return
        end = data.find(b"\r\n\r\n") + 4
        if end < 4 or data.startswith(b"\r\n"):  # noqa: PLR2004 - find() answered -1
            self._on_more_head(data)
        elif end == len(data):
            self._on_whole_head(data, b"")
        else:
            self._on_whole_head(data[:end], data[end:])

    def _on_more_head(self, data: bytes) -> None:
        """Collect a head that comes in pieces; one empty line before it is forgiven."""
        partial = self._partial
        if not partial:
            self._idle_since = self._server.ticker.now
            self._check = EarlyCheck(request=True)
        seen = max(0, len(partial) - 3)
        partial += data
        if partial.startswith(b"\r\n"):
            del partial[:2]
            seen = 0
            if not partial:
                return
        end = partial.find(b"\r\n\r\n", seen) + 4
        if end >= 4:  # noqa: PLR2004 - found
            whole = bytes(partial)
            self._partial = bytearray()
            self._check = None
            self._on_whole_head(whole[:end], whole[end:])
            return
        self._check_partial(data)

    def _check_partial(self, data: bytes) -> None:
        limits = self._server.limits
        partial = self._partial
        line = partial.find(b"\r\n")
        if line < 0 and len(partial) > limits.request_line:
            self._refuse(414, "the request line is too long")
        elif len(partial) - max(line, 0) > limits.headers:
            self._refuse(431, "the headers are too large")
        elif self._check is not None and not self._check.feed(data):
            self._refuse(BAD_REQUEST, "malformed HTTP")

    def _on_whole_head(self, head: bytes, rest: bytes) -> None:
        if head == self._head and self._request is not None:
            request = self._request
        else:
            try:
                request = Request(self._read_head(head), self._peer, self._scheme)
            except RefusedError as refused:
                self._refuse(refused.status, refused.text)
                return
            self._head = head
            self._request = request
        self._serve(request, rest)

    def _read_head(self, head: bytes) -> RequestHead:
        server = self._server
        known = server.heads.get(head)
        if known is not None:
            return known
        limits = server.limits
        line = head.find(b"\r\n")
        if line > limits.request_line:
            raise RefusedError(414, "the request line is too long")
        if len(head) - line > limits.headers or head.count(b"\r\n") > limits.header_count + 2:
            raise RefusedError(431, "the headers are too large or too many")
        return server.remember(head, parse_request(head))

    # Requests

    def _serve(self, request: Request, rest: bytes) -> None:
        """Begin one request; `rest` is what came behind its head."""
        exchange = self._exchange = Exchange(self, request)
        self.keep_alive = request.keep_alive and not self._server.draining
        self._ready = b""
        if request.has_body and request.content_length == len(rest) <= self._server.limits.body:
            self._ready = rest
            self._intake = self._on_pipelined
        elif request.has_body:
            if (request.content_length or 0) > self._server.limits.body:
                self._refuse(413, "the request's body is too large")
                return
            self._body = BodyIntake(request, self._server.limits.body, self._server.ticker.now)
            self._intake = self._on_body
            if rest:
                self._on_body(rest)
                if exchange.finished:
                    return
        else:
            self._intake = self._on_pipelined
            if rest:
                self._on_pipelined(rest)
        busy, self._busy = self._busy, True
        self._server.handle(exchange)
        self._busy = busy
        if exchange.finished and not busy:
            self._advance()

    def _on_pipelined(self, data: bytes) -> None:
        self._next += data
        if len(self._next) > _HELD_PIPELINE:
            self._pause()

    def _on_body(self, data: bytes) -> None:
        body = self._body
        if body is None:
            self._on_pipelined(data)
            return
        body.last = self._server.ticker.now
        try:
            rest = body.feed(data)
        except ChunkError as wrong:
            self._refuse(BAD_REQUEST, str(wrong))
            return
        if body.over_limit:
            self._refuse(413, "the request's body is too large")
            return
        if body.received - self._charged > _CHARGED and body.is_kept and not self._charge(body):
            self._refuse(503, "too many large requests at once")
            return
        if body.must_wait:
            self._pause()
        if body.complete and self._body is body:
            self._intake = self._on_pipelined
            if rest:
                self._on_pipelined(rest)
            if body.consumed:
                self._end_body(body)

    def _charge(self, body: BodyIntake) -> bool:
        grown = body.received - self._charged
        if not self._server.hold(self._peer, grown):
            return False
        self._charged += grown
        return True

    def _uncharge(self) -> None:
        if self._charged:
            self._server.let_go(self._peer, self._charged)
            self._charged = 0

    def _end_body(self, body: BodyIntake) -> None:
        self._body = None
        body.finish()
        exchange = self._exchange
        if exchange is not None and exchange.finished and not self._busy:
            self._advance()

    def read_body(
        self, exchange: Exchange, done: Callable[[bytes], None], limit: int | None
    ) -> None:
        """See `Exchange.read_body`."""
        if exchange is not self._exchange or exchange.finished:
            return
        body = self._body
        if body is None:
            ready, self._ready = self._ready, b""
            if limit is not None and len(ready) > limit:
                self._refuse(413, "the request's body is too large")
            else:
                done(ready)
            return
        if limit is not None and body.exceeds(limit):
            self._refuse(413, "the request's body is too large")
            return
        body.collect(done)
        self._start_body(body)

    def stream_body(self, exchange: Exchange, sink: BodySink) -> None:
        """See `Exchange.stream_body`."""
        if exchange is not self._exchange or exchange.finished:
            return
        body = self._body
        if body is None:
            ready, self._ready = self._ready, b""
            if ready:
                sink.on_data(ready)
            sink.on_end()
            return
        body.stream(sink)
        self._start_body(body)

    def _start_body(self, body: BodyIntake) -> None:
        if body.complete:
            self._end_body(body)
            return
        now = self._server.ticker.now
        body.last = body.span_since = now
        if body.untouched and self._request is not None and self._request.expects:
            self.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        body.expected = True
        self._resume()

    def pause_body(self) -> None:
        if self._body is not None:
            self._body.paused = True
            self._pause()

    def resume_body(self) -> None:
        body = self._body
        if body is not None and body.paused:
            body.paused = False
            body.last = body.span_since = self._server.ticker.now
            self._resume()

    # Answers

    def write(self, data: bytes) -> None:
        if self._transport is not None:
            self._server.burst.write(self._transport, data)

    def write_all(self, parts: tuple[bytes, ...]) -> None:
        """Write without joining the parts."""
        if self._transport is not None:
            self._server.burst.flush()
            self._transport.writelines([part for part in parts if part])

    def date_line(self) -> bytes:
        return self._server.date_line()

    def must_close(self) -> bool:
        """Whether the answer that begins now must be the last one."""
        if self._server.draining:
            self.keep_alive = False
        body = self._body
        if body is not None and not body.complete:
            unasked = body.untouched and self._request is not None and self._request.expects
            if (not body.expected and unasked) or body.left > _DISCARD:
                self.keep_alive = False
        return not self.keep_alive

    def closing_line(self) -> bytes:
        if self.must_close():
            return b"Connection: close\r\n"
        request = self._request
        if request is not None and request.version == "1.0":
            return b"Connection: keep-alive\r\n"
        return b""

    def on_finished(self) -> None:
        """The answer is complete: go on to the next request, or close."""
        if self._next:
            # Whoever ends this exchange is not done yet; the next one begins after it.
            self._server.loop.call_soon(self._advance)
        elif not self._busy:
            if self._is_at_rest():
                self._exchange = None
                self._intake = self._on_head
                self._idle_since = self._server.ticker.now
            else:
                self._advance()

    def _is_at_rest(self) -> bool:
        """Whether nothing is left of an answered request, so that the next may come at once."""
        return (
            self.keep_alive
            and self._reading
            and self._body is None
            and self._task is None
            and not (self.paused or self._charged or self._eof or self._server.draining)
        )

    def _advance(self) -> None:
        """Leave requests that are answered and begin those that wait."""
        self._busy = True
        try:
            while self._exchange is not None and self._exchange.finished:
                if not self._leave_exchange():
                    return
                data, self._next = self._next, b""
                if data:
                    self._on_head(data)
        finally:
            self._busy = False

    def _leave_exchange(self) -> bool:
        """Return False when no other request can begin (now)."""
        if self._charged:
            self._uncharge()
        body = self._body
        if not self.keep_alive:
            self._close(linger=not self._server.draining)
            return False
        if self.paused:  # a client that asks and asks and does not read gets no pile of answers
            self._pause()
            return False
        if body is not None:
            body.discard()
            if not body.complete:
                self._resume()
                return False
            self._body = None
        self._exchange = None
        self._cancel_task()
        if self._eof and not self._next:
            self._close(linger=False)
            return False
        if self._server.draining:
            self._close(linger=False)
            return False
        self._intake = self._on_head
        self._idle_since = self._server.ticker.now
        self._resume()
        return True

    def break_off(self, *, reset: bool) -> None:
        """End the connection so that the answer looks broken; `reset` where a plain end would not."""
        self._intake = self._ignore
        self._exchange = None
        self._body = None
        self._cancel_task()
        transport = self._transport
        if transport is None:
            return
        self._server.burst.flush()
        if reset:
            sock = transport.get_extra_info("socket")
            if sock is not None:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            transport.abort()
        else:
            self._closes_at = self._server.ticker.now + _FLUSH
            transport.close()

    def _refuse(self, status: int, text: str) -> None:
        """Answer with an error, if that is still possible, and close."""
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
        self.write(self._server.error_answer(request, status, text))
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
        self._server.burst.flush()
        now = self._server.ticker.now
        if linger and not self._eof:
            self._closes_at = now + _LINGER
            self._resume()
            if transport.can_write_eof():
                transport.write_eof()
        else:
            self._closes_at = now + _FLUSH
            transport.close()

    def _ignore(self, data: bytes) -> None:
        """Take the bytes of a connection that is about to close."""

    # Tunnels

    def tunnel(self, tunnel: Tunnel, head: bytes) -> None:
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
        self._server.burst.flush()
        if transport is not None and transport.can_write_eof() and not transport.is_closing():
            transport.write_eof()

    def close(self) -> None:
        """Close when what is buffered was sent."""
        self._server.burst.flush()
        self._closes_at = self._server.ticker.now + _FLUSH
        if self._transport is not None:
            self._transport.close()

    def kill(self) -> None:
        """Close at once."""
        if self._transport is not None:
            self._transport.abort()

    # Deadlines

    @property
    def is_busy(self) -> bool:
        """Whether a request runs on it, or the end of an answer is still on its way."""
        if self._exchange is not None or self._tunnel is not None or self._closes_at is not None:
            return True
        return self._transport is not None and self._transport.is_closing()

    def close_if_idle(self) -> None:
        """For the end of a drain: a connection without a request ends now."""
        if not self.is_busy:
            self._close(linger=False)

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
            elif self.paused:
                self._sweep_unsent(transport, now)

    def _sweep_idle(self, now: float) -> None:
        limits = self._server.limits
        if self._partial:
            if now - self._idle_since > limits.header_timeout:
                self._refuse(408, "the request's headers come too slowly")
        elif self._tunnel is None and now - self._idle_since > limits.idle_timeout:
            self._close(linger=False)

    def _sweep_unsent(self, transport: asyncio.Transport, now: float) -> None:
        """Give up a client that takes its answer more slowly than a body may come: it keeps a model."""
        limits = self._server.limits
        if now - self._unsent_since <= limits.body_timeout:
            return
        left = unsent(transport)
        if self._unsent - left < max(1, limits.body_min_rate * limits.body_timeout):
            transport.abort()
        self._unsent = left
        self._unsent_since = now

    # Small things

    def spawn(self, exchange: Exchange, coro: Coroutine[Any, Any, None]) -> None:
        """See `Exchange.spawn`."""
        if exchange is not self._exchange or exchange.finished:
            coro.close()
            return
        self._task = self._server.spawn(exchange, coro)

    def _cancel_task(self) -> None:
        task, self._task = self._task, None
        if task is not None and not task.done() and task is not asyncio.current_task():
            task.cancel()

    def _drop_exchange(self) -> None:
        exchange, self._exchange = self._exchange, None
        self._cancel_task()
        if exchange is not None:
            exchange.gone()

    def _probe_client(self, count: int) -> None:
        """Find out whether a client that sends no more still listens."""
        self._probe = None
        exchange = self._exchange
        if exchange is None or exchange.started or self._transport is None:
            return
        self.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        if count < len(_PROBES):
            self._probe = self._server.loop.call_later(
                _PROBES[count], self._probe_client, count + 1
            )

    def _pause(self) -> None:
        if self._reading and self._transport is not None and not self._eof:
            self._reading = False
            self._transport.pause_reading()

    def _resume(self) -> None:
        if not self._reading and self._transport is not None and not self._eof:
            self._reading = True
            self._transport.resume_reading()
