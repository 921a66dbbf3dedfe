"""One exchange, from the client to an upstream and back, unbuffered.

Guarantees: the upstream is not read beyond the client's write buffer (256 KiB). What breaks before the
response's head went out is the owner's to respond to; what breaks later looks broken to the client.
A request is sent again only when a used connection ended before a byte of a response, and the method
is idempotent or the upstream's kernel took nothing of the request.
"""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING

from modelswap.http.message.head import NO_CONTENT, NOT_MODIFIED, with_client_fields

from .late_error import LateError
from .passthrough import Passthrough
from .result import EndReason, RelayResult
from .tunnel import Tunnel
from .upstream_request import JOIN_BELOW, block_with_fields, switching_block

if TYPE_CHECKING:
    from modelswap.http.body.protocols import BodySource
    from modelswap.http.message.head import ResponseHead
    from modelswap.http.server.exchange import Exchange

    from .pool import UpstreamPool
    from .protocols import (
        RelayObserver,
        RelayOwner,
        ResponseTransform,
        UpstreamReader,
        UpstreamWriter,
    )
    from .upstream_request import UpstreamRequest

_OK = 200  # a status
_BODILESS_STATUS = (NO_CONTENT, NOT_MODIFIED)
_IDEMPOTENT = frozenset({"GET", "HEAD", "OPTIONS", "PUT", "DELETE"})
_BODILESS = frozenset({"GET", "HEAD", "DELETE", "OPTIONS"})
"""Without a body these send no `Content-Length: 0`."""


