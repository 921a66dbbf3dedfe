"""One request and its response.

Guarantees: an exchange ends exactly once, by a complete response, by `abort`, or because the client
left (`on_gone`). A response shorter or longer than announced is broken off, never ended cleanly.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from modelswap.http.message.fields import status_line, written
from modelswap.http.message.head import NO_BODY_BELOW, NO_CONTENT, NOT_MODIFIED
from modelswap.units import Bytes

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence
    from typing import Any

    from modelswap.http.body.protocols import BodySink
    from modelswap.http.message.fields import Field
    from modelswap.http.message.request import Request

    from .protocols import ClientTunnel, ExchangeOwner, ExchangeWriter

_NO_BODY, _LENGTH, _CHUNKED, _UNTIL_CLOSE = range(4)
_JOIN_BELOW = Bytes(65536)
"""Below this a chunk and its framing are copied into one buffer; above, written in pieces."""
_BODILESS = frozenset({NO_CONTENT, NOT_MODIFIED})


class Exchange:
    __slots__ = (
        "_framing",
        "_held",
        "_left",
        "_owner",
        "finished",
        "on_drain",
        "on_gone",
        "ready",
        "request",
        "started",
        "status",
        "writer",
    )

    def __init__(
        self, owner: ExchangeOwner, writer: ExchangeWriter, request: Request, ready: bytes | None
    ) -> None:
        self._owner = owner
        self.writer = writer
        self.request = request
        self.ready = ready
        """The whole body, until it is taken, when it came with the head."""
        self.on_gone: Callable[[], None] | None = None
        """Called once when the client left, broke off, or was refused in the middle of its body
        (408, 413), before the response was complete. `finished` is then True."""
        self.on_drain: Callable[[], None] | None = None
        """Called when writing may go on after `write` returned False."""
        self.started = False
        self.finished = False
        self.status = 0
        """Of the response; 0 before it started."""
        self._framing = _NO_BODY
        self._left = 0
        self._held = b""
        """A head that waits for the first bytes of its body: uvloop writes at once, and one
        system call is cheaper than two."""

    @property
    def body_length(self) -> int | None:
        request = self.request
        return None if request.chunked else request.content_length or 0

    def hold(self, count: int) -> bool:
        """Until the response is complete; False: too much."""
        return self._owner.hold(count)

    def read_body(self, done: Callable[[bytes], None], limit: int | None = None) -> None:
        """Give the whole body to `done`, perhaps before this returns.

        Over `limit` bytes (or the server's own) the client gets a 413, and `on_gone` is called instead.
        """
        if self.finished:
            return
        ready = self.ready
        if ready is None:
            self._owner.reader.read_body(done, limit)
        elif limit is not None and len(ready) > limit:
            self._owner.reader.refuse_large()
        else:
            self.ready = b""
            done(ready)

    def stream_body(self, sink: BodySink) -> None:
        """Give the body to `sink` as it comes, perhaps before this returns."""
        if self.finished:
            return
        ready = self.ready
        if ready is None:
            self._owner.reader.stream_body(sink)
            return
        self.ready = b""
        if ready:
            sink.on_data(ready)
        sink.on_end()

    def pause_body(self) -> None:
        if not self.finished:
            self._owner.reader.pause_body()

    def resume_body(self) -> None:
        if not self.finished:
            self._owner.reader.resume_body()

    def reply(self, status: int, headers: Sequence[Field], body: bytes = b"") -> None:
        """Framing, `Date` and `Connection` are added."""
        if self.finished or self.started:
            return
        bodiless = status < NO_BODY_BELOW or status in _BODILESS
        length = b"" if bodiless else b"Content-Length: %d\r\n" % len(body)
        head = self._head(status, headers)
        self._begin(status)
        head += length + self._owner.closing_line() + b"\r\n"
        if bodiless or self.request.method == "HEAD" or not body:
            self.writer.write(head)
        elif len(body) < _JOIN_BELOW:
            self.writer.write(head + body)
        else:
            self.writer.write_all((head, body))
        self._finish()

    def start(self, status: int, headers: Sequence[Field], *, length: int | None = None) -> None:
        """The body follows by `write` and `end`."""
        if not (self.finished or self.started):
            self.start_block(status, self._head(status, headers), length)

    def start_block(self, status: int, block: bytes, length: int | None) -> None:
        """Like `start`, with status line and headers as lines."""
        self._begin(status)
        bodiless = status < NO_BODY_BELOW or status in _BODILESS
        framing, line = _UNTIL_CLOSE, b""
        if length is not None and (not bodiless or status == NOT_MODIFIED):
            framing, line = _LENGTH, b"Content-Length: %d\r\n" % length
        elif not bodiless and self.request.version == "1.1":
            framing, line = _CHUNKED, b"Transfer-Encoding: chunked\r\n"
        if not bodiless and self.request.method != "HEAD":
            self._framing = framing
            self._left = length or 0
            if framing == _UNTIL_CLOSE:
                self._owner.keep_alive = False
        self.writer.write(block + line + self._owner.closing_line() + b"\r\n")

    def start_ready(self, status: int, head: bytes, length: int | None) -> None:
        """Like `start_block` with the framing and the empty line in `head`, when `can_start_ready`.

        The head goes out with the body's first bytes, or by `flush`.
        """
        self.started = True
        self.status = status
        if length is None:
            self._framing = _CHUNKED
        else:
            self._framing = _LENGTH
            self._left = length
        self._held = head

    @property
    def passes_chunks(self) -> bool:
        """Whether what is written next may be chunks as they stand."""
        return self._framing == _CHUNKED and not self._held and not self.finished

    def write_chunk(self, raw: bytes, data: bytes) -> bool:
        """Like `write(data)`, when `raw` is `data` as exactly one chunk."""
        if not self.passes_chunks:
            return self.write(data)
        writer = self.writer
        writer.write(raw)
        return not writer.paused

    def retract_head(self) -> bool:
        """Forget a head that still waits; True when it did: another response may be given."""
        if not self._held:
            return False
        self._held = b""
        self.started = False
        self.status = self._left = 0
        self._framing = _NO_BODY
        return True

    def flush(self) -> None:
        held = self._held
        if held:
            self._held = b""
            self.writer.write(held)

    def can_start_ready(self) -> bool:
        """Whether `start_ready` may be used: nothing to add, and the response has a body."""
        return self.request.is_plain and not self._owner.must_close()

    def send_whole(self, status: int, head: bytes, body: bytes) -> bool:
        """Send a response with the framing in `head`; False: one has begun, or the head needs more."""
        if self.started or self.finished or not self.request.is_plain:
            return False
        self.started = self.finished = True
        if not self._owner.send_whole(head + body):
            self.started = self.finished = False
            return False
        self.status = status
        self.on_gone = self.on_drain = None
        return True

    def write(self, data: bytes) -> bool:
        """Send a piece of the body; False asks to wait for `on_drain`."""
        if data and not self.finished:
            self._send(data, b"")
        return not self.writer.paused

    def end(self, data: bytes = b"") -> None:
        if self.finished:
            return
        if self._framing == _CHUNKED:
            self._send(data, b"0\r\n\r\n")
        elif data:
            self._send(data, b"")
        else:
            self.flush()
        if not self.started or self._left:
            self.abort()
        elif not self.finished:
            self._finish()

    def _send(self, data: bytes, tail: bytes) -> None:
        held, self._held = self._held, b""
        size = len(data)
        framing = self._framing
        if framing == _LENGTH:
            self._left -= size
            if self._left < 0:
                self.abort()
                return
        elif framing == _CHUNKED:
            if data:
                held = b"%b%x\r\n" % (held, size)
                tail = b"\r\n" + tail
        elif framing == _NO_BODY:
            return
        if size < _JOIN_BELOW:
            self.writer.write(held + data + tail if held or tail else data)
        else:
            self.writer.write_all((held, data, tail))

    def abort(self) -> None:
        """Break off so that the client cannot take the response for complete."""
        if self.finished:
            return
        self.finished = True
        self._owner.break_off(reset=self._framing == _UNTIL_CLOSE or not self.started)

    def spawn(self, coro: Coroutine[Any, Any, None]) -> None:
        """Run a slow handler; it is cancelled when the client leaves."""
        if self.finished:
            coro.close()
        else:
            self._owner.spawn(coro)

    @property
    def paused(self) -> bool:
        return self.writer.paused

    def client_gone(self) -> None:
        if not self.finished:
            self.finished = True
            callback = self.on_gone
            if callback is not None:
                callback()

    def drained(self) -> None:
        if self.on_drain is not None:
            self.on_drain()

    def begin_tunnel(self, tunnel: ClientTunnel, head: bytes) -> None:
        """The exchange is finished when the tunnel is."""
        self._begin(101)
        self._owner.begin_tunnel(tunnel, head)

    def _begin(self, status: int) -> None:
        self.started = True
        self.status = status

    def _head(self, status: int, headers: Sequence[Field]) -> bytes:
        return status_line(status) + written(headers) + self._owner.date_line()

    def _finish(self) -> None:
        self.finished = True
        self._owner.on_finished()
