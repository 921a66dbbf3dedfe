"""A tunnel: what a relay becomes after `101`.

Guarantees: bytes pass both ways, no faster than the other side takes them, until both sides have
ended or one is lost. `on_end` is called once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .result import EndReason

if TYPE_CHECKING:
    from collections.abc import Callable

    from modelswap.http.server.protocols import ResponseWriter

    from .protocols import UpstreamWriter


class Tunnel:
    __slots__ = ("_client", "_is_half_closed", "_is_open", "_on_end", "_upstream", "bytes_sent")

    def __init__(
        self,
        client: ResponseWriter,
        upstream: UpstreamWriter,
        on_end: Callable[[EndReason, str], None],
    ) -> None:
        """`on_end` gets the reason and a text for the log; both connections are closed by then."""
        self._client = client
        self._upstream = upstream
        self._on_end = on_end
        self._is_half_closed = False
        """One side has sent all that it will send."""
        self._is_open = True
        self.bytes_sent = 0
        """To the client."""

    def from_upstream(self, data: bytes) -> None:
        self.bytes_sent += len(data)
        self._client.write(data)
        if self._client.paused:
            self._upstream.pause()

    def on_upstream_eof(self) -> bool:
        if self._is_half_closed:
            return False
        self._is_half_closed = True
        self._client.write_eof()
        return True

    def on_upstream_lost(self) -> None:
        self._end(EndReason.DONE, "")

    def on_upstream_paused(self) -> None:
        if self._is_open:
            self._client.pause_reading()

    def on_upstream_resumed(self) -> None:
        if self._is_open:
            self._client.resume_reading()

    def from_client(self, data: bytes) -> None:
        self._upstream.write(data)

    def on_client_eof(self) -> None:
        if self._is_half_closed:
            self._end(EndReason.DONE, "")
        else:
            self._is_half_closed = True
            self._upstream.write_eof()

    def on_client_lost(self) -> None:
        reason = EndReason.DONE if self._is_half_closed else EndReason.CLIENT_GONE
        self._end(reason, "the client left")

    def on_client_paused(self) -> None:
        self._upstream.pause()

    def on_client_resumed(self) -> None:
        self._upstream.resume()

    def _end(self, reason: EndReason, detail: str) -> None:
        if self._is_open:
            self._is_open = False
            self._upstream.drop()
            self._client.close()
            self._on_end(reason, detail)
