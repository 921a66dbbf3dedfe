"""One request and its answer.

Law: an exchange ends exactly once, by a complete answer, by `abort`, or because
the client left (`on_gone`). What it says about framing and what it sends agree:
an answer shorter or longer than promised is broken off, never ended cleanly.
It refuses to buffer an answer: `write` hands bytes to the transport, and says
when the caller must wait.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from modelswap.http.message.fields import status_line, written

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence
    from typing import Any

    from modelswap.http.body.protocols import BodySink
    from modelswap.http.message.fields import Field
    from modelswap.http.message.request import Request

    from .connection import ServerConnection

_NO_BODY, _LENGTH, _CHUNKED, _UNTIL_CLOSE = range(4)
_JOIN_BELOW = 65536
"""Below this a chunk and its framing are copied into one buffer; above, written in pieces."""
_OK = 200
_NO_CONTENT = 204
_NOT_MODIFIED = 304
_BODILESS = frozenset({_NO_CONTENT, _NOT_MODIFIED})


class ClientTunnel(Protocol):
    """What a client's connection passes its bytes to after `101`."""

    def from_client(self, data: bytes) -> None: ...
    def on_client_eof(self) -> None: ...
    def on_client_lost(self) -> None: ...
    def on_client_paused(self) -> None: ...
    def on_client_resumed(self) -> None: ...


