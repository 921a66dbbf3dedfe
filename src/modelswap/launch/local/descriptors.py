"""How many files this process may hold open: as many as the system lets it, its servers as before.

A proxy needs two descriptors per request, and the usual soft limit is 1,024. Servers get the limit
that we were started with: old programs that use `select` break above it.
"""

from __future__ import annotations

import contextlib
import os
import resource
import sys
from typing import Final

MOST: Final = 1 << 16
_USUAL: Final = resource.getrlimit(resource.RLIMIT_NOFILE)


def fill_standard_streams() -> None:
    """See that 0, 1 and 2 are open: else a socket or a database gets the number, and our log."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest free number is this one


def raise_limit() -> None:
    """Raise our own soft limit up to the hard one, or to `MOST`."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST if hard == resource.RLIM_INFINITY else min(hard, MOST)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(OSError, ValueError):  # macOS allows less than it says
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def lower_for(pid: int) -> None:
    """Give a child the limit that we were started with, where the system can."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError, ValueError):
            resource.prlimit(pid, resource.RLIMIT_NOFILE, _USUAL)
