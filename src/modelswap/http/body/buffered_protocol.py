"""Reads a connection once it has brought a large body: such bodies go straight into their own memory.

All else goes through a buffer that all connections share. The loop's own way of reading is cheaper for
small messages, so a connection begins with it; tunnels return to it.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, Protocol

from modelswap.units import Bytes

if TYPE_CHECKING:

    class BodyFiller(Protocol):
        """The reader of the connection's requests."""

        def unfilled(self) -> memoryview | None: ...
        def on_filled(self, count: int) -> None: ...


SHARED: Final = Bytes(64 << 10)
"""Bytes of the shared buffer. Few enough: the first bytes of a large body are copied out of it."""


class BufferedBodyProtocol(asyncio.BufferedProtocol):
    """Takes the place of a connection as its transport's protocol."""

    def __init__(
        self, connection: asyncio.Protocol, reader: BodyFiller, shared: memoryview
    ) -> None:
        """*shared*: `SHARED` bytes that hold nothing between two reads."""
        self._connection = connection
        self._reader = reader
        self._shared = shared
        self._is_filling = False
        """The read that is under way goes into a body."""

    def get_buffer(self, sizehint: int) -> memoryview:
        del sizehint
        unfilled = self._reader.unfilled()
        self._is_filling = unfilled is not None
        return self._shared if unfilled is None else unfilled

    def buffer_updated(self, nbytes: int) -> None:
        if self._is_filling:
            self._reader.on_filled(nbytes)
        else:
            self._connection.data_received(self._shared[:nbytes].tobytes())

    def eof_received(self) -> bool | None:
        return self._connection.eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        self._connection.connection_lost(exc)

    def pause_writing(self) -> None:
        self._connection.pause_writing()

    def resume_writing(self) -> None:
        self._connection.resume_writing()
