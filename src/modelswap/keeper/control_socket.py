"""The keeper's socket, and the connection of a front.

Guarantees: only the same user (or root) may give orders: socket and directory are private, and the
peer's user is checked where the system tells it.
Memory: only messages, which are few and small, are queued here; output stays with each server.
"""

from __future__ import annotations

import fcntl
import os

from modelswap.procfs import peer_of

from .lean import socket, suppress
from .protocol import SOCKET_NAME, FrameDecoder

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any, Self

_LOCK_NAME = "keeper.lock"
_MAX_UNSENT = 256 << 10
"""Bytes: a front with this much unsent gets no more output for now."""


class FrontConnection:
    """One connection, non-blocking both ways."""

    def __init__(self, connection: socket.socket) -> None:
        connection.settimeout(0)
        self._connection = connection
        self._decoder = FrameDecoder()
        self._unsent = bytearray()

    def fileno(self) -> int:
        return self._connection.fileno()

    def receive(self) -> Iterator[Mapping[str, object]]:
        """Yield the orders that have arrived; raise `EOFError` when the front has disconnected."""
        try:
            data = self._connection.recv(65536)
        except BlockingIOError:
            return
        if not data:
            raise EOFError
        for frame in self._decoder.feed(data):
            if frame.message is not None:
                yield frame.message

    def send(self, frame: bytes) -> None:
        self._unsent += frame

    def has_room(self) -> bool:
        return len(self._unsent) < _MAX_UNSENT

    def has_unsent(self) -> bool:
        return bool(self._unsent)

    def flush(self) -> None:
        with suppress(BlockingIOError):
            while self._unsent:
                sent = self._connection.send(self._unsent)
                del self._unsent[:sent]

    def close(self) -> None:
        self._connection.close()


class ControlSocket:
    """The listening socket in the current directory; entering waits for a keeper that still exits."""

    def __enter__(self) -> Self:
        self._lock = os.open(_LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        with suppress(FileNotFoundError):
            os.unlink(SOCKET_NAME)  # noqa: PTH108 - left by one that was killed
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        mask = os.umask(0o177)
        try:
            self._socket.bind(SOCKET_NAME)
        finally:
            os.umask(mask)  # the servers get the front's
        self._socket.listen(8)
        self._socket.settimeout(0)
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()
        with suppress(OSError):
            os.unlink(SOCKET_NAME)  # noqa: PTH108 - while the lock is still held
        os.close(self._lock)

    def fileno(self) -> int:
        return self._socket.fileno()

    def accept(self) -> FrontConnection | None:
        """Return the next front, if there is one and it is allowed."""
        try:
            connection = _accepted(self._socket)
        except OSError:
            return None
        peer = peer_of(connection)
        if peer is None or peer[1] in (os.geteuid(), 0):  # None: the directory's mode has decided
            return FrontConnection(connection)
        connection.close()
        return None


def _accepted(listening: Any) -> socket.socket:
    """Do what `socket.accept` does above `_socket`."""
    fd, _ = listening._accept()  # noqa: SLF001 - as above
    return socket.socket(fileno=fd)
