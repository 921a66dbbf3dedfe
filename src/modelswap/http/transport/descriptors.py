"""File descriptors: room for the connections that the limits allow.

Law: a connection is refused while there are descriptors left to answer it, to
reach its upstream and to write a log; running out is no way to find the limit.
It refuses to lower a limit, and to touch the hard one.
"""

from __future__ import annotations

import sys

_RESERVE = 96
"""For everything that is no connection: keeper, store, logs, spooled forms, events."""
_EACH = 2
"""A client's connection and the one to its upstream."""
_LEAST = 8


def room_for(connections: int) -> int:
    """Raise this process's limit as far as it may and must be; return how many connections fit."""
    if sys.platform == "win32":
        return connections
    import resource  # noqa: PLC0415 - not there on every system

    wanted = connections * _EACH + _RESERVE
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return connections
    most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    except (OSError, ValueError):  # a system with another bound of its own
        most = soft
    return max(_LEAST, min(connections, (most - _RESERVE) // _EACH))
