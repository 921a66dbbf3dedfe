"""Messages between two fronts over a pair of connected sockets, one line of JSON each.

Guarantees: messages arrive in order; those that come before `attend` wait for it.
Does not: check who is at the other end; the pair is made by one process for its own child.
"""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    Message = dict[str, Any]


class ChannelError(Exception):
    """The other side has gone, said something else than was expected, or nothing in time."""


class Channel(asyncio.Protocol):
    """One end."""

    def __init__(self) -> None:
        self._transport: asyncio.WriteTransport | None = None
        self._rest = b""
        self._early: list[Message] = []
        self._news = asyncio.Event()
        self._on_message: Callable[[Message], None] | None = None
        self._on_lost: Callable[[], None] | None = None
        self.is_lost = False

    @classmethod
    async def over(cls, connection: socket.socket) -> Channel:
        """Make a channel of one of the two sockets."""
        connection.setblocking(False)  # noqa: FBT003 - the library's signature
        loop = asyncio.get_running_loop()
        _, channel = await loop.create_unix_connection(cls, sock=connection)
        return channel

    def send(self, kind: str, **fields: Any) -> None:
        """Send a message; without effect when the other side has gone."""
        if self._transport is not None:
            self._transport.write(json.dumps({"kind": kind, **fields}).encode() + b"\n")

    async def receive(self, within: float) -> Message:
        """Return the next message.

        Raises:
            ChannelError: there is none within so many seconds, or the other side has gone.
        """
        try:
            async with asyncio.timeout(within):
                while not self._early:
                    if self.is_lost:
                        raise ChannelError("it has ended")
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError as late:
            raise ChannelError(f"no answer within {within:g} s") from late
        return self._early.pop(0)

    def attend(self, on_message: Callable[[Message], None], on_lost: Callable[[], None]) -> None:
        """Tell of each message from now on, and of the end."""
        self._on_message, self._on_lost = on_message, on_lost
        while self._early:
            on_message(self._early.pop(0))
        if self.is_lost:
            on_lost()

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    # The transport's calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]  # uvloop's is not a subclass

    def data_received(self, data: bytes) -> None:
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            message: Message = json.loads(line)
            if self._on_message is None:
                self._early.append(message)
            else:
                self._on_message(message)
        self._news.set()

    def connection_lost(self, exc: Exception | None) -> None:
        del exc  # however it ended, it ended
        self._transport = None
        self.is_lost = True
        self._news.set()
        if self._on_lost is not None:
            self._on_lost()
