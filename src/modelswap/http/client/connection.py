"""One connection to an upstream: it carries one request and its response at a time.

What has no one meaning, is too large, or comes unasked ends the connection.
Memory: one head (64 KiB), one read (256 KiB) and the transport's write buffer.
"""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import TYPE_CHECKING, cast

from modelswap.http.message.chunked import ResponseChunkReader, known_size
from modelswap.http.message.head import (
    NO_CONTENT,
    NOT_MODIFIED,
    SWITCHING,
    BadResponseError,
)
from modelswap.http.transport.sockets import took_nothing
from modelswap.units import Bytes, Seconds

from .passthrough import BATCH
from .result import EndReason

if TYPE_CHECKING:
    from modelswap.http.message.head import ResponseHead

    from .passthrough import Passthrough
    from .protocols import ConnectionPool, UpstreamObserver, UpstreamTunnel, WholeTaker

PROBABLY_OPEN = Seconds(0.5)
"""After less idle time a server's idle timeout cannot have closed the connection."""
HIGH_WATER = Bytes(256 << 10)
"""Bytes of the write buffer above which the request's body waits: one read of uvloop."""
_OK = 200
"""The usual status, and the lowest of a response that is no interim one."""

_IDLE, _HEAD, _LENGTH, _CHUNKED, _UNTIL_CLOSE, _TUNNEL, _DEAD = range(7)


