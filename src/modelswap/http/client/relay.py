"""One exchange, from the client to an upstream and back.

Law: what the upstream sends is passed on at once, and never faster than the
client takes it: beyond the write buffer's high-water mark (256 KiB) the
upstream is not read. What breaks before the answer's head went out is the
caller's to answer; what breaks later looks broken to the client. A request is
sent a second time only when it cannot have run: the connection was a used one,
it ended before a byte of an answer, and either the method is idempotent or
the upstream's kernel never took a byte of the request. It refuses to buffer.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from modelswap.http.message.documents import without_leading, without_origin_wide

from .result import EndReason, RelayResult
from .tunnel import RelayEnds

if TYPE_CHECKING:
    from modelswap.http.message.head import ResponseHead
    from modelswap.http.server.exchange import Exchange

    from .connection import UpstreamConnection
    from .result import BodySource

_OK = 200
_REDIRECTION = 3
_ACCESS_CONTROL = re.compile(rb"(?im)^access-control-[^\r\n]*\r\n")
_EXPOSED = re.compile(rb"(?im)^access-control-expose-headers:[ \t]*([^\r\n]*?)[ \t]*\r\n")
_EXPOSES = b"Access-Control-Expose-Headers: "
_JOIN_BELOW = 65536
_LATE_ERROR = 64 << 10
"""Bytes kept of an error that comes when the client's stream has already begun."""
_IDEMPOTENT = frozenset({"GET", "HEAD", "OPTIONS", "PUT", "DELETE"})
_BODILESS = frozenset({"GET", "HEAD", "DELETE", "OPTIONS"})
"""Without a body these send no `Content-Length: 0`."""


def with_fields(block: bytes, answer: bytes) -> bytes:
    """Put our fields behind the upstream's head, whose `Access-Control-*` give way to them.

    Where ours expose headers to pages, the upstream's list goes on counting.
    """
    if _EXPOSES in answer and (lists := [one for one in _EXPOSED.findall(block) if one]):
        answer = answer.replace(_EXPOSES, b"%b%b, " % (_EXPOSES, b", ".join(lists)), 1)
    return _ACCESS_CONTROL.sub(b"", block) + answer


