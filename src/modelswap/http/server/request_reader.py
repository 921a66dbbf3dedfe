"""Reads the requests of one connection: heads and bodies, in order. It is fed bytes.

While a request is being responded to, the bytes behind it wait unread.
Memory: one incomplete head (`limits.headers` + `limits.request_line`), one read beyond it (256 KiB,
uvloop's buffer), and 64 KiB of a body that is not asked for yet.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from modelswap.http.message.chunked import ChunkError
from modelswap.http.message.head import BAD_REQUEST, EarlyCheck, RefusedError, parse_request
from modelswap.http.message.head_template import head_template
from modelswap.http.message.request import Request
from modelswap.units import Bytes

from .intake import BodyIntake

if TYPE_CHECKING:
    from collections.abc import Callable

    from modelswap.bounded_cache import BoundedCache
    from modelswap.http.body.protocols import BodySink
    from modelswap.http.limits import Limits
    from modelswap.http.message.head import RequestHead
    from modelswap.http.message.head_template import HeadTemplate

    from .protocols import ReaderOwner, ReadingEnd

    class _Clock(Protocol):
        now: float

    class ReaderContext(Protocol):
        """What readers share; a `ServerContext`."""

        @property
        def limits(self) -> Limits: ...
        @property
        def heads(self) -> BoundedCache[bytes, RequestHead]: ...
        @property
        def sweeper(self) -> _Clock: ...


_MAX_WAITING = Bytes(64 << 10)
"""Bytes of pipelined requests that are held before reading pauses: many small requests."""
_MAX_KNOWN_HEAD = Bytes(4096)
"""Bytes of a head whose reading is kept: ordinary ones are shorter, and all kept ones take 2 MiB."""
_CHARGE_STEP = Bytes(128 << 10)
"""Held bodies are accounted for in steps of this; smaller ones are not."""


class RequestReader:
    def __init__(self, context: ReaderContext, client: ReadingEnd, owner: ReaderOwner) -> None:
        self._context = context
        self._client = client
        self._owner = owner
        self.peer = ""
        self.scheme = "http"
        self.at_head: Callable[[bytes], None] = self.read_head
        """The state between requests."""
        self._behind_body: Callable[[bytes], None] = self._on_pipelined
        self.feed: Callable[[bytes], None] = self.at_head
        """Takes the next bytes: this is the state."""
        self.body: BodyIntake | None = None
        """Of the current request, until it is complete and taken."""
        self.partial = bytearray()
        """The beginning of a head."""
        self.head_since = 0.0
        """When it began to come, on the sweeper's clock."""
        self.waiting = b""
        """Bytes behind the current request."""
        self.fills_bodies = False
        self._check: EarlyCheck | None = None
        self._head = b""
        self._request: Request | None = None
        self._template: HeadTemplate | None = None
        """Of the last head, when it announced a length."""

    def stop(self) -> None:
        self.feed = self._ignore
        self.body = self._check = None
        self.partial = bytearray()
        self.waiting = b""

    def _ignore(self, data: bytes) -> None: ...

    def hand_over(self, taker: Callable[[bytes], None]) -> bytes:
        """Return what waits; `taker` gets the rest."""
        self.feed = taker
        return self.take_waiting()

    def take_waiting(self) -> bytes:
        data, self.waiting = self.waiting, b""
        return data

    def read_head(self, data: bytes) -> None:
        """Take the bytes of a head."""
        if self.partial:
            self._on_partial_head(data)
            return
        request = self._request
        if request is None or not data.startswith(self._head):  # not the same again
            request = self._of_known_template(data)
            if request is None:
                end = data.find(b"\r\n\r\n") + 4
                if end < 4 or data.startswith(b"\r\n"):  # noqa: PLR2004 - find() returned -1
                    self._on_partial_head(data)
                else:
                    self._on_new_head(data, end)
                return
        start = len(self._head)
        if not request.has_body:
            self.feed = self._behind_body
            if len(data) > start:
                self._on_pipelined(data[start:])
            self._owner.on_request(request, b"")
        elif request.content_length == len(data) - start <= self._context.limits.body:
            self.feed = self._behind_body
            self._owner.on_request(request, data[start:])
        elif self._begin_body(request, data, start):
            self._owner.on_request(request, None)

    def _of_known_template(self, data: bytes) -> Request | None:
        """The request of a head that differs from the last one only in its length."""
        template = self._template
        if template is None or self._request is None or not (digits := template.digits(data)):
            return None
        self._head = data[: template.size + len(digits)]
        self._request = self._request.of_length(digits)
        return self._request

    def _on_partial_head(self, data: bytes) -> None:
        """One empty line before a head is allowed."""
        partial = self.partial
        if not partial:
            self.head_since = self._context.sweeper.now
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
            self.partial = bytearray()
            self._check = None
            if self._request is not None and whole[:end] == self._head:
                self.read_head(whole)
            else:
                self._on_new_head(whole, end)
            return
        self._check_partial(data)

    def _check_partial(self, data: bytes) -> None:
        limits = self._context.limits
        partial = self.partial
        line = partial.find(b"\r\n")
        if line < 0 and len(partial) > limits.request_line:
            self._owner.refuse(414, "the request line is too long", head=bytes(partial))
        elif len(partial) - max(line, 0) > limits.headers:
            self._owner.refuse(431, "the headers are too large", head=bytes(partial))
        elif self._check is not None and not self._check.feed(data):
            self._owner.refuse(BAD_REQUEST, "malformed HTTP", head=bytes(partial))

    def _on_new_head(self, data: bytes, end: int) -> None:
        head = data[:end]
        try:
            request = Request(self._parsed(head), self.peer, self.scheme)
        except RefusedError as refused:
            self._owner.refuse(refused.status, refused.text, head=head)
            return
        self._head = head
        self._request = request
        self._template = head_template(head)
        self.read_head(data)  # now it is known

    def _parsed(self, head: bytes) -> RequestHead:
        known = self._context.heads.get(head)
        if known is not None:
            return known
        limits = self._context.limits
        line = head.find(b"\r\n")
        if line > limits.request_line:
            raise RefusedError(414, "the request line is too long")
        if len(head) - line > limits.headers or head.count(b"\r\n") > limits.header_count + 2:
            raise RefusedError(431, "the headers are too large or too many")
        parsed = parse_request(head)
        if len(head) <= _MAX_KNOWN_HEAD:
            self._context.heads[head] = parsed
        return parsed

    def _begin_body(self, request: Request, data: bytes, start: int) -> bool:
        """False: it was refused."""
        limit = self._context.limits.body
        if (request.content_length or 0) > limit:
            self.refuse_large()
            return False
        body = self.body = BodyIntake(request, limit, self._context.sweeper.now)
        self.feed = self._on_body
        if len(data) > start:
            self._on_body(data, start)
        return self.body is body

    def _on_pipelined(self, data: bytes) -> None:
        self.waiting += data
        if len(self.waiting) > _MAX_WAITING:
            self._client.pause_reading()

    def _on_body(self, data: bytes, start: int = 0) -> None:
        body = self.body
        if body is None:
            self._on_pipelined(data)
            return
        body.last = self._context.sweeper.now
        try:
            rest = body.begin(data, start) if start else body.feed(data)
        except ChunkError as wrong:
            self._refuse(BAD_REQUEST, str(wrong))
            return
        if body.over_limit:
            self.refuse_large()
            return
        if body.must_wait and not start:  # the first piece's taker comes right after it
            self._client.pause_reading()
        self._on_received(body, rest)

    def _on_received(self, body: BodyIntake, rest: bytes) -> None:
        owner = self._owner
        grown = body.received - owner.charged
        if grown > _CHARGE_STEP and body.is_kept and not owner.hold(grown):
            self._refuse(503, "too many large requests at once")
            return
        if body.complete and self.body is body:
            self.feed = self._behind_body
            if rest:
                self._on_pipelined(rest)
            if body.consumed:
                self._end_body(body)
        else:
            self._may_fill(body)

    def _may_fill(self, body: BodyIntake) -> None:
        """Have large bodies read into their own memory, once the connection has brought one."""
        if not self.fills_bodies and body.unfilled() is not None:
            self.fills_bodies = True
            self._owner.fill_bodies()

    def unfilled(self) -> memoryview | None:
        return None if self.body is None else self.body.unfilled()

    def on_filled(self, count: int) -> None:
        body = self.body
        if body is not None:
            body.last = self._context.sweeper.now
            body.on_filled(count)
            self._on_received(body, b"")

    def _end_body(self, body: BodyIntake) -> None:
        self.body = None
        body.finish()
        self._owner.on_body_end()

    def _refuse(self, status: int, text: str) -> None:
        self._owner.refuse(status, text, request=self._request)

    def refuse_large(self) -> None:
        self._refuse(413, "the request's body is too large")

    def read_body(self, done: Callable[[bytes], None], limit: int | None) -> None:
        body = self.body
        if body is None:
            done(b"")
            return
        if limit is not None and body.exceeds(limit):
            self.refuse_large()
            return
        body.collect(done)
        self._start_body(body)

    def stream_body(self, sink: BodySink) -> None:
        body = self.body
        if body is None:
            sink.on_end()
            return
        body.stream(sink)
        self._start_body(body)

    def _start_body(self, body: BodyIntake) -> None:
        if body.complete:
            self._end_body(body)
            return
        body.last = body.span_since = self._context.sweeper.now
        if not body.received and self._request is not None and self._request.expects:
            self._client.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        body.expected = True
        if not body.paused:
            self._client.resume_reading()
        self._may_fill(body)

    def pause_body(self) -> None:
        if self.body is not None:
            self.body.paused = True
            self._client.pause_reading()

    def resume_body(self) -> None:
        body = self.body
        if body is not None and body.paused:
            body.paused = False
            body.last = body.span_since = self._context.sweeper.now
            self._client.resume_reading()

    def discard_body(self) -> bool:
        """False: the rest is still to come."""
        body = self.body
        if body is not None:
            body.discard()
            if not body.complete:
                return False
            self.body = None
        return True