class UpstreamConnection(asyncio.Protocol):
    def __init__(self, pool: ConnectionPool[UpstreamConnection]) -> None:
        self._pool = pool
        self._transport: asyncio.Transport | None = None
        self._observer: UpstreamObserver | None = None
        self._taker: WholeTaker | None = None
        """Who has asked, until the first byte of the response; then there is no observer yet."""
        self._tunnel: UpstreamTunnel | None = None
        self._mode = _IDLE
        self._left = 0
        self._chunks: ResponseChunkReader | None = None
        self._passing: Passthrough | None = None
        """The response's chunks pass by themselves, and its framing is between two chunks."""
        self._passthrough: Passthrough | None = None
        """That of the response, also while its chunks do not pass by themselves."""
        self._partial = b""
        self._keep = self._reused = False
        self._got = False
        """A byte of this response has come."""
        self._sent = self._sent_before = 0
        """Bytes written over the connection's life, and when the current request began."""
        self._reading_paused = False
        """Because the client does not keep up."""
        self.last = pool.sweeper.now
        self.paused = False
        """The upstream does not keep up with the request's body."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(HIGH_WATER)
        self._pool.add(self)
        self.last = self._pool.sweeper.now

    def data_received(self, data: bytes) -> None:
        passing = self._passing
        if passing is not None:
            end = data.find(b"\r\n", 1, 10)
            size = known_size(data[:end])
            if size and len(data) == end + size + 4 and data.endswith(b"\r\n"):
                client, transport = passing.client, passing.transport
                coalescer = client.coalescer
                if not coalescer.at_once:
                    coalescer.write(transport, data)
                elif not transport.is_closing():
                    coalescer.at_once -= 1
                    transport.write(data)
                passing.pieces.append(data[end + 2 : -2])
                passing.size += size
                passing.last_at = monotonic()
                if client.paused:
                    self.pause()
                if passing.size > BATCH:
                    passing.flush()
                return
            self._passing = None
        pool = self._pool
        self.last = pool.sweeper.now
        taker = self._taker
        if taker is not None and (found := pool.heads.known(data)) is not None:
            head, end = found
            length = head.content_length
            if length and length == len(data) - end and head.status == _OK and head.keep_alive:
                self._taker = None
                self._mode = _IDLE
                pool.put_idle(self)
                taker.on_response(head, data[end:])
                return
        observer = self.observer()
        if observer is None:
            self.close()  # nothing was asked for
        else:
            self._on_data(observer, data)

    def _on_data(self, observer: UpstreamObserver, data: bytes) -> None:
        mode = self._mode
        try:
            if mode == _CHUNKED:
                chunks = self._chunks
                if chunks is not None and (start := chunks.single(data)):
                    observer.on_chunk(data, data[start:-2])
                else:
                    self._on_chunked(observer, data)
            elif mode == _LENGTH:
                self._on_counted(observer, data)
            elif mode == _HEAD:
                self._on_head(observer, data)
            elif mode == _UNTIL_CLOSE:
                observer.on_body(data)
            elif self._tunnel is not None:
                self._tunnel.from_upstream(data)
        except BadResponseError as wrong:  # of a head or a transform
            if self._observer is observer:
                self.drop()
            observer.on_broken(EndReason.BAD_RESPONSE, str(wrong))

    def eof_received(self) -> bool:
        tunnel = self._tunnel if self._mode == _TUNNEL else None
        return tunnel is not None and tunnel.on_upstream_eof()

    def connection_lost(self, exc: Exception | None) -> None:
        mode, self._mode = self._mode, _DEAD
        self._passing = self._passthrough = None
        observer, self._observer = self.observer(), None
        unread = (
            mode == _HEAD and not self._got and took_nothing(self._transport, self._sent_before)
        )
        self._transport = None
        self._pool.remove(self)
        if observer is None:
            return
        chunks = self._chunks if mode == _CHUNKED else None
        if (mode == _UNTIL_CLOSE and exc is None) or (chunks is not None and chunks.had_last_chunk):
            try:
                observer.on_complete(b"")
            except BadResponseError as wrong:  # of a transform
                observer.on_broken(EndReason.BAD_RESPONSE, str(wrong))
        elif self._tunnel is not None:
            self._tunnel.on_upstream_lost()
        elif mode != _HEAD:
            text = "the upstream closed the connection in the middle of its answer"
            observer.on_broken(EndReason.TRUNCATED, text)
        elif self._got:
            text = "the upstream closed the connection within its headers"
            observer.on_broken(EndReason.BAD_RESPONSE, text)
        else:
            was_reset = isinstance(exc, ConnectionError)
            observer.on_unanswered(reused=self._reused, never_ran=unread, was_reset=was_reset)

    def pause_writing(self) -> None:
        self.paused = True
        side = self._tunnel or self._observer
        if side is not None:
            side.on_upstream_paused()

    def resume_writing(self) -> None:
        self.paused = False
        side = self._tunnel or self._observer
        if side is not None:
            side.on_upstream_resumed()

    def ask(self, taker: WholeTaker, data: bytes) -> bool:
        """Send a whole request, if the upstream cannot have closed; False: nothing was done."""
        transport = self._transport
        pool = self._pool
        now = pool.sweeper.now
        if now - self.last >= PROBABLY_OPEN or transport is None or transport.is_closing():
            return False
        self._taker = taker
        self._mode = _HEAD
        self._sent_before = sent = self._sent
        self._sent = sent + len(data)
        self.last = now
        pool.coalescer.write(transport, data)
        return True

    def observer(self) -> UpstreamObserver | None:
        """Of the current request; who has asked makes it now, to be told all that comes."""
        taker, self._taker = self._taker, None
        if taker is not None:
            self._observer = taker.observer_on(self)
        return self._observer

    def begin(self, observer: UpstreamObserver) -> None:
        self._observer = observer
        self._mode = _HEAD
        self._sent_before = self._sent
        self.last = self._pool.sweeper.now
        observer.on_connection(self)

    def write(self, data: bytes) -> None:
        if self._transport is not None:
            self._sent += len(data)
            self._pool.coalescer.write(self._transport, data)

    def write_all(self, parts: tuple[bytes, ...]) -> None:
        if self._transport is not None:
            self._sent += sum(map(len, parts))
            self._pool.coalescer.flush()
            self._transport.writelines(parts)

    def touch(self) -> None:
        self.last = self._pool.sweeper.now

    def pause(self) -> None:
        if not self._reading_paused and self._transport is not None:
            self._reading_paused = True
            self._transport.pause_reading()

    def resume(self) -> None:
        if self._reading_paused and self._transport is not None:
            self._reading_paused = False
            self.last = self._pool.sweeper.now
            self._transport.resume_reading()

    def pass_chunks(self, passthrough: Passthrough) -> None:
        self._passing = self._passthrough = passthrough

    def write_eof(self) -> None:
        transport = self._transport
        self._pool.coalescer.flush()
        if transport is not None and transport.can_write_eof() and not transport.is_closing():
            transport.write_eof()

    def drop(self) -> None:
        self._forget()
        if self._transport is not None:
            self._transport.abort()

    def close(self) -> None:
        self._forget()
        if self._transport is not None:
            self._transport.close()

    def _forget(self) -> None:
        self._observer = self._taker = None
        self._passing = self._passthrough = None
        self._mode = _DEAD

    def fail(self, reason: EndReason, detail: str) -> None:
        observer = self.observer()
        self.drop()
        if observer is not None:
            observer.on_broken(reason, detail)

    def is_closing(self) -> bool:
        return self._transport is None or self._transport.is_closing()

    def fileno(self) -> int:
        sock = self._transport.get_extra_info("socket") if self._transport is not None else None
        return sock.fileno() if sock is not None else -1

    def sweep(self, now: float) -> None:
        if self._passthrough is not None and self._passthrough.sweep():
            self.last = now
        timeouts = self._pool.timeouts
        observer = self._observer
        is_sending = observer is not None and observer.is_sending
        if observer is None and self._taker is None:
            allowed = timeouts.idle_connection
            if allowed is not None and now - self.last > allowed:
                self.close()
        elif self._reading_paused or (self._mode == _HEAD and is_sending):
            self.last = now
        elif self._mode == _HEAD:
            allowed = timeouts.response_header
            if allowed is not None and now - self.last > allowed:
                self.fail(EndReason.HEADER_TIMEOUT, "the upstream did not answer in time")
        elif self._mode != _TUNNEL:
            allowed = timeouts.stall
            if allowed is not None and now - self.last > allowed:
                self.fail(EndReason.STALLED, "the upstream's answer stood still")

    def _on_head(self, observer: UpstreamObserver, data: bytes) -> None:
        self._got = True
        data = self._partial + data
        heads = self._pool.heads
        while True:
            found = heads.known(data) or heads.read(data)
            if found is None:
                self._partial = data
                return
            head, end = found
            data = data[end:]
            self._partial = b""
            if head.status >= _OK or head.status == SWITCHING:
                self._on_final(observer, head, data)
                return
            if not data:
                return

    def _on_final(self, observer: UpstreamObserver, head: ResponseHead, data: bytes) -> None:
        # some servers send the body to a HEAD all the same, later
        self._keep = head.keep_alive and not (observer.is_head and head.announces_body)
        status = head.status
        if status == SWITCHING:
            self._on_switch(observer, head, data)
        elif observer.is_head or status in (NO_CONTENT, NOT_MODIFIED) or head.content_length == 0:
            observer.on_head(head)
            self._end_response(b"", data)
        elif head.chunked:
            self._mode = _CHUNKED
            self._chunks = ResponseChunkReader()
            observer.on_head(head)
            if data:
                self._on_chunked(observer, data)
            observer.on_head_read()
        elif head.content_length is not None:
            left = head.content_length - len(data)
            if not left:
                self._leave_observer(observer, b"")
                observer.on_whole(head, data)
                return
            self._mode = _LENGTH
            self._left = head.content_length
            observer.on_head(head)
            if data:
                self._on_counted(observer, data)
            else:
                observer.on_head_read()
        else:
            self._mode = _UNTIL_CLOSE
            self._keep = False
            observer.on_head(head)
            if data:
                observer.on_body(data)
            observer.on_head_read()

    def _on_switch(self, observer: UpstreamObserver, head: ResponseHead, data: bytes) -> None:
        if not observer.wants_upgrade:
            self.fail(EndReason.BAD_RESPONSE, "the upstream switched protocols unasked")
            return
        self._mode = _TUNNEL
        self._tunnel = observer.on_switch(head)
        if data and self._observer is observer:
            self._tunnel.from_upstream(data)

    def _on_counted(self, observer: UpstreamObserver, data: bytes) -> None:
        left = self._left - len(data)
        if left > 0:
            self._left = left
            observer.on_body(data)
        else:
            self._end_response(data[: self._left], data[self._left :])

    def _on_chunked(self, observer: UpstreamObserver, data: bytes) -> None:
        chunks = self._chunks
        if chunks is None:
            return
        pieces = chunks.feed(data)
        body = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        if chunks.done:
            self._chunks = None
            self._end_response(body, chunks.rest)
            return
        if body:
            observer.on_body(body)
        if chunks.error:
            self.fail(EndReason.BAD_RESPONSE, chunks.error)

    def _end_response(self, data: bytes, rest: bytes) -> None:
        """`rest` came behind the response: then the connection is not used again."""
        observer = self._observer
        if observer is not None:
            self._leave_observer(observer, rest)
            observer.on_complete(data)

    def _leave_observer(self, observer: UpstreamObserver, rest: bytes) -> None:
        self._observer = self._passthrough = None
        self._mode = _IDLE
        self._reused = True
        self._got = False
        if self._keep and not rest and not observer.is_sending:
            self.resume()
            self._pool.put_idle(self)
        else:
            self.close()
