"""Messages between the two processes of a hand-over, as lines of JSON over a socket pair.

Guarantees: messages arrive in order; early ones wait for `listen`.
Does not: authenticate the peer; a process makes the pair for its own child.
"""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from modelswap.units import Seconds

    Message = dict[str, Any]


class ChannelError(Exception):
    """The peer has exited, sent an unexpected message, or none in time."""


class Channel(asyncio.Protocol):
    def __init__(self) -> None:
        self._transport: asyncio.WriteTransport | None = None
        self._partial = b""
        self._early: list[Message] = []
        self._arrived = asyncio.Event()
        self._on_message: Callable[[Message], None] | None = None
        self._on_lost: Callable[[], None] | None = None
        self.is_lost = False

    @classmethod
    async def over(cls, connection: socket.socket) -> Channel:
        connection.setblocking(False)  # noqa: FBT003 - the library's signature
        loop = asyncio.get_running_loop()
        _, channel = await loop.create_unix_connection(cls, sock=connection)
        return channel

    def send(self, kind: str, **fields: Any) -> None:
        """Send a message; does nothing when the peer has exited."""
        if self._transport is not None:
            self._transport.write(json.dumps({"kind": kind, **fields}).encode() + b"\n")

    async def receive(self, within: Seconds) -> Message:
        """Return the next message; raise ChannelError when none came in time, or none can come."""
        try:
            async with asyncio.timeout(within):
                while not self._early:
                    if self.is_lost:
                        raise ChannelError("it has ended")
                    self._arrived.clear()
                    await self._arrived.wait()
        except TimeoutError as late:
            raise ChannelError(f"no answer within {within:g} s") from late
        return self._early.pop(0)

    def listen(self, on_message: Callable[[Message], None], on_lost: Callable[[], None]) -> None:
        """Call back for each message from now on, and for the end of the connection."""
        self._on_message, self._on_lost = on_message, on_lost
        while self._early:
            on_message(self._early.pop(0))
        if self.is_lost:
            on_lost()

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    # Protocol callbacks

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]  # uvloop's is not a subclass

    def data_received(self, data: bytes) -> None:
        *lines, self._partial = (self._partial + data).split(b"\n")
        for line in lines:
            message: Message = json.loads(line)
            if self._on_message is None:
                self._early.append(message)
            else:
                self._on_message(message)
        self._arrived.set()

    def connection_lost(self, exc: Exception | None) -> None:
        del exc  # each end is treated alike
        self._transport = None
        self.is_lost = True
        self._arrived.set()
        if self._on_lost is not None:
            self._on_lost()
