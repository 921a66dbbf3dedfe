"""Records one request to a model: in the list of running requests, as a row, and as a capture.

Guarantees: a small response that comes in one piece needs no meter and no capture builder. Nothing
that a client or a model server sends makes a method raise. A second `end` does nothing.
Memory: the bodies of request and response, until `forget`.
"""

from __future__ import annotations

from dataclasses import field
from functools import lru_cache
from time import monotonic
from typing import TYPE_CHECKING, Final, Protocol

import msgspec

from modelswap.deferred import dataclass
from modelswap.observe.activity.rows import Row
from modelswap.observe.captures import SMALL
from modelswap.observe.usage.failure_text import describe
from modelswap.observe.usage.meter import UNCOMMON, Meter, decode_common, tokens_of
from modelswap.observe.usage.usage import Tokens, UsageFormat

if TYPE_CHECKING:
    from modelswap.api.services import Services
    from modelswap.http import Field, Request, ResponseHead
    from modelswap.observe.captures import CaptureBuilder, CaptureMask
    from modelswap.observe.logs.redaction import Headers
    from modelswap.observe.usage.usage import CommonBody

    from .context import RequestContext, ResolvedRequest

_OBJECT: Final = UsageFormat.OBJECT  # looking a member up costs as much as a call
_OK: Final = 200
"""The one status whose body is kept in captures."""


class RecordOwner(Protocol):
    def cancel(self) -> None:
        """End the request."""
        ...


