"""What is written down about one request: list of running ones, meter, capture, row.

Law: everything here is called on the byte path, so it does little; a small
answer that comes in one piece needs no meter and no draft. It never raises over
what a client or a model server sent. A `RequestRecord` ends once; a second `end`
does nothing.
"""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING, Final

import msgspec

from modelswap.bounded_cache import BoundedCache
from modelswap.observe.activity.rows import Row
from modelswap.observe.captures import SMALL
from modelswap.observe.usage.failure_text import describe
from modelswap.observe.usage.meter import Meter, tokens_of
from modelswap.observe.usage.usage import Tokens

if TYPE_CHECKING:
    from collections.abc import Callable

    from modelswap.api.services import Services
    from modelswap.http import Field, Request, ResponseHead
    from modelswap.observe.captures import CaptureBuilder, CaptureMask
    from modelswap.observe.logs.redaction import Headers

    from .context import RequestContext

_OK: Final = 200
_MOST_BAGS: Final = 1024
_bags: BoundedCache[tuple[int | None, str | None], str] = BoundedCache(_MOST_BAGS)


class RequestRecord:
    """One request to a model, from its resolution to its end; also its entry in the running ones."""

    __slots__ = (
        "_context",
        "_draft",
        "_ended",
        "_ended_ms",
        "_ending",
        "_error",
        "_head",
        "_is_ended",
        "_meter",
        "_piece",
        "_piece_at",
        "_request",
        "_services",
        "_type",
        "_wall",
        "began",
        "began_ns",
        "cancel",
        "id",
        "model",
        "number",
        "priority",
        "queue_ms",
        "received",
        "recorded_path",
        "requested",
        "response_headers",
        "selector",
        "sent",
        "sent_size",
        "shown",
        "size",
        "status",
        "stream",
        "tokens",
    )

    def __init__(  # noqa: PLR0917 - keywords cost, and each request makes one
        self,
        services: Services,
        context: RequestContext,
        request: Request,
        began: float,
        model: str,
        requested: str,
    ) -> None:
        """`began` is monotonic; `request` may be another of the passport's requests."""
        self._services = services
        self._context = context
        self._request = request
        self.recorded_path = context.path
        self._is_ended = False
        self.sent: bytes | None = None
        """What goes to the model server, after all rewriting."""
        self.sent_size = 0
        """Bytes of it, also of a body that is not held."""
        self.status = 0
        self._type = ""
        self._head: ResponseHead | None = None
        self._piece = b""
        """The first bytes of an answer that may well be its only ones."""
        self._piece_at: float | None = None
        self._meter: Meter | None = None
        self._draft: CaptureBuilder | None = None
        self.began = began
        self.began_ns = 0
        self.model = model
        self.requested = requested
        self.stream = False
        self.priority: int | None = None
        self.selector: str | None = None
        self.queue_ms = -1
        self.number = 0
        """In the list of running requests; 0: not listed."""
        self.cancel: Callable[[], None] | None = None
        self.response_headers: Headers = ()
        self.received = 0
        """Bytes of the answer's body."""
        self.shown = 0

    # As an entry of the list of running requests

    @property
    def method(self) -> str:
        return self._context.request.method

    @property
    def path(self) -> str:
        return self._context.shown_path

    @property
    def request_headers(self) -> tuple[Field, ...]:
        """As they came, without the coding that was taken off the body."""
        fields = self._request.headers
        if not self._context.codings:
            return fields
        return tuple(field for field in fields if field[0].lower() != b"content-encoding")

    @property
    def remote_ip(self) -> str:
        return self._context.address

    # What happens

    def on_head(self, head: ResponseHead) -> None:
        """The head of the answer, as it goes to the client."""
        self._head = head
        self.status = head.status
        self._type = head.type_text
        self.response_headers = head.headers
        if self.number:
            self._services.inflight.on_response_head(self)

    def on_whole(self, head: ResponseHead, data: bytes, now: float) -> None:
        """An answer in one piece."""
        if head.event_stream or head.encoding or len(data) >= SMALL or not self.number:
            self.on_head(head)
            self.on_data(data, now)
            return
        self._head = head
        self.status = head.status
        self._type = head.type_text
        self.response_headers = head.headers
        self.received = len(data)
        self._piece = data
        self._piece_at = now
        if self._services.bus.listening:
            self._services.inflight.on_response_head(self)

    def on_data(self, chunk: bytes, now: float = 0.0) -> None:
        """The next bytes of the answer's body, after they went to the client.

        *now*: when the first came, if that has been asked already.
        """
        received = self.received
        self.received = received + len(chunk)
        meter = self._meter
        if meter is not None:
            meter.on_data(chunk, monotonic())
            draft = self._draft
            if draft is not None:
                size = draft.size + len(chunk)
                if draft.chunks is None or draft.truncated or size > draft.reserved:
                    self._services.captures.on_data(draft, chunk)
                else:  # there is room
                    draft.size = size
                    draft.chunks.append(chunk)
        elif not self._context.is_recorded:
            return
        elif not received:
            self._piece = chunk
            self._piece_at = now or monotonic()
            head = self._head
            if head is not None and (head.event_stream or head.encoding or len(chunk) >= SMALL):
                self._follow(head)
        elif self._head is not None:
            self._follow(self._head)
            self.received = received
            self.on_data(chunk)

    def _follow(self, head: ResponseHead) -> None:
        """More will come: take it as a stream."""
        self._meter = meter = Meter(self._context.endpoint.usage, self.began)
        meter.on_head(head.status, head.headers)
        if self._piece_at is not None:
            meter.on_data(self._piece, self._piece_at)
        self._draft = self._begin_draft()
        self._piece = b""

    def _begin_draft(self) -> CaptureBuilder | None:
        captures = self._services.captures
        if self.sent is None:
            return None
        draft = captures.begin(
            self.recorded_path, self.capture_mask, self.request_headers, self.sent
        )
        if draft is not None and self._head is not None:
            captures.on_head(draft, self._head.status, self._head.headers)
            if self._piece:
                captures.on_data(draft, self._piece)
        return draft

    def replied(self, status: int) -> None:
        """The answer is our own: an error."""
        self.status = status
        self._type = "application/json"

    def end(self, ending: str, now: float, *, status: int | None = None, error: str = "") -> None:
        """It is over; `status` when it is not what was sent (499: the client left)."""
        if self._is_ended:
            return
        self._is_ended = True
        if self.number:
            self._services.inflight.remove(self)
            self.cancel = None
        if status is not None:
            self.status = status
        if self._context.is_recorded:
            self._ended = now
            self._ending = ending
            self._error = error
            completions = self._services.completions
            completions.add(self, len(self.sent) if self.sent_size >= SMALL and self.sent else 0)
            if self._draft is not None:
                completions.flush()

    def finalize(self, number: int, epoch: float) -> CaptureBuilder | None:
        """See `ledger.Entry`."""
        ended = self._ended
        self._wall = wall = int((ended - self.began) * 1000)
        self._ended_ms = int((ended + epoch) * 1000)
        self.id = number
        sent, draft, status = self.sent, self._draft, self.status
        self.size = 0
        if self._meter is None:
            if self._head is None:  # no answer of a model server
                self.tokens = Tokens(duration_ms=wall)
            else:
                first = self._piece_at
                ttft = -1 if first is None else int((first - self.began) * 1000)
                usage_format = self._context.endpoint.usage
                self.tokens = tokens_of(usage_format, status, self._piece, wall, ttft)
            if sent is not None and (self.received or status != _OK):
                captures = self._services.captures
                if not captures.enabled:
                    pass
                elif len(sent) < SMALL or captures.takes(self.capture_mask, len(sent)):
                    # it is the capture itself
                    if status != _OK:
                        self._piece = b""
                    head = self._head
                    size = self._context.weight + len(sent) + len(self._piece)
                    self.size = size if head is None else size + head.weight
                    return None
                else:
                    draft = self._begin_draft()
        else:
            self.tokens = self._meter.finish(ended)
            self._meter = self._draft = None
            if draft is not None and status == _OK and (not self.received or self.tokens.error):
                self._services.captures.drop(draft)  # nothing came, or nothing that can be unpacked
                draft = None
        self.forget()  # the store may hold it for long
        return draft

    def row(self) -> Row:
        """The finished request as a row."""
        context = self._context
        tokens = self.tokens
        status = self.status
        return Row(
            self.id,
            self._ended_ms // 1000,
            self.model,
            self.recorded_path,
            self._type,
            status,
            tokens.cached,
            tokens.drafted,
            tokens.accepted,
            tokens.input,
            tokens.output,
            tokens.prompt_per_second,
            tokens.per_second,
            tokens.duration_ms or self._wall,
            self._error or tokens.error or ("" if status == _OK else describe(status, b"")),
            _bag(self.priority, self.selector),
            self.requested,
            context.address,
            context.identity.name,
            int(self.stream),
            tokens.ttft_ms,
            self.queue_ms,
            -1,
            self._ended_ms - self._wall,
            tokens.finish_reason,
            self.sent_size,
            self.received,
            tokens.wall_per_second,
            self._ending,
        )

    # As a whole capture

    @property
    def capture_mask(self) -> CaptureMask:
        return self._context.endpoint.captured

    @property
    def request_body(self) -> bytes:
        return self.sent or b""

    @property
    def response_body(self) -> bytes:
        return self._piece

    def forget(self) -> None:
        """Let go of the bodies."""
        self.sent = None
        self._piece = b""


def _bag(priority: int | None, selector: str | None) -> str:
    """The row's metadata."""
    key = priority, selector
    text = _bags.get(key)
    if text is None:
        facts: dict[str, str] = {}
        if priority is not None:
            facts["fifo_priority"] = str(priority)
        if selector is not None:
            facts["selector"] = selector
        text = _bags[key] = msgspec.json.encode(facts).decode() if facts else ""
    return text