class Relay:
    __slots__ = (
        "_body",
        "_bytes_sent",
        "_connection",
        "_exchange",
        "_head",
        "_is_chunked_body",
        "_is_passing",
        "_observer",
        "_owner",
        "_passthrough",
        "_pool",
        "_request",
        "_retried",
        "_source_started",
        "_transform",
        "_tunnel",
        "_was_reset",
        "ended",
        "is_head",
        "is_sending",
        "is_streaming",
        "wants_upgrade",
    )

    def __init__(  # noqa: PLR0917 - made for each request, and keywords cost time
        self,
        exchange: Exchange,
        pool: UpstreamPool,
        request: UpstreamRequest,
        body: bytes | BodySource,
        owner: RelayOwner,
        observer: RelayObserver | None = None,
        transform: ResponseTransform | None = None,
    ) -> None:
        self._exchange = exchange
        self._pool = pool
        self._request = request
        self._body = body
        self._owner = owner
        self._observer = observer
        self._transform = transform
        self._connection: UpstreamReader | None = None
        self._tunnel: Tunnel | None = None
        self._head: ResponseHead | None = None
        """As the client gets it."""
        self._passthrough: Passthrough | None = None
        self._bytes_sent = 0
        self._is_passing = False
        """The upstream's response goes to the client."""
        self._retried = self._was_reset = False
        self._source_started = self._is_chunked_body = False
        self.ended = False
        self.is_head = request.method == "HEAD"
        self.is_sending = False
        self.is_streaming = type(body) is not bytes
        self.wants_upgrade = request.upgrade is not None

    def begin(self, fresh: bool = False) -> None:  # noqa: FBT001, FBT002 - keywords cost time
        """Take over `exchange.on_gone`, later `on_drain`; the owner may learn of the end before this returns.

        `fresh`: on a new connection, for a body that cannot be sent again when a used one has ended.
        """
        exchange = self._exchange
        if exchange.finished:
            self._end(EndReason.CLIENT_GONE, "the client left")
            return
        exchange.on_gone = self.on_client_gone
        self._pool.begin(self, fresh)

    def take_over(self, connection: UpstreamReader | None) -> None:
        """Go on with a request that was sent on a connection already; None: its response is here."""
        self._connection = connection
        self._exchange.on_gone = self.on_client_gone

    def cancel(self, reason: EndReason = EndReason.CANCELLED, detail: str = "cancelled") -> None:
        if not self.ended:
            self._leave_upstream()
            self._break(reason, detail)

    def on_connection(self, connection: UpstreamReader) -> None:
        self._connection = connection
        request = self._request
        body = self._body
        head = request.block
        if not isinstance(body, bytes):
            self._send_source(connection, head, body)
        elif body:
            length = len(body)
            if length < JOIN_BELOW:
                connection.write(b"%bContent-Length: %d\r\n\r\n%b" % (head, length, body))
            else:
                connection.write_all((b"%bContent-Length: %d\r\n\r\n" % (head, length), body))
        elif request.upgrade is not None:
            connection.write(head + b"Connection: Upgrade\r\nUpgrade: %b\r\n\r\n" % request.upgrade)
        elif request.method in _BODILESS:
            connection.write(head + b"\r\n")
        else:
            connection.write(head + b"Content-Length: 0\r\n\r\n")

    def _send_source(self, connection: UpstreamWriter, head: bytes, source: BodySource) -> None:
        length = source.length
        if length is None:
            self._is_chunked_body = True
            connection.write(head + b"Transfer-Encoding: chunked\r\n\r\n")
        else:
            connection.write(head + b"Content-Length: %d\r\n\r\n" % length)
        self.is_sending = True
        self._source_started = True
        source.start(self)

    def on_data(self, data: bytes) -> None:
        connection = self._connection
        if connection is not None and data:
            chunk = b"%x\r\n%b\r\n" % (len(data), data) if self._is_chunked_body else data
            connection.write(chunk)

    def on_end(self) -> None:
        connection = self._connection
        self.is_sending = False
        if connection is not None:
            if self._is_chunked_body:
                connection.write(b"0\r\n\r\n")
            connection.touch()

    def on_fail(self, detail: str) -> None:
        """The upstream must not take the body for complete."""
        self.cancel(EndReason.BODY_FAILED, detail)

    def on_upstream_paused(self) -> None:
        if self.is_sending and not isinstance(self._body, bytes):
            self._body.pause()

    def on_upstream_resumed(self) -> None:
        if self.is_sending and not isinstance(self._body, bytes):
            self._body.resume()

    def on_head(self, head: ResponseHead) -> None:
        exchange = self._exchange
        exchange.on_drain = self._on_client_drain
        self._head = head
        if exchange.started and (head.status != _OK or not head.event_stream):
            self._transform = LateError(self._owner, head)
        else:
            if self._transform is not None:
                self._head = head = self._transformed_head(head)
            self._is_passing = True
            if not exchange.started:
                length = head.content_length
                block = block_with_fields(head, self._request)
                if block is not None:
                    exchange.start_block(head.status, block, length)
                elif (
                    exchange.can_start_ready()
                    and head.status not in _BODILESS_STATUS
                    and not self.is_head
                ):
                    ready = head.chunked_block if length is None else head.length_block
                    exchange.start_ready(head.status, ready, length)
                else:
                    exchange.start_block(head.status, head.block, length)
        if self._observer is not None:
            self._observer.on_head(head)

    def on_body(self, data: bytes) -> None:
        if self._transform is not None:
            self._pass_transformed(data)
            return
        if not self._exchange.write(data) and self._connection is not None:
            self._connection.pause()
        self._observe(data)

    def on_chunk(self, raw: bytes, data: bytes) -> None:
        if self._transform is not None:
            self._pass_transformed(data)
            return
        connection = self._connection
        if not self._exchange.write_chunk(raw, data) and connection is not None:
            connection.pause()
        self._observe(data)
        if connection is not None and self._exchange.passes_chunks:
            if self._passthrough is None:
                self._passthrough = Passthrough(self._exchange.writer, self._on_passed, monotonic())
            connection.pass_chunks(self._passthrough)

    def _observe(self, data: bytes) -> None:
        """Take a piece that was written to the client, in the order of all pieces."""
        if self._passthrough is not None:
            self._passthrough.add(data, monotonic())
        else:
            self._on_passed(data, 0.0)

    def _on_passed(self, data: bytes, now: float) -> None:
        self._bytes_sent += len(data)
        if self._observer is not None:
            self._observer.on_data(data, now)

    def on_head_read(self) -> None:
        if self._is_passing and not self.ended:
            self._exchange.flush()

    def on_whole(self, head: ResponseHead, data: bytes) -> None:
        exchange = self._exchange
        if (
            self.ended
            or self.is_sending
            or self._transform is not None
            or self._request.response_fields
            or head.is_active
            or not exchange.send_whole(head.status, head.length_block, data)
        ):
            if not self.ended:
                self.on_head(head)
            self.on_complete(data)
            return
        self._connection = None
        self.ended = True
        self._owner.on_whole(head, data)

    def on_complete(self, data: bytes) -> None:
        self._connection = None
        if self.ended:
            return
        if self.is_sending:
            self._stop_source()
        if self._passthrough is not None:
            self._passthrough.flush()
        transform = self._transform
        sent = data if transform is None else transform.data(data) + transform.end()
        self._detach()
        self._exchange.end(sent)
        if self._is_passing:
            self._bytes_sent += len(sent)
            if data and self._observer is not None:
                self._observer.on_data(data)
        self._finish(self._result(EndReason.DONE, ""))

    def on_broken(self, reason: EndReason, detail: str, *, never_ran: bool = False) -> None:
        self._connection = None
        if self.ended:
            return
        self._stop_source()
        if isinstance(self._transform, LateError):
            self._detach()
            self._exchange.end(self._transform.end())
            self._end(reason, detail)
        else:
            self._break(reason, detail, never_ran=never_ran)

    def on_unanswered(self, *, reused: bool, never_ran: bool, was_reset: bool) -> None:
        self._connection = None
        if self.ended:
            return
        safe = never_ran or self._request.method in _IDEMPOTENT
        if reused and safe and not (self._source_started or self._retried):
            self._retried = True
            self._pool.begin(self, fresh=True)
            return
        self._was_reset = was_reset
        self.on_broken(
            EndReason.NO_ANSWER,
            "the upstream closed the connection without an answer",
            never_ran=never_ran,
        )

    def _transformed_head(self, head: ResponseHead) -> ResponseHead:
        assert self._transform is not None
        fields = self._transform.head(head)
        if fields is None or self.is_head or head.status in _BODILESS_STATUS:
            self._transform = None
        return head if fields is None else with_client_fields(head, fields)

    def _pass_transformed(self, data: bytes) -> None:
        if self.ended or self._transform is None:
            return
        changed = self._transform.data(data)
        if self._is_passing:
            if not self._exchange.write(changed) and self._connection is not None:
                self._connection.pause()
            self._bytes_sent += len(changed)
            if self._observer is not None:
                self._observer.on_data(data)

    def on_switch(self, head: ResponseHead) -> Tunnel:
        assert self._connection is not None
        self._head = head
        self._is_passing = True
        if self._observer is not None:
            self._observer.on_head(head)
        exchange = self._exchange
        self._tunnel = Tunnel(exchange.writer, self._connection, self._on_tunnel_end)
        exchange.begin_tunnel(self._tunnel, switching_block(head, self._request))
        return self._tunnel

    def _on_tunnel_end(self, reason: EndReason, detail: str) -> None:
        self._connection = None
        self._exchange.finished = True
        self._end(reason, detail)

    def _break(self, reason: EndReason, detail: str, *, never_ran: bool = False) -> None:
        """End a relay that failed; the client sees it when it has seen a part of the response."""
        self._detach()
        if self._is_passing and self._exchange.retract_head():
            self._is_passing = False
        result = self._result(reason, detail, never_ran=never_ran)
        if self._is_passing:
            if self._head is not None and self._head.event_stream:
                event = self._owner.error_event(result)
                if event:
                    self._exchange.write(event)
            self._exchange.abort()
        self._finish(result)

    def _end(self, reason: EndReason, detail: str) -> None:
        self._detach()
        self._finish(self._result(reason, detail))

    def _finish(self, result: RelayResult) -> None:
        self._passthrough = None  # it knows the relay
        if not self.ended:
            self.ended = True
            self._owner.on_end(result)

    def _result(self, reason: EndReason, detail: str, *, never_ran: bool = False) -> RelayResult:
        if self._passthrough is not None:
            self._passthrough.flush()
        status = self._head.status if self._head is not None else None
        sent = self._bytes_sent if self._tunnel is None else self._tunnel.bytes_sent
        return RelayResult(
            reason, status, sent, detail, self._is_passing, never_ran, self._was_reset
        )

    def _leave_upstream(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.drop()
        else:
            self._pool.cancel_connect(self)
        self._stop_source()

    def _stop_source(self) -> None:
        if self.is_sending and not isinstance(self._body, bytes):
            self._body.stop()

    def _detach(self) -> None:
        self._exchange.on_gone = self._exchange.on_drain = None

    def on_client_gone(self) -> None:
        self._leave_upstream()
        if not self.ended:
            self._end(EndReason.CLIENT_GONE, "the client left")

    def _on_client_drain(self) -> None:
        if self._connection is not None:
            self._connection.resume()
