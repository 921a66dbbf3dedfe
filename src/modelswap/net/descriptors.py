"""The limit on file descriptors of this process and of its children.

A proxied request needs two descriptors, and the usual soft limit is 1,024. Model servers get the
limit that this process was started with: old programs that use `select` fail above it.

Guarantees: a connection is refused while descriptors are left to send the refusal, to reach an
upstream and to write a log.
Does not: lower this process's limit, or change the hard limit.
"""

from __future__ import annotations

import contextlib
import os
import sys
from typing import Final

MAX_DESCRIPTORS: Final = 1 << 16
"""Descriptors: eight times the default limit of connections, two descriptors each."""
_RESERVED: Final = 96
"""Descriptors for all that is no connection: supervisor, store, logs, spooled forms, events."""
_PER_CONNECTION: Final = 2  # descriptors: the client's connection and the one to its upstream
_MIN_CONNECTIONS: Final = 8
"""Connections that are allowed even where the limit leaves no room for them."""

if sys.platform == "win32":

    def raise_limit(wanted: int = MAX_DESCRIPTORS) -> int:
        """Return `wanted`: the system has no such limit."""
        return wanted

    def restore_limit_of(pid: int) -> None:
        """Do nothing: the system has no such limit."""

else:
    import resource

    _AT_START: Final = resource.getrlimit(resource.RLIMIT_NOFILE)

    def raise_limit(wanted: int = MAX_DESCRIPTORS) -> int:
        """Raise the soft limit towards `wanted`; return how many of these may be open."""
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        if soft == resource.RLIM_INFINITY or soft >= wanted:
            return wanted
        allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
        except (OSError, ValueError):  # macOS allows less than it says
            return soft
        return allowed

    def restore_limit_of(pid: int) -> None:
        """Give a child the limit that this process was started with, where the system can."""
        if sys.platform == "linux":
            with contextlib.suppress(OSError, ValueError):
                resource.prlimit(pid, resource.RLIMIT_NOFILE, _AT_START)


def fill_standard_streams() -> None:
    """Open 0, 1 and 2 where they are closed: else a socket or a database gets the number, and the log."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest free number is this one


def connections_that_fit(connections: int) -> int:
    """Raise the soft limit for so many connections; return how many of them may be open."""
    wanted = connections * _PER_CONNECTION + _RESERVED
    allowed = raise_limit(wanted)
    if allowed >= wanted:
        return connections
    return max(_MIN_CONNECTIONS, min(connections, (allowed - _RESERVED) // _PER_CONNECTION))
