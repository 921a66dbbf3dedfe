"""The state of a relay, how it ends, and what it becomes after `101`: a tunnel.

A tunnel passes bytes both ways, no faster than the other side takes them, until
both sides have said all or one is lost. It refuses to look at what passes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from modelswap.http.message.documents import without_origin_wide
from modelswap.http.message.fields import status_line

from .result import EndReason, RelayResult, UpstreamRequest

if TYPE_CHECKING:
    from modelswap.http.message.head import ResponseHead
    from modelswap.http.server.exchange import Exchange

    from .connection import UpstreamConnection
    from .pool import UpstreamPool
    from .result import BodySource, RelayObserver


class RelayEnds:
    """The lower half of a relay."""

    __slots__ = (
        "_body",
        "_bytes",
        "_chunked_body",
        "_exchange",
        "_half_closed",
        "_head",
        "_late",
        "_outbound",
        "_passing",
        "_retried",
        "_source_started",
        "_upstream",
        "_was_reset",
        "_watcher",
        "_wire",
        "ended",
        "is_head",
        "is_sending",
        "is_streaming",
        "wants_upgrade",
    )

    def __init__(
        self,
        exchange: Exchange,
        upstream: UpstreamPool,
        outbound: UpstreamRequest,
        body: bytes | BodySource,
        watcher: RelayObserver | None,
    ) -> None:
        self._exchange = exchange
        self._upstream = upstream
        self._outbound = outbound
        self._body = body
        self._watcher = watcher
        self._wire: UpstreamConnection | None = None
        self._head: ResponseHead | None = None
        self._late: list[bytes] | None = None
        """Collects an error's body after the client's stream began without the upstream."""
        self._bytes = 0
        self._passing = False
        """The upstream's answer goes to the client."""
        self._retried = False
        self._source_started = False
        self._chunked_body = False
        self._half_closed = False
        self._was_reset = False
        self.ended = False
        self.is_head = outbound.method == "HEAD"
        self.is_sending = False
        """The request's body is not complete yet."""
        self.is_streaming = not isinstance(body, bytes)
        """The body is sent as it comes, so it cannot be sent again."""
        self.wants_upgrade = outbound.upgrade is not None

    def on_broken(self, ending: EndReason, detail: str, *, never_ran: bool = False) -> None:
        """The wire broke, or never came to be: the upper half's."""
        raise NotImplementedError

    # The tunnel

    def on_switch(self, head: ResponseHead) -> None:
        exchange = self._exchange
        self._head = head
        self._passing = True
        exchange.hand_over()
        if self._watcher is not None:
            self._watcher.on_head(head)
        upgrade = self._outbound.upgrade or b""
        switched = [value for name, value in head.headers if name.lower() == b"upgrade"]
        lines = b"Connection: Upgrade\r\nUpgrade: %b\r\n\r\n" % (
            switched[0] if switched else upgrade
        )
        own = head.block.partition(b"\r\n")[2]
        if self._outbound.guard:
            own = without_origin_wide(own)
        exchange.connection.tunnel(self, status_line(101) + own + lines)

    def from_upstream(self, data: bytes) -> None:
        self._bytes += len(data)
        connection = self._exchange.connection
        connection.write(data)
        if connection.paused and self._wire is not None:
            self._wire.pause()

    def from_client(self, data: bytes) -> None:
        if self._wire is not None:
            self._wire.write(data)

    def client_eof(self) -> None:
        if self._half_closed:
            self._close_tunnel()
        elif self._wire is not None:
            self._half_closed = True
            self._wire.write_eof()

    def upstream_eof(self) -> bool:
        """Return whether the upstream's connection stays open for the client's words."""
        if self._half_closed:
            return False
        self._half_closed = True
        self._exchange.connection.write_eof()
        return True

    def client_paused(self) -> None:
        if self._wire is not None:
            self._wire.pause()

    def client_resumed(self) -> None:
        if self._wire is not None:
            self._wire.resume()

    def client_lost(self) -> None:
        self._leave_upstream()
        if not self.ended:
            self._end(
                EndReason.DONE if self._half_closed else EndReason.CLIENT_GONE, "the client left"
            )

    def on_tunnel_end(self) -> None:
        """The upstream's side of the tunnel is closed."""
        self._wire = None
        self._close_tunnel()

    def _close_tunnel(self) -> None:
        if not self.ended:
            self._detach()
            self._exchange.finished = True
            self._leave_upstream()
            self._exchange.connection.close()
            self._end(EndReason.DONE, "")

    # Endings

    def _leave_upstream(self) -> None:
        wire, self._wire = self._wire, None
        if wire is not None:
            wire.drop()
        else:
            self._upstream.forget(self)
        self._stop_source()

    def _stop_source(self) -> None:
        body = self._body
        if self.is_sending and not isinstance(body, bytes):
            body.stop()

    def _detach(self) -> None:
        self._exchange.on_gone = None
        self._exchange.on_drain = None

    def _end(self, ending: EndReason, detail: str) -> None:
        self._detach()
        self._tell(self._outcome(ending, detail, never_ran=False))

    def _outcome(self, ending: EndReason, detail: str, *, never_ran: bool) -> RelayResult:
        status = self._head.status if self._head is not None else None
        return RelayResult(
            ending, status, self._bytes, detail, self._passing, never_ran, self._was_reset
        )

    def _tell(self, outcome: RelayResult) -> None:
        if not self.ended:
            self.ended = True
            if self._watcher is not None:
                self._watcher.on_end(outcome)
