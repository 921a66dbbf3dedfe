"""Upstreams that always respond in one way, and requests that are sent unchanged."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

UPGRADE = (
    b"GET %b HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n%b\r\n"
)


def switching(sock: socket.socket, _request: bytes) -> None:
    """Switch every client to WebSocket."""
    sock.sendall(
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
    )


def always_responding(
    answer: bytes, *, close: bool = False
) -> Callable[[socket.socket, bytes], None]:
    """Answer every request with these bytes."""

    def respond(sock: socket.socket, _request: bytes) -> None:
        sock.sendall(answer)
        if close:
            sock.close()

    return respond