class Relay(RelayEnds):
    """Takes one request to the upstream and its answer to the client."""

    __slots__ = ()

    def begin(self, *, fresh: bool = False) -> None:
        """Send the request with its body to the upstream, and the answer to the client.

        `fresh`: on a new connection, for a body that cannot be sent again when a used one has ended.
        Takes over `exchange.on_gone` and `exchange.on_drain`. `watcher.on_end` or `on_whole` is
        called once at the end, perhaps before this returns.
        """
        if self._exchange.finished:
            self._end(EndReason.CLIENT_GONE, "the client left")
            return
        self._exchange.on_gone = self._on_gone
        self._exchange.on_drain = self._on_drain
        self._upstream.begin(self, fresh=fresh)

    def cancel(self, ending: EndReason = EndReason.CANCELLED, detail: str = "cancelled") -> None:
        """End the exchange now; the upstream's connection is closed."""
        if not self.ended:
            self._leave_upstream()
            self._break(ending, detail)

    # The request

    def send(self, wire: UpstreamConnection) -> None:
        """Write the request; called by the wire that carries it."""
        self._wire = wire
        outbound = self._outbound
        body = self._body
        head = outbound.block
        if not isinstance(body, bytes):
            self._send_source(wire, head, body)
        elif body:
            length = len(body)
            if length < _JOIN_BELOW:
                wire.write(b"%bContent-Length: %d\r\n\r\n%b" % (head, length, body))
            else:
                wire.write_all((b"%bContent-Length: %d\r\n\r\n" % (head, length), body))
        elif outbound.upgrade is not None:
            wire.write(head + b"Connection: Upgrade\r\nUpgrade: %b\r\n\r\n" % outbound.upgrade)
        elif outbound.method in _BODILESS:
            wire.write(head + b"\r\n")
        else:
            wire.write(head + b"Content-Length: 0\r\n\r\n")

    def _send_source(self, wire: UpstreamConnection, head: bytes, source: BodySource) -> None:
        length = source.length
        if length is None:
            self._chunked_body = True
            wire.write(head + b"Transfer-Encoding: chunked\r\n\r\n")
        else:
            wire.write(head + b"Content-Length: %d\r\n\r\n" % length)
        self.is_sending = True
        self._source_started = True
        source.start(self)

    def on_data(self, data: bytes) -> None:
        """Pass on a piece of the request's body (as the sink of its source)."""
        wire = self._wire
        if wire is None or not data:
            return
        if self._chunked_body:
            wire.write(b"%x\r\n%b\r\n" % (len(data), data))
        else:
            wire.write(data)

    def on_end(self) -> None:
        """The request's body is complete."""
        wire = self._wire
        self.is_sending = False
        if wire is not None:
            if self._chunked_body:
                wire.write(b"0\r\n\r\n")
            wire.touch()

    def on_fail(self, detail: str) -> None:
        """The request's body broke off: the upstream must not take it for complete."""
        if not self.ended:
            self._leave_upstream()
            self._break(EndReason.BODY_FAILED, detail)

    def upstream_paused(self) -> None:
        body = self._body
        if self.is_sending and not isinstance(body, bytes):
            body.pause()
        elif self._wire is not None and self._exchange.status == 101 and not self.ended:  # noqa: PLR2004 - tunnel
            self._exchange.connection.pause_reading()

    def upstream_resumed(self) -> None:
        body = self._body
        if self.is_sending and not isinstance(body, bytes):
            body.resume()
        elif self._exchange.status == 101 and not self.ended:  # noqa: PLR2004 - tunnel
            self._exchange.connection.resume_reading()

    # The answer

    def on_head(self, head: ResponseHead) -> None:
        self._head = head
        exchange = self._exchange
        if exchange.started:
            if head.status != _OK or not head.event_stream:
                self._late = []
            else:
                self._passing = True
        else:
            self._passing = True
            self._start(exchange, head)
        if self._watcher is not None:
            self._watcher.on_head(head)

    def _start(self, exchange: Exchange, head: ResponseHead) -> None:
        length = head.content_length
        answer = self._outbound.answer
        guard = self._outbound.guard if head.is_active else b""
        leads = self._outbound.leads if head.is_active else None
        if answer or guard or leads:
            block = without_origin_wide(head.block) + guard if guard else head.block
            if leads is not None and head.status // 100 == _REDIRECTION:
                block = without_leading(block, leads)
            if answer:
                block = with_fields(block, answer)
            exchange.start_block(head.status, block, length)
        elif exchange.can_start_ready() and head.status not in (204, 304) and not self.is_head:
            ready = head.chunked_block if length is None else head.length_block
            exchange.start_ready(head.status, ready, length)
        else:
            exchange.start_block(head.status, head.block, length)

    def on_body(self, data: bytes) -> None:
        if self._late is not None:
            self._collect_late(data)
            return
        self._bytes += len(data)
        if not self._exchange.write(data) and self._wire is not None:
            self._wire.pause()
        if self._watcher is not None:
            self._watcher.on_data(data)

    def flush(self) -> None:
        """Nothing more came with the head: it goes out alone."""
        if self._passing and not self.ended:
            self._exchange.flush()

    def on_chunk(self, raw: bytes, data: bytes) -> None:
        """Take `data`, which came as the one well-formed chunk `raw`."""
        if self._late is not None:
            self._collect_late(data)
            return
        self._bytes += len(data)
        if not self._exchange.write_chunk(raw, data) and self._wire is not None:
            self._wire.pause()
        if self._watcher is not None:
            self._watcher.on_data(data)

    def on_whole(self, head: ResponseHead, data: bytes) -> None:
        """The answer came in one piece, with its length; the wire is not ours any more."""
        exchange = self._exchange
        if (
            self.ended
            or self.is_sending
            or self._outbound.answer
            or head.is_active
            or not exchange.answer(head.status, head.length_block, data)
        ):
            if not self.ended:
                self.on_head(head)
            self.on_complete(data)
            return
        self._wire = None
        self._head = head
        self._passing = self.ended = True
        self._bytes = len(data)
        if self._watcher is not None:
            self._watcher.on_whole(head, data)

    def on_complete(self, data: bytes) -> None:
        """The answer is complete with `data`, and the wire is not ours any more."""
        self._wire = None
        if self.ended:
            return
        if self.is_sending:
            self._stop_source()
        exchange = self._exchange
        exchange.on_gone = exchange.on_drain = None
        if self._late is not None:
            self._collect_late(data)
            self._end_late()
        else:
            self._bytes += len(data)
            exchange.end(data)
            if data and self._watcher is not None:
                self._watcher.on_data(data)
        self._tell(self._outcome(EndReason.DONE, "", never_ran=False))

    def on_broken(self, ending: EndReason, detail: str, *, never_ran: bool = False) -> None:
        """The wire broke, or never came to be."""
        self._wire = None
        if self.ended:
            return
        self._stop_source()
        if self._late is not None:
            self._end_late()
            self._end(ending, detail)
            return
        self._break(ending, detail, never_ran=never_ran)

    def on_unanswered(self, *, reused: bool, never_ran: bool, was_reset: bool) -> None:
        """The connection ended before a byte of an answer."""
        self._wire = None
        if self.ended:
            return
        replayable = not self._source_started
        safe = never_ran or self._outbound.method in _IDEMPOTENT
        if reused and replayable and safe and not self._retried:
            self._retried = True
            self._upstream.begin(self, fresh=True)
            return
        self._was_reset = was_reset
        self.on_broken(
            EndReason.NO_ANSWER,
            "the upstream closed the connection without an answer",
            never_ran=never_ran,
        )

    def _break(self, ending: EndReason, detail: str, *, never_ran: bool = False) -> None:
        """End a relay that failed; the client sees it when it has seen a part of the answer."""
        self._detach()
        if self._passing and self._exchange.take_back():
            self._passing = False
        outcome = self._outcome(ending, detail, never_ran=never_ran)
        if self._passing:
            self._say_broken(outcome)
            self._exchange.abort()
        self._tell(outcome)

    def _say_broken(self, outcome: RelayResult) -> None:
        head = self._head
        if self._watcher is not None and head is not None and head.event_stream:
            event = self._watcher.error_event(outcome)
            if event:
                self._exchange.write(event)

    # An error after the client's stream began

    def _collect_late(self, data: bytes) -> None:
        late = self._late
        if late is not None:
            room = _LATE_ERROR - sum(map(len, late))
            if room > 0:
                late.append(data[:room])

    def _end_late(self) -> None:
        head = self._head
        self._detach()
        if self._watcher is not None and self._late is not None and head is not None:
            event = self._watcher.on_late_error(
                head.status, head.content_type, b"".join(self._late)
            )
            self._exchange.write(event)
        self._exchange.end()

    # The client

    def _on_gone(self) -> None:
        self._leave_upstream()
        if not self.ended:
            self._end(EndReason.CLIENT_GONE, "the client left")

    def _on_drain(self) -> None:
        if self._wire is not None:
            self._wire.resume()
