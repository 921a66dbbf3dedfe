"""Which sockets listen on a TCP port of this machine.

Linux is asked by `sock_diag`. Where that is refused, `/proc/net/tcp` and `tcp6` are read, which list every
connection of the machine and take tens of milliseconds. So: not for the thread of the event loop.

Guarantees: a table is read in small parts, each of which releases the interpreter, and no further than
to the first socket found: the kernel lists listening sockets first.
"""

from __future__ import annotations

import os
import re
from functools import partial
from typing import TYPE_CHECKING, Final

from . import sock_diag

if TYPE_CHECKING:
    from collections.abc import Iterator

TABLES: Final = ("/proc/net/tcp", "/proc/net/tcp6")
_CHUNK: Final = 4096
"""Bytes of one read: the kernel gives no more of such a file at a time."""


def inodes_on(port: int) -> Iterator[frozenset[int]]:
    """Yield the inodes of sockets that listen on the port; nothing: none does, or there is no such list.

    The kernel names all at once; each table names one of its own. OSError: it cannot be known now.
    """
    try:
        answers = iter((sock_diag.listening_inodes(port),))
    except OSError:
        answers = map(partial(_listed, port), TABLES)
    return filter(None, answers)


def _listed(port: int, table: str) -> frozenset[int]:
    # Fields of a line: number, local address:port, remote address:port, state (0A: it listens), queues,
    # timer, retransmissions, user, timeout, inode. The first three and the queues are hexadecimal.
    line = re.compile(rb":%04X [0-9A-F]+:0000 0A \S+ \S+ \S+ +\d+ +\d+ (\d+) " % port)
    try:
        file = os.open(table, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return frozenset()
    try:
        text = b""
        while chunk := os.read(file, _CHUNK):
            text = text[text.rfind(b"\n") + 1 :] + chunk
            if match := line.search(text):
                return frozenset({int(match[1])})
    finally:
        os.close(file)
    return frozenset()
