"""What a connection to an upstream needs to pass chunks to the client by itself.

An event of a stream comes alone, as one chunk in one read. The connection checks its framing, writes it
as it is, and adds its body here: one call from the read to the write. The observer gets the bodies later
and together, because many cost it little more than one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from modelswap.units import Bytes, Seconds

if TYPE_CHECKING:
    from collections.abc import Callable

    from modelswap.http.server.protocols import ExchangeWriter

BATCH = Bytes(16 << 10)
"""Bytes of bodies that are kept for the observer: some hundred events."""
_BATCH_TIME = Seconds(0.5)
"""After which the observer gets what there is, also without a pause: it shows how far a response has
come, each second."""


class Passthrough:
    __slots__ = (
        "_flushed_at",
        "_on_batch",
        "_swept_at",
        "client",
        "last_at",
        "pieces",
        "size",
        "transport",
    )

    def __init__(
        self,
        client: ExchangeWriter,
        on_batch: Callable[[bytes, float], None],
        now: float,
    ) -> None:
        """`now`, `last_at` and the time given to `on_batch` are monotonic, in seconds."""
        self.client = client
        assert client.transport is not None
        self.transport = client.transport
        self._on_batch = on_batch
        self.pieces: list[bytes] = []
        """Bodies of chunks that the client got and the observer did not yet."""
        self.size = 0
        """Bytes of `pieces`."""
        self.last_at = now
        """When the last chunk came."""
        self._flushed_at = self._swept_at = now

    def add(self, data: bytes, now: float) -> None:
        """Add a piece that went to the client in another way."""
        self.pieces.append(data)
        self.size += len(data)
        self.last_at = now
        if self.size > BATCH:
            self.flush()

    def flush(self) -> None:
        """Give away what was not yet."""
        pieces = self.pieces
        self._flushed_at = self.last_at
        if pieces:
            self.pieces = []
            self.size = 0
            self._on_batch(b"".join(pieces), self.last_at)

    def sweep(self) -> bool:
        """Flush what is old; True when a chunk came since the last sweep."""
        swept_at, self._swept_at = self._swept_at, self.last_at
        has_come = self.last_at != swept_at
        if not has_come or self.last_at - self._flushed_at > _BATCH_TIME:
            self.flush()
        return has_come
