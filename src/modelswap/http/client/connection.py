"""One connection to an upstream: a request out, an answer in.

Law: an answer is believed only as far as its framing goes. What has no one
meaning, is too large, or comes unasked ends the connection. At most one head (`MAX_HEAD`),
one read (256 KiB) and the transport's write buffer are held.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, cast

from modelswap.http.message.chunked import ResponseChunkReader
from modelswap.http.message.head import (
    NO_CONTENT,
    NOT_MODIFIED,
    SWITCHING,
    BadResponseError,
    ResponseHead,
    parse_response,
)
from modelswap.http.message.repair import end_of_head, repaired
from modelswap.http.transport.sockets import acknowledged

from .result import EndReason

if TYPE_CHECKING:
    from .pool import UpstreamPool
    from .relay import Relay

MAX_HEAD = 64 << 10
HIGH_WATER = 256 << 10
_FINAL = 200
_START = b"HTTP/"
"""The first bytes of every response."""

_IDLE, _HEAD, _LENGTH, _CHUNKED, _UNTIL_CLOSE, _TUNNEL, _DEAD = range(7)


class UpstreamConnection(asyncio.Protocol):
    __slots__ = (
        "_chunks",
        "_got",
        "_keep",
        "_left",
        "_mode",
        "_partial",
        "_relay",
        "_reused",
        "_sent",
        "_sent_before",
        "_stopped",
        "_transport",
        "_upstream",
        "last",
        "paused",
    )

    def __init__(self, upstream: UpstreamPool) -> None:
        self._upstream = upstream
        self._transport: asyncio.Transport | None = None
        self._relay: Relay | None = None
        self._mode = _IDLE
        self._left = 0
        self._chunks: ResponseChunkReader | None = None
        self._partial = b""
        self._keep = False
        self._reused = False
        self._got = False
        """A byte of this answer has come."""
        self._sent = 0
        """Bytes written over the connection's life."""
        self._sent_before = 0
        """The same when the current request began."""
        self._stopped = False
        """We do not read, because the client does not keep up."""
        self.last = upstream.sweeper.now
        self.paused = False
        """The upstream does not keep up with the request's body."""

    # The transport's calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(HIGH_WATER)
        self._upstream.add(self)
        self.last = self._upstream.sweeper.now

    def data_received(self, data: bytes) -> None:
        self.last = self._upstream.sweeper.now
        mode = self._mode
        relay = self._relay
        if relay is None:
            self.close()  # it speaks unasked
        elif mode == _CHUNKED:
            chunks = self._chunks
            if chunks is not None and (start := chunks.single(data)):
                relay.on_chunk(data, data[start:-2])
            else:
                self._on_chunked(relay, data)
        elif mode == _LENGTH:
            self._on_counted(relay, data)
        elif mode == _HEAD:
            self._on_head(relay, data)
        elif mode == _UNTIL_CLOSE:
            relay.on_body(data)
        elif mode == _TUNNEL:
            relay.from_upstream(data)

    def eof_received(self) -> bool:
        if self._mode == _TUNNEL and self._relay is not None:
            return self._relay.upstream_eof()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        mode, self._mode = self._mode, _DEAD
        relay, self._relay = self._relay, None
        unread = relay is not None and mode == _HEAD and not self._got and self._is_unread()
        self._transport = None
        self._upstream.lost(self)
        if relay is None:
            return
        chunks = self._chunks if mode == _CHUNKED else None
        if (mode == _UNTIL_CLOSE and exc is None) or (chunks is not None and chunks.had_last_chunk):
            relay.on_complete(b"")
        elif mode == _TUNNEL:
            relay.on_tunnel_end()
        elif mode != _HEAD:
            relay.on_broken(
                EndReason.TRUNCATED,
                "the upstream closed the connection in the middle of its answer",
            )
        elif self._got:
            relay.on_broken(
                EndReason.BAD_RESPONSE, "the upstream closed the connection within its headers"
            )
        else:
            was_reset = isinstance(exc, ConnectionError)
            relay.on_unanswered(reused=self._reused, never_ran=unread, was_reset=was_reset)

    def pause_writing(self) -> None:
        self.paused = True
        if self._relay is not None:
            self._relay.upstream_paused()

    def resume_writing(self) -> None:
        self.paused = False
        if self._relay is not None:
            self._relay.upstream_resumed()

    # For the relay

    def begin(self, relay: Relay) -> None:
        """Carry the relay's exchange from now on."""
        self._relay = relay
        self._mode = _HEAD
        self._got = False
        self._stopped = False
        self._sent_before = self._sent
        self.last = self._upstream.sweeper.now
        relay.send(self)

    def write(self, data: bytes) -> None:
        if self._transport is not None:
            self._sent += len(data)
            self._upstream.coalescer.write(self._transport, data)

    def write_all(self, parts: tuple[bytes, ...]) -> None:
        """Write without joining the parts."""
        if self._transport is not None:
            self._sent += sum(map(len, parts))
            self._upstream.coalescer.flush()
            self._transport.writelines(parts)

    def touch(self) -> None:
        """The request went on: the wait for the answer begins now."""
        self.last = self._upstream.sweeper.now

    def pause(self) -> None:
        if not self._stopped and self._transport is not None:
            self._stopped = True
            self._transport.pause_reading()

    def resume(self) -> None:
        if self._stopped and self._transport is not None:
            self._stopped = False
            self.last = self._upstream.sweeper.now
            self._transport.resume_reading()

    def write_eof(self) -> None:
        transport = self._transport
        self._upstream.coalescer.flush()
        if transport is not None and transport.can_write_eof() and not transport.is_closing():
            transport.write_eof()

    def drop(self) -> None:
        """End the connection at once; the relay is told nothing."""
        self._relay = None
        self._mode = _DEAD
        if self._transport is not None:
            self._transport.abort()

    def close(self) -> None:
        self._relay = None
        self._mode = _DEAD
        if self._transport is not None:
            self._transport.close()

    def fail(self, ending: EndReason, detail: str) -> None:
        """End the connection and tell the relay why."""
        relay = self._relay
        self.drop()
        if relay is not None:
            relay.on_broken(ending, detail)

    def is_closing(self) -> bool:
        return self._transport is None or self._transport.is_closing()

    def fileno(self) -> int:
        sock = self._transport.get_extra_info("socket") if self._transport is not None else None
        return sock.fileno() if sock is not None else -1

    def sweep(self, now: float) -> None:
        """Look after this connection's deadlines."""
        timeouts = self._upstream.timeouts
        relay = self._relay
        if relay is None:
            allowed = timeouts.idle_connection
            if allowed is not None and now - self.last > allowed:
                self.close()
        elif self._stopped or (self._mode == _HEAD and relay.is_sending):
            self.last = now
        elif self._mode == _HEAD:
            allowed = timeouts.response_header
            if allowed is not None and now - self.last > allowed:
                self.fail(EndReason.HEADER_TIMEOUT, "the upstream did not answer in time")
        elif self._mode != _TUNNEL:
            allowed = timeouts.stall
            if allowed is not None and now - self.last > allowed:
                self.fail(EndReason.STALLED, "the upstream's answer stood still")

    # Answers

    def _on_head(self, relay: Relay, data: bytes) -> None:
        self._got = True
        if self._partial:
            data = self._partial + data
        upstream = self._upstream
        while True:
            end = data.find(b"\r\n\r\n") + 4
            raw = data[:end] if end >= 4 else b""  # noqa: PLR2004 - find() answered -1
            head = upstream.heads.get(raw) or upstream.of_known_shape(raw)
            if head is None:
                head, end = self._read_head(data, end)
                if head is None:
                    return
            data = data[end:]
            self._partial = b""
            if head.status >= _FINAL or head.status == SWITCHING:
                self._on_final(relay, head, data)
                return
            if not data:
                return

    def _read_head(self, data: bytes, end: int) -> tuple[ResponseHead | None, int]:
        """Read a head that was not read before, and say where it ends; None: incomplete, or refused."""
        found: tuple[ResponseHead | None, int] = (None, 0)
        if 4 <= end <= MAX_HEAD:  # noqa: PLR2004 - find() answered -1
            with suppress(BadResponseError):
                head = parse_response(data[:end])
                self._upstream.remember(data[:end], head)
                return head, end
        end = end_of_head(data)
        if not data.startswith(_START[: len(data)]):
            self.fail(EndReason.BAD_RESPONSE, "the upstream's answer is not HTTP")
        elif (end or len(data)) > MAX_HEAD:
            self.fail(EndReason.BAD_RESPONSE, "the upstream's headers are too large")
        elif not end:
            self._partial = data
        else:
            try:
                found = parse_response(repaired(data[:end])), end
            except BadResponseError as wrong:
                self.fail(EndReason.BAD_RESPONSE, str(wrong))
            else:
                self._upstream.remember(data[:end], found[0], was_repaired=True)
        return found

    def _on_final(self, relay: Relay, head: ResponseHead, data: bytes) -> None:
        # there are servers that send the body to a HEAD all the same, later
        self._keep = head.keep_alive and not (relay.is_head and head.announces_body)
        status = head.status
        if status == SWITCHING:
            self._on_switch(relay, head, data)
        elif relay.is_head or status in (NO_CONTENT, NOT_MODIFIED) or head.content_length == 0:
            relay.on_head(head)
            self._end_answer(b"", data)
        elif head.chunked:
            self._mode = _CHUNKED
            self._chunks = ResponseChunkReader()
            relay.on_head(head)
            if data:
                self._on_chunked(relay, data)
            relay.flush()
        elif head.content_length is not None:
            left = head.content_length - len(data)
            if not left:
                self._leave_relay(relay, b"")
                relay.on_whole(head, data)
                return
            self._mode = _LENGTH
            self._left = head.content_length
            relay.on_head(head)
            if data:
                self._on_counted(relay, data)
            else:
                relay.flush()
        else:
            self._mode = _UNTIL_CLOSE
            self._keep = False
            relay.on_head(head)
            if data:
                relay.on_body(data)
            relay.flush()

    def _on_switch(self, relay: Relay, head: ResponseHead, data: bytes) -> None:
        if not relay.wants_upgrade:
            self.fail(EndReason.BAD_RESPONSE, "the upstream switched protocols unasked")
            return
        self._mode = _TUNNEL
        relay.on_switch(head)
        if data and self._relay is relay:
            relay.from_upstream(data)

    def _on_counted(self, relay: Relay, data: bytes) -> None:
        left = self._left - len(data)
        if left > 0:
            self._left = left
            relay.on_body(data)
        elif left == 0:
            self._end_answer(data, b"")
        else:
            self._end_answer(data[: self._left], data[self._left :])

    def _on_chunked(self, relay: Relay, data: bytes) -> None:
        chunks = self._chunks
        if chunks is None:
            return
        pieces = chunks.feed(data)
        body = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        if chunks.done:
            self._chunks = None
            self._end_answer(body, chunks.rest)
            return
        if body:
            relay.on_body(body)
        if chunks.error:
            self.fail(EndReason.BAD_RESPONSE, chunks.error)

    def _end_answer(self, data: bytes, rest: bytes) -> None:
        """The answer is complete with `data`; `rest` came behind it and spoils the connection."""
        relay = self._relay
        if relay is not None:
            self._leave_relay(relay, rest)
            relay.on_complete(data)

    def _leave_relay(self, relay: Relay, rest: bytes) -> None:
        self._relay = None
        self._mode = _IDLE
        self._reused = True
        if self._keep and not rest and not relay.is_sending:
            if self._stopped:
                self.resume()
            self._upstream.release(self)
        else:
            self.close()

    def _is_unread(self) -> bool:
        """Whether the upstream's kernel took no byte of the current request: so nobody ran it."""
        transport = self._transport
        if transport is None or transport.get_extra_info("sslcontext"):
            return False
        taken = acknowledged(transport.get_extra_info("socket"))
        return taken is not None and taken <= self._sent_before + 1  # the SYN counts as one
