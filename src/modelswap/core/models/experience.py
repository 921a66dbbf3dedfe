"""What is learned of one model while it is used: how often it is asked, how soon again, how long a swap takes.

Guarantees: what arrives on the fast path costs nothing here: requests are counted by differences, when
the rate is asked for. Nothing else assumes how long a swap takes that was never measured.

Units: seconds of the owner's clock; requests per second; bytes.
"""

from __future__ import annotations

from math import exp, inf
from typing import TYPE_CHECKING, Final

from modelswap.core.placement.policy import UNKNOWN_NEED, NeedSource
from modelswap.units import Bytes, Seconds

from .lifecycle import LEAVING, Phase

if TYPE_CHECKING:
    from modelswap.core.placement.policy import Facts
    from modelswap.core.spec import ModelId

RATE_TIME: Final = 600.0
"""Seconds in which a rate falls to 37 % without requests: longer than the pauses of a conversation,
shorter than the part of a day in which somebody works with one model."""
TYPICAL_STOP: Final = Seconds(1.0)
"""Of a server that was not stopped yet: memory is free 0.5 to 1.5 s after the request to exit."""
START: Final = Seconds(2.0)
"""A stop and a start without weights: an engine opens its device and warms up."""
READ_RATE: Final = Bytes(1 << 30)
"""Bytes per second at which weights are loaded when no load was measured: an SSD, or a slow NVMe one."""
USUAL_SIZE: Final = Bytes(3 << 30)
"""Of a model of unknown size: a small quantized one."""
PAUSES_KEPT: Final = 8
"""Pauses that are remembered: enough for a share of them, few enough to follow a change of work at once."""
LATE: Final = 2.0
"""A pause may take so many times an earlier one and still count as like it: pauses scatter."""


class RequestRate:
    """An average of requests per second in which older ones count less and less (exponentially)."""

    __slots__ = ("_at", "_counted", "_value")

    def __init__(self) -> None:
        self._value = 0.0
        self._at: Seconds | None = None
        self._counted = 0

    def at(self, now: Seconds, arrived: int) -> float:
        """Return the rate, *arrived* being the number of all requests so far.

        Those since the last call count as spread evenly over the time between.
        """
        if self._at is None:
            self._at, self._value, self._counted = now, arrived / RATE_TIME, arrived
        passed = now - self._at
        if passed > 0:
            kept = exp(-passed / RATE_TIME)
            fresh = (arrived - self._counted) / passed
            self._value = self._value * kept + fresh * (1 - kept)
            self._at, self._counted = now, arrived
        return self._value


class ReloadTimes:
    """How long the server takes from its start until it is ready, and from the order to stop until it is gone.

    The last time is the guess: the first start reads a disk, later ones the page cache.
    """

    __slots__ = ("_began", "_left", "_start", "_stop")

    def __init__(self) -> None:
        self._began: Seconds | None = None
        self._left: Seconds | None = None
        self._start: Seconds | None = None
        self._stop: Seconds | None = None

    def on_phase(self, phase: Phase, now: Seconds, *, is_adopted: bool) -> None:
        """Learn from a change of phase; an adopted server was not started now."""
        if phase is Phase.STARTING:
            self._began = None if is_adopted else now
            return
        if phase is Phase.READY:
            if self._began is not None:
                self._start = Seconds(now - self._began)
        elif phase in LEAVING:
            self._left = now if self._left is None else self._left
        else:
            if self._left is not None:
                self._stop = Seconds(now - self._left)
            self._left = None
        self._began = None

    @property
    def reload(self) -> Seconds | None:
        """How long a stop and a start take; `None`: it was never started here."""
        if self._start is None:
            return None
        return Seconds(self._start + (TYPICAL_STOP if self._stop is None else self._stop))

    def start_left(self, now: Seconds) -> Seconds | None:
        """Estimate the time until the model is ready; `None`: it was never started here."""
        if self._start is None or self._began is None:
            return self._start
        return Seconds(max(0.0, self._start - (now - self._began)))


def reload_time(model: ModelId, facts: Facts) -> Seconds:
    """Return the learned time, else a start and a read of what the model holds, or will."""
    known = facts.reload.get(model)
    return Seconds(START + _size(model, facts) / READ_RATE) if known is None else known


def _size(model: ModelId, facts: Facts) -> int:
    held = facts.held.get(model)
    if held:
        return sum(held.values())
    need = facts.needs.get(model, UNKNOWN_NEED)
    if need.source is NeedSource.UNKNOWN:
        return USUAL_SIZE
    return need.movable + sum(need.fixed.values())


class Pauses:
    """How long the model was idle before its next request, the last few times that somebody waited for its place.

    An infinite one stands for: the next request came too late to be worth waiting for.
    """

    __slots__ = ("_seen",)

    def __init__(self) -> None:
        self._seen: tuple[float, ...] = ()

    def add(self, pause: float) -> None:
        self._seen = (*self._seen[1 - PAUSES_KEPT :], pause)

    def worth_waiting(self, saved: Seconds, waiting: int) -> Seconds:
        """Return how long to keep the idle model for its next request; 0: do not.

        Of all times the one with the greatest gain, had the remembered pauses come again: each
        pause that ends in time saves *saved* seconds, and *waiting* requests wait meanwhile. With no
        pause known nothing is gained.
        """
        best, longest = 0.0, 0.0
        for pause in self._seen:
            if pause < inf:
                hold = pause * LATE
                if (gain := _gain(self._seen, hold, saved, waiting)) > best:
                    best, longest = gain, hold
        return Seconds(longest)


def _gain(pauses: tuple[float, ...], hold: float, saved: float, waiting: int) -> float:
    return sum((saved if p <= hold else 0.0) - waiting * min(p, hold) for p in pauses)