@dataclass(slots=True, eq=False)
class RequestRecord:
    """One request to a model, from its resolution to its end; also its entry in the running ones."""

    services: Services
    context: RequestContext
    request: Request
    """May be another one of equal requests than the context's."""
    began: float
    """Monotonic."""
    resolved: ResolvedRequest
    """Equal requests share it."""
    owner: RecordOwner | None = field(default=None, init=False)
    """Has the request, while it is in the list of running requests."""
    number: int = field(default=0, init=False)
    priority: int | None = field(default=None, init=False)
    queue_ms: int = field(default=-1, init=False)
    sent: bytes | None = field(default=None, init=False)
    """What goes to the model server, after all rewriting."""
    sent_size: int = field(default=0, init=False)
    """Bytes of it, also of a body that is not held."""
    status: int = field(default=0, init=False)
    received: int = field(default=0, init=False)
    _is_own: bool = field(default=False, init=False)
    """The response is an error of this program."""
    _head: ResponseHead | None = field(default=None, init=False)
    _first_chunk: bytes = field(default=b"", init=False)
    """The first bytes of a response, which may be its only ones."""
    _first_chunk_at: float | None = field(default=None, init=False)
    _meter: Meter | None = field(default=None, init=False)
    _end_reason: str = field(default="", init=False)
    """Empty: it has not ended."""
    # What is set later
    _capture: CaptureBuilder | None = field(init=False)
    """Set with the meter."""
    ended: float = field(init=False)
    shown_status: int = field(init=False)
    """What the client was sent, or what became of it: for the log."""
    answered: int = field(init=False)
    """Bytes of body that went to the client."""
    _error: str = field(init=False)
    _epoch: float = field(init=False)
    id: int = field(init=False)
    size: int = field(init=False)
    body: CommonBody | None = field(init=False)
    """The usual response, whose figures are computed when the row is read; `None`: see `tokens`."""
    tokens: Tokens = field(init=False)

    # What the request means

    @property
    def recorded_path(self) -> str:
        return self.context.path

    @property
    def model(self) -> str:
        return self.resolved.model

    # As an entry of the list of running requests

    @property
    def method(self) -> str:
        return self.context.request.method

    @property
    def path(self) -> str:
        return self.context.shown_path

    @property
    def request_headers(self) -> tuple[Field, ...]:
        """As they came, without the coding that was taken off the body."""
        fields = self.request.headers
        if not self.context.codings:
            return fields
        return tuple(field for field in fields if field[0].lower() != b"content-encoding")

    @property
    def response_headers(self) -> Headers:
        return () if self._head is None else self._head.headers

    @property
    def remote_ip(self) -> str:
        return self.context.address

    def cancel(self) -> None:
        if self.owner is not None:
            self.owner.cancel()

    # While it runs

    def on_head(self, head: ResponseHead) -> None:
        self._head = head
        self.status = head.status
        if self.owner is not None:
            self.services.inflight.on_response_head(self)

    def on_whole(self, head: ResponseHead, data: bytes, now: float) -> None:
        """Take a whole response; the same `now` goes to `end`, at once."""
        size = len(data)
        if head.event_stream or head.encoding or size >= SMALL:
            self.on_head(head)
            self.on_data(data, now)
            return
        self._head = head
        self.status = head.status
        self.received = size
        self._first_chunk = data
        self._first_chunk_at = now

    def on_data(self, data: bytes, now: float = 0.0) -> None:
        """Take the next bytes of the response's body, after they went to the client.

        `now` is when the last of them came (monotonic), where the caller has read the clock already.
        """
        received = self.received
        self.received = received + len(data)
        meter = self._meter
        if meter is not None:
            meter.on_data(data, now or monotonic())
            capture = self._capture
            if capture is not None:
                size = capture.size + len(data)
                if capture.chunks is None or capture.truncated or size > capture.reserved:
                    self.services.captures.on_data(capture, data)
                else:  # there is room
                    capture.size = size
                    capture.chunks.append(data)
        elif not self.context.is_recorded:
            return
        elif not received:
            self._first_chunk = data
            self._first_chunk_at = now or monotonic()
            head = self._head
            if head is not None and (head.event_stream or head.encoding or len(data) >= SMALL):
                self._begin_stream(head)
        elif self._head is not None:
            self._begin_stream(self._head)
            self.received = received
            self.on_data(data, now)

    def _begin_stream(self, head: ResponseHead) -> None:
        """Meter and capture from now on: the response comes in more than one piece."""
        meter = Meter(self.context.endpoint.usage, self.began)
        meter.on_head(head.status, head.headers)
        if self._first_chunk_at is not None:
            meter.on_data(self._first_chunk, self._first_chunk_at)
        self._capture = self._begin_capture()
        self._meter = meter
        self._first_chunk = b""

    def _begin_capture(self) -> CaptureBuilder | None:
        if self.sent is None:
            return None
        captures = self.services.captures
        capture = captures.begin(
            self.recorded_path, self.capture_mask, self.request_headers, self.sent
        )
        if capture is not None and self._head is not None:
            captures.on_head(capture, self._head.status, self._head.headers)
            if self._first_chunk:
                captures.on_data(capture, self._first_chunk)
        return capture

    def on_own_error(self, status: int) -> None:
        """Take the status of an error that this program answered with."""
        self.status = status
        self._is_own = True

    def end(self, reason: str, now: float, status: int | None = None, error: str = "") -> None:
        """Close the record; `status` is what to write down where it is not what was sent.

        `answered` and `shown_status` are set before.
        """
        if self._end_reason:
            return
        self._end_reason = reason
        services = self.services
        if self.owner is not None:
            self.owner = None
            if self.number or services.bus.listening:
                services.inflight.remove(self)
            else:
                del services.inflight.entries[self]
        if status is not None:
            self.status = status
        self.ended = now
        if self.context.is_recorded:
            self._error = error
            if services.shows_requests:
                services.logs.add_completed(self)
            if self.sent_size < SMALL:
                services.completions.add(self)
            else:
                services.completions.add(self, len(self.sent or b""))
            if self._meter is not None and self._capture is not None:
                services.completions.flush()
        elif services.shows_requests:
            services.logs.add(self)

    def finalize(self, number: int, epoch: float) -> CaptureBuilder | None:
        self.id = number
        self._epoch = epoch
        if self._meter is not None:
            return self._finish(self._meter)
        context, head, status = self.context, self._head, self.status
        if head is not None and status == _OK and context.endpoint.usage is _OBJECT:
            try:
                self.body = decode_common(self._first_chunk)
            except UNCOMMON:
                self.body, self.tokens = None, self._tokens()
        else:
            self.body, self.tokens = None, self._tokens()
        sent, received = self.sent, self.received
        captures = self.services.captures
        if sent is not None and captures.enabled and (received or status != _OK):
            size = len(sent)
            if size < SMALL or captures.takes(self.capture_mask, size):
                # it is the capture itself
                size += context.weight
                if head is not None:
                    size += head.weight
                if status == _OK:
                    size += received
                else:
                    self._first_chunk = b""
                self.size = size
                return None
            capture = self._begin_capture()
        else:
            capture = None
        self.size = 0
        self.forget()
        return capture

    def _finish(self, meter: Meter) -> CaptureBuilder | None:
        """Take the figures of a response that came in several pieces, and its capture."""
        capture = self._capture
        self.body = None
        self.tokens = tokens = meter.finish(self.ended)
        self._meter = self._capture = None
        self.size = 0
        if capture is not None and self.status == _OK and (not self.received or tokens.error):
            # Nothing came, or nothing that can be unpacked.
            self.services.captures.drop(capture)
            capture = None
        self.forget()  # the store may hold it for long
        return capture

    @property
    def _wall_ms(self) -> int:
        return int((self.ended - self.began) * 1000)

    @property
    def ttft_ms(self) -> int:
        """Until the first byte of the response's body; -1: none came."""
        if self.body is None:
            return self.tokens.ttft_ms
        return self._first_byte_ms()

    def _first_byte_ms(self) -> int:
        first = self._first_chunk_at
        return -1 if first is None else int((first - self.began) * 1000)

    def _tokens(self) -> Tokens:
        """Compute the figures of a response that came in one piece."""
        wall = self._wall_ms
        if self._head is None:  # no model server answered
            return Tokens(duration_ms=wall)
        usage_format, ttft = self.context.endpoint.usage, self._first_byte_ms()
        return tokens_of(usage_format, self.status, self._first_chunk, wall, ttft)

    def row(self) -> Row:
        context, resolved, body = self.context, self.resolved, self.body
        status = self.status
        head = self._head
        wall = self._wall_ms
        tokens = self.tokens if body is None else body.tokens(wall, self._first_byte_ms())
        ended_ms = int((self.ended + self._epoch) * 1000)
        selection = resolved.selection
        return Row(
            self.id,
            ended_ms // 1000,
            resolved.model,
            context.path,
            "application/json" if self._is_own else "" if head is None else head.type_text,
            status,
            tokens.cached,
            tokens.drafted,
            tokens.accepted,
            tokens.input,
            tokens.output,
            tokens.prompt_per_second,
            tokens.per_second,
            tokens.duration_ms or wall,
            self._error or tokens.error or ("" if status == _OK else describe(status, b"")),
            _metadata(self.priority, None if selection is None else selection[0]),
            resolved.name,
            context.address,
            context.identity.name,
            int(resolved.stream),
            tokens.ttft_ms,
            self.queue_ms,
            -1,
            ended_ms - wall,
            tokens.finish_reason,
            self.sent_size,
            self.received,
            tokens.wall_per_second,
            self._end_reason,
        )

    # As a whole capture

    @property
    def capture_mask(self) -> CaptureMask:
        return self.context.endpoint.captured

    @property
    def request_body(self) -> bytes:
        return self.sent or b""

    @property
    def response_body(self) -> bytes:
        return self._first_chunk

    def forget(self) -> None:
        self.sent = None
        self._first_chunk = b""
        resolved = self.resolved
        if resolved.body is not None or resolved.form is not None or resolved.refusal is not None:
            # It is of this request alone, and holds more than a row needs.
            self.resolved = msgspec.structs.replace(resolved, body=None, form=None, refusal=None)


@lru_cache(maxsize=1024)  # priorities times selectors are few; this bounds what reloads add
def _metadata(priority: int | None, selector: str | None) -> str:
    """Return the metadata column of a row as JSON; equal ones share a text."""
    facts: dict[str, str] = {}
    if priority is not None:
        facts["fifo_priority"] = str(priority)
    if selector is not None:
        facts["selector"] = selector
    return msgspec.json.encode(facts).decode() if facts else ""
