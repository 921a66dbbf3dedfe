"""How much of what was written a client has not taken yet, the kernel's share included.

Law: the kernel takes megabytes at once and then nothing for minutes, so only
both shares together tell a slow client from a dead one. Without the kernel's
word (not on Linux) it is the transport's share alone.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio


def unsent(transport: asyncio.Transport) -> int:
    """Return the bytes that the other side has not acknowledged."""
    return transport.get_write_buffer_size() + _in_kernel(transport)


def _in_kernel(transport: asyncio.Transport) -> int:
    if sys.platform != "linux":
        return 0
    import fcntl  # noqa: PLC0415 - not there on every system
    import termios  # noqa: PLC0415 - as above

    sock = transport.get_extra_info("socket")
    try:
        return int.from_bytes(fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, bytes(4)), sys.byteorder)
    except (AttributeError, OSError, ValueError):
        return 0