class Exchange:
    __slots__ = (
        "_connection",
        "_framing",
        "_held",
        "_left",
        "finished",
        "on_drain",
        "on_gone",
        "request",
        "started",
        "status",
    )

    def __init__(self, connection: ServerConnection, request: Request) -> None:
        self._connection = connection
        self.request = request
        self.on_gone: Callable[[], None] | None = None
        """Called once when the client left, broke off, or was refused in the middle of its body
        (408, 413), before the answer was complete. `finished` is then True."""
        self.on_drain: Callable[[], None] | None = None
        """Called when writing may go on after `write` returned False."""
        self.started = False
        self.finished = False
        self.status = 0
        """Of the answer; 0 before it started."""
        self._framing = _NO_BODY
        self._left = 0
        self._held = b""
        """A head that waits for the first bytes of its body: uvloop writes at once, and one
        system call is cheaper than two."""

    # The request's body

    @property
    def body_length(self) -> int | None:
        """Of the request's body, where it is announced."""
        request = self.request
        return None if request.chunked else request.content_length or 0

    def hold(self, count: int) -> bool:
        """Account for so many more bytes in memory until the answer is complete; False: too much."""
        return self._connection.hold(count)

    def read_body(self, done: Callable[[bytes], None], limit: int | None = None) -> None:
        """Give the whole body to `done`, perhaps before this returns.

        Over `limit` bytes (or the server's own limit) the client gets its 413
        and `on_gone` is called instead.
        """
        self._connection.read_body(self, done, limit)

    def stream_body(self, sink: BodySink) -> None:
        """Give the body to `sink` as it comes, perhaps before this returns."""
        self._connection.stream_body(self, sink)

    def pause_body(self) -> None:
        if not self.finished:
            self._connection.pause_body()

    def resume_body(self) -> None:
        if not self.finished:
            self._connection.resume_body()

    # The answer

    def reply(self, status: int, headers: Sequence[Field], body: bytes = b"") -> None:
        """Send a complete answer. Framing, `Date` and `ServerConnection` are added."""
        if self.finished or self.started:
            return
        bodiless = status < _OK or status in _BODILESS
        length = b"" if bodiless else b"Content-Length: %d\r\n" % len(body)
        head = self._head(status, headers)
        self._begin(status)
        head += length + self._connection.closing_line() + b"\r\n"
        if bodiless or self.request.method == "HEAD" or not body:
            self._connection.write(head)
        elif len(body) < _JOIN_BELOW:
            self._connection.write(head + body)
        else:
            self._connection.write_all((head, body))
        self._finish()

    def start(self, status: int, headers: Sequence[Field], *, length: int | None = None) -> None:
        """Send the head of an answer whose body follows by `write` and `end`."""
        if self.finished or self.started:
            return
        head = self._head(status, headers)
        self.start_block(status, head, length)

    def start_block(self, status: int, block: bytes, length: int | None) -> None:
        """Like `start`, with status line and headers already written as lines."""
        self._begin(status)
        has_body = status >= _OK and status not in _BODILESS and self.request.method != "HEAD"
        if status < _OK or status == _NO_CONTENT:
            framing = b""
        elif length is not None:
            framing = b"Content-Length: %d\r\n" % length
            if has_body:
                self._left = length
                self._framing = _LENGTH
        elif status == _NOT_MODIFIED:
            framing = b""
        elif self.request.version == "1.1":
            framing = b"Transfer-Encoding: chunked\r\n"
            if has_body:
                self._framing = _CHUNKED
        else:
            framing = b""
            if has_body:
                self._framing = _UNTIL_CLOSE
                self._connection.keep_alive = False
        self._connection.write(block + framing + self._connection.closing_line() + b"\r\n")

    def start_ready(self, status: int, head: bytes, length: int | None) -> None:
        """Like `start_block` with the framing's lines and the empty line in `head`.

        Only when `can_start_ready`. The head goes out with the body's first bytes, or by `flush`.
        """
        self.started = True
        self.status = status
        if length is None:
            self._framing = _CHUNKED
        else:
            self._framing = _LENGTH
            self._left = length
        self._held = head

    def write_chunk(self, raw: bytes, data: bytes) -> bool:
        """Like `write(data)`, when `raw` is `data` as exactly one chunk."""
        connection = self._connection
        if self._framing == _CHUNKED and not self._held and not self.finished:
            connection.write(raw)
            return not connection.paused
        return self.write(data)

    def retract_head(self) -> bool:
        """Forget a head that still waits; True when it did: another answer may be given."""
        if not self._held:
            return False
        self._held = b""
        self.started = False
        self.status = self._left = 0
        self._framing = _NO_BODY
        return True

    def flush(self) -> None:
        """Send a head that still waits."""
        held = self._held
        if held:
            self._held = b""
            self._connection.write(held)

    def can_start_ready(self) -> bool:
        """Whether `start_ready` may be used: nothing to add, and the answer has a body."""
        return self.request.is_plain and not self._connection.must_close()

    def send_whole(self, status: int, head: bytes, body: bytes) -> bool:
        """Send a complete answer whose `head` has the framing in it, and be done.

        False, and nothing is sent: something has begun already, or the head needs an addition.
        """
        connection = self._connection
        if self.started or not self.request.is_plain or connection.must_close():
            return False
        self.started = self.finished = True
        self.status = status
        self.on_gone = self.on_drain = None
        connection.write(head + body)
        connection.on_finished()
        return True

    def write(self, data: bytes) -> bool:
        """Send a piece of the body; False asks to wait for `on_drain`."""
        if data and not self.finished:
            self._send(data, b"")
        return not self._connection.paused

    def end(self, data: bytes = b"") -> None:
        """Complete the answer, after `data`."""
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
        """Write the held head, a piece of the body and `tail` with one system call."""
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
            self._connection.write(held + data + tail if held or tail else data)
        else:
            self._connection.write_all((held, data, tail))

    def abort(self) -> None:
        """Break the answer off so that the client cannot take it for complete."""
        if self.finished:
            return
        self.finished = True
        self._connection.break_off(reset=self._framing == _UNTIL_CLOSE or not self.started)

    def spawn(self, coro: Coroutine[Any, Any, None]) -> None:
        """Run a slow handler; it is cancelled when the client leaves."""
        self._connection.spawn(self, coro)

    # For the connection and for relays

    @property
    def connection(self) -> ServerConnection:
        return self._connection

    @property
    def paused(self) -> bool:
        """The client does not keep up: wait for `on_drain`."""
        return self._connection.paused

    def gone(self) -> None:
        """Tell that nobody waits any more."""
        if not self.finished:
            self.finished = True
            callback = self.on_gone
            if callback is not None:
                callback()

    def drained(self) -> None:
        if self.on_drain is not None:
            self.on_drain()

    def begin_tunnel(self, tunnel: ClientTunnel, head: bytes) -> None:
        """Send the `101` head; the exchange is finished when the tunnel is."""
        self._begin(101)
        self._connection.begin_tunnel(tunnel, head)

    def _begin(self, status: int) -> None:
        self.started = True
        self.status = status

    def _head(self, status: int, headers: Sequence[Field]) -> bytes:
        return status_line(status) + written(headers) + self._connection.date_line()

    def _finish(self) -> None:
        self.finished = True
        self._connection.on_finished()
