"""Asks the system about connections, and sets their options.

An unknown option, or a connection that has just been lost, is no error here. Where the system does not
tell, the result is the careful one. `None` stands for a transport without a socket.
"""

from __future__ import annotations

import socket
import struct
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from modelswap.units import Bytes

if TYPE_CHECKING:
    import asyncio

UNIX_CLIENT: Final = "127.0.0.1"
"""What stands for it in logs, limits, `trustedProxies` and `X-Forwarded-For`."""
_MAX_INTERVAL: Final = 32_767
"""Seconds between keep-alives that Linux takes."""
_RESET: Final = struct.pack("ii", 1, 0)
"""`struct linger`: on, and no time."""
_PACED: Final = b"bbr"
_UNPACED: Final = b"reno"
_NAME_SIZE: Final = Bytes(16)
"""`TCP_CA_NAME_MAX` of Linux."""
_INFO_SIZE: Final = Bytes(136)
"""Bytes of it that are read: as far as the field below."""
_BYTES_ACKED: Final = 120
"""Offset of `tcpi_bytes_acked` in Linux' `struct tcp_info`."""


def client_of(peer: tuple[str, int] | str | bytes | None) -> str:
    """A client that comes through a Unix socket is of this machine."""
    if peer is None:
        return ""
    return peer[0] if isinstance(peer, tuple) else UNIX_CLIENT


def is_loopback(host: str) -> bool:
    """Whether an address, as the system writes it, is this machine's own."""
    return host.removeprefix("::ffff:").startswith("127.") or host == "::1"


def is_local(host: str) -> bool:
    """Over the loopback or a Unix socket."""
    return not host or is_loopback(host)


def has_unread(connection: socket.socket | None) -> bool:
    """False where the system does not tell."""
    return bool(_queued(connection, "FIONREAD"))


def unpace(connection: socket.socket | None) -> None:
    """Let the bytes of a connection within this machine go as fast as they are taken.

    Where BBR is the system's congestion control, a connection sends by a timer, also over the
    loopback, where nothing can be congested: that was a quarter of the CPU time of a body of 1 MB.
    """
    option = getattr(socket, "TCP_CONGESTION", None)  # Linux has it
    if option is None or connection is None:
        return
    with suppress(OSError):
        if connection.getsockopt(socket.IPPROTO_TCP, option, _NAME_SIZE).startswith(_PACED):
            connection.setsockopt(socket.IPPROTO_TCP, option, _UNPACED)


def keep_alive(connection: socket.socket | None, every: float | None) -> None:
    """Have the kernel ask every so many seconds whether the other side is still there."""
    if every is None or connection is None:
        return
    pause = min(max(1, int(every)), _MAX_INTERVAL)
    with suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name in ("TCP_KEEPIDLE", "TCP_KEEPINTVL"):
            if option := getattr(socket, name, None):  # not everywhere
                connection.setsockopt(socket.IPPROTO_TCP, option, pause)


def reset_at_end(connection: socket.socket | None) -> None:
    if connection is None:
        return
    with suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)


def unsent(transport: asyncio.Transport) -> int:
    """Return the bytes written that the other side has not acknowledged.

    The kernel takes megabytes at once and then nothing for minutes, so only its share and the
    transport's together tell a slow client from a dead one. Not on Linux: the transport's alone.
    """
    sock = transport.get_extra_info("socket") if sys.platform == "linux" else None
    return transport.get_write_buffer_size() + _queued(sock, "TIOCOUTQ")


def _queued(connection: socket.socket | None, queue: str) -> int:
    """Bytes in a queue of the kernel's; 0 where it does not tell."""
    if connection is None or sys.platform == "win32":
        return 0
    import fcntl  # noqa: PLC0415 - not there on every system
    import termios  # noqa: PLC0415 - as above

    try:
        count = fcntl.ioctl(connection.fileno(), getattr(termios, queue), bytes(4))
    except (OSError, ValueError):
        return 0
    return int.from_bytes(count, sys.byteorder)


def took_nothing(transport: asyncio.Transport | None, since: int) -> bool:
    """Whether the other side's kernel took none of the bytes written after the first `since`.

    False where that is not known: over TLS, and on other systems than Linux.
    """
    if transport is None or transport.get_extra_info("sslcontext"):
        return False
    taken = _acknowledged(transport.get_extra_info("socket"))
    return taken is not None and taken <= since + 1  # the SYN counts as one


def _acknowledged(connection: socket.socket | None) -> int | None:
    """Bytes that the other side's kernel has taken, and one for the SYN; None: not known."""
    if connection is None or sys.platform != "linux":
        return None
    try:
        info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _INFO_SIZE)
    except OSError:
        return None
    if len(info) < _INFO_SIZE:
        return None
    return int(struct.unpack_from("Q", info, _BYTES_ACKED)[0])
