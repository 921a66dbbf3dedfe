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

from typing import TYPE_CHECKING

from modelswap.http.body.buffered_protocol import BufferedBodyProtocol
from modelswap.http.message.chunked import ChunkError
from modelswap.http.message.head import BAD_REQUEST, EarlyCheck, RefusedError, parse_request
from modelswap.http.message.head_template import head_template
from modelswap.http.message.request import Request

from .endpoint import CHARGED, ServerEndpoint
from .exchange import Exchange
from .intake import BodyIntake

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from typing import Any

    from modelswap.http.body.protocols import BodySink
    from modelswap.http.message.head import RequestHead
    from modelswap.http.message.head_template import HeadTemplate

    from .exchange import ClientTunnel
    from .server import Server

_HELD_PIPELINE = 64 << 10
_DISCARD = 256 << 10
"""An unread rest of a body up to this is read and thrown away, to keep the connection."""


class ServerConnection(ServerEndpoint):
    """Reads requests and keeps them in order."""

    __slots__ = ("_pours", "_shape")

    def __init__(self, server: Server) -> None:
        super().__init__(server)
        self._shape: HeadTemplate | None = None
        """Of the last head, when it announced a length."""
        self._pours = False
        """Large bodies are read by `BufferedBodyProtocol`."""

    # Heads

    def _on_head(self, data: bytes) -> None:
        if self._partial:
            self._on_more_head(data)
            return
        request = self._request
        if request is not None:
            if data.startswith(self._head):  # the same again
                self._serve(request, data, len(self._head))
                return
            shape = self._shape
            if shape is not None and (digits := shape.digits(data)):  # but for the body's length
                size = shape.size + len(digits)
                self._head = data[:size]
                self._request = request = request.of_length(digits)
                self._serve(request, data, size)
                return
        end = data.find(b"\r\n\r\n") + 4
        if end < 4 or data.startswith(b"\r\n"):  # noqa: PLR2004 - find() answered -1
            self._on_more_head(data)
        else:
            self._on_whole_head(data, end)

    def _on_more_head(self, data: bytes) -> None:
        """Collect a head that comes in pieces; one empty line before it is forgiven."""
        partial = self._partial
        if not partial:
            self._idle_since = self._server.sweeper.now
            self._check = EarlyCheck()
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
            self._on_whole_head(whole, end)
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

    def _on_whole_head(self, data: bytes, end: int) -> None:
        head = data[:end]
        if head == self._head and self._request is not None:
            request = self._request
        else:
            try:
                request = Request(self._read_head(head), self.peer, self._scheme)
            except RefusedError as refused:
                self._refuse(refused.status, refused.text, head)
                return
            self._head = head
            self._request = request
            self._shape = head_template(head)
        self._serve(request, data, end)

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

    def _serve(self, request: Request, data: bytes, start: int) -> None:
        """Begin one request; behind `start` is what came behind its head."""
        exchange = self._exchange = Exchange(self, request)
        self.keep_alive = request.keep_alive and not self._server.draining
        self._ready = b""
        count = len(data) - start
        if request.has_body and request.content_length == count <= self._server.limits.body:
            self._ready = data[start:]
            self._intake = self._on_pipelined
        elif request.has_body:
            if (request.content_length or 0) > self._server.limits.body:
                self._refuse(413, "the request's body is too large")
                return
            self._body = BodyIntake(request, self._server.limits.body, self._server.sweeper.now)
            self._intake = self._on_body
            if count:
                self._on_body(data, start)
                if exchange.finished:
                    return
        else:
            self._intake = self._on_pipelined
            if count:
                self._on_pipelined(data[start:])
        busy, self._busy = self._busy, True
        self._server.handle(exchange)
        self._busy = busy
        body = self._body
        if body is not None and body.must_wait:
            self._pause()
        if exchange.finished and not busy:
            self._advance()

    def _on_pipelined(self, data: bytes) -> None:
        self._next += data
        if len(self._next) > _HELD_PIPELINE:
            self._pause()

    def _on_body(self, data: bytes, start: int = 0) -> None:
        body = self._body
        if body is None:
            self._on_pipelined(data)
            return
        body.last = self._server.sweeper.now
        try:
            rest = body.begin(data, start) if start else body.feed(data)
        except ChunkError as wrong:
            self._refuse(BAD_REQUEST, str(wrong))
            return
        if body.over_limit:
            self._refuse(413, "the request's body is too large")
            return
        if body.must_wait and not start:  # the first piece's taker comes right after it
            self._pause()
        self._on_received(body, rest)

    def _on_received(self, body: BodyIntake, rest: bytes) -> None:
        """See what is due now that more of the body is there, and perhaps bytes behind it."""
        grown = body.received - self._charged
        if grown > CHARGED and body.is_kept and not self.hold(grown):
            self._refuse(503, "too many large requests at once")
            return
        if body.complete and self._body is body:
            self._intake = self._on_pipelined
            if rest:
                self._on_pipelined(rest)
            if body.consumed:
                self._end_body(body)
        else:
            self._may_pour(body)

    def _may_pour(self, body: BodyIntake) -> None:
        """Read the connection in the way that is best for large bodies, once it has brought one."""
        if not self._pours and body.room() is not None and self._transport is not None:
            self._pours = True
            self._transport.set_protocol(BufferedBodyProtocol(self, self._server.shared))

    def begin_tunnel(self, tunnel: ClientTunnel, head: bytes) -> None:
        """See `Endpoint.begin_tunnel`; read by the loop's own way again.

        Over TLS a tunnel may end without a word, and what uvloop has not given to a `BufferedBodyProtocol` by
        then, 64 KiB at a time, is lost.
        """
        if self._pours and self._transport is not None:
            self._pours = False
            self._transport.set_protocol(self)
        super().begin_tunnel(tunnel, head)

    def room(self) -> memoryview | None:
        """Where the next bytes from the socket belong; None: `data_received` takes them."""
        return None if self._body is None else self._body.room()

    def on_poured(self, count: int) -> None:
        """So many bytes were read into `room`."""
        body = self._body
        if body is not None:
            body.last = self._server.sweeper.now
            body.pour(count)
            self._on_received(body, b"")

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
        now = self._server.sweeper.now
        body.last = body.span_since = now
        if body.untouched and self._request is not None and self._request.expects:
            self.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        body.expected = True
        if not body.paused:
            self._resume()
        self._may_pour(body)

    def pause_body(self) -> None:
        if self._body is not None:
            self._body.paused = True
            self._pause()

    def resume_body(self) -> None:
        body = self._body
        if body is not None and body.paused:
            body.paused = False
            body.last = body.span_since = self._server.sweeper.now
            self._resume()

    # Answers

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
            if (
                self.keep_alive
                and self._reading
                and self._body is None
                and self._task is None
                and not (self.paused or self._charged or self._eof or self._server.draining)
            ):  # nothing is left of the request: the next may come at once
                server = self._server
                self._exchange = None
                self._intake = self._on_head
                self._idle_since = server.sweeper.now
                server.turn = self.turn = server.turn + 1
            else:
                self._advance()

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
            is_cut = (
                body is not None and not body.complete
            )  # unread bytes would reset the connection
            self._close(linger=is_cut or not self._server.draining)
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
        self._intake = self._on_head
        self._idle_since = self._server.sweeper.now
        self._server.turn = self.turn = self._server.turn + 1
        self._resume()
        return True

    def spawn(self, exchange: Exchange, coro: Coroutine[Any, Any, None]) -> None:
        """See `Exchange.spawn`."""
        if exchange is not self._exchange or exchange.finished:
            coro.close()
            return
        self._task = self._server.spawn(exchange, coro)
