"""How a connection is read once it has brought a large body.

Bytes of large bodies go from the kernel into the body's own memory, everything
else through a buffer that all connections share: heads, small messages, chunks.
Connections that bring small messages only are read by the loop's own way, which
is a little cheaper for them; so are tunnels, and the beginning of the first large
body of a connection.

Law: it gives room for no byte beyond the body's end. It refuses to know what
the bytes mean: the connection does.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from modelswap.http.server.connection import ServerConnection

SHARED: Final = 64 << 10
"""Few enough: the first bytes of a large body come this way and are copied."""


class BufferedBodyProtocol(asyncio.BufferedProtocol):
    """Takes the place of a connection as its transport's protocol."""

    def __init__(self, connection: ServerConnection, shared: memoryview) -> None:
        """*shared*: `SHARED` bytes that hold nothing between two reads."""
        self._connection = connection
        self._shared = shared
        self._poured = False
        """The read that is under way goes into a body."""

    def get_buffer(self, sizehint: int) -> memoryview:
        del sizehint
        room = self._connection.room()
        self._poured = room is not None
        return self._shared if room is None else room

    def buffer_updated(self, nbytes: int) -> None:
        if self._poured:
            self._connection.on_poured(nbytes)
        else:
            self._connection.data_received(self._shared[:nbytes].tobytes())

    # The connection's own

    def eof_received(self) -> bool:
        return self._connection.eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        self._connection.connection_lost(exc)

    def pause_writing(self) -> None:
        self._connection.pause_writing()

    def resume_writing(self) -> None:
        self._connection.resume_writing()
