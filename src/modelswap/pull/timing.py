"""How long a pull waits: for bytes, and between two tries."""

from __future__ import annotations

from dataclasses import dataclass

from modelswap.units import Seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class PullTiming:
    connect: Seconds = Seconds(10.0)
    """For a connection, and for an answer of the hub's API: what `huggingface_hub` allows."""
    silence: Seconds = Seconds(30.0)
    """Without a byte on a connection until it is given up: storage hosts pause for seconds, not longer."""
    stalled: Seconds = Seconds(10.0)
    """Without a byte, over all tries, until a pull is said to stall."""
    first_pause: Seconds = Seconds(1.0)
    """Between the first two tries, as most broken connections were an accident; it doubles from try to try."""
    longest_pause: Seconds = Seconds(30.0)
    longest_wait: Seconds = Seconds(120.0)
    """That a server may ask for (`Retry-After`); a pull that has to wait longer fails and says how long."""
    tries: int = 8
    """In a row without a new byte; some two minutes with their pauses, longer than a router restarts."""

    def pause(self, failures: int) -> Seconds:
        """Return the time before the next try, after so many failures in a row."""
        return Seconds(min(self.longest_pause, self.first_pause * 2 ** (failures - 1)))
