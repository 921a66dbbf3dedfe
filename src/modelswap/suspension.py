"""Time in which this process did not run: it was stopped (SIGSTOP), or the machine was suspended.

What others did meanwhile lies unread in the sockets, and must be read before a deadline counts.
"""

from __future__ import annotations

from typing import Final

from .units import Seconds

SUSPENDED_AFTER: Final = Seconds(1.0)
"""A timer that fires so much too late means a suspension: a busy event loop is late by milliseconds."""


def time_lost(due: float, now: float) -> Seconds:
    """Return how long this process did not run, from a timer that was due at *due* and fires at *now*."""
    late = now - due
    return Seconds(late) if late > SUSPENDED_AFTER else Seconds(0.0)
