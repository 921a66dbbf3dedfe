"""The state of one model beside its configuration, and its back-off after failures.

* a failed start delays the next one by 1 s, then twice as long each time, up to 30 s;
* after an early crash the server starts again at once, three times in a row; then it backs off too;
* a run of at least `EARLY_CRASH`, an orderly stop, an unload or a new configuration ends the back-off.

The last failure is kept until the model starts again or its back-off is reset.
"""

from __future__ import annotations

import sys
from dataclasses import field
from itertools import count
from math import inf
from typing import TYPE_CHECKING, Final

from modelswap.core.placement.policy import ANYWHERE, Usage
from modelswap.deferred import dataclass
from modelswap.units import Seconds

from .experience import Pauses, ReloadTimes, RequestRate
from .lifecycle import ALIVE, Phase

if TYPE_CHECKING:
    from modelswap.core.failure import Failure
    from modelswap.core.placement.policy import Placement
    from modelswap.core.spec import ModelSpec

LONG_AGO: Final = Seconds(-inf)
"""Earlier than every time."""
NEVER: Final = Seconds(inf)
"""Later than every time."""
FIRST_BACKOFF: Final = Seconds(1.0)
"""After one failed start: a human retries no sooner."""
LONGEST_BACKOFF: Final = Seconds(30.0)
"""A repaired model is tried again within this time, without an unload."""
EARLY_CRASH: Final = Seconds(10.0)
"""A server that exits sooner after it became ready crashed early."""
EARLY_CRASHES: Final = 3
"""Early crashes in a row without back-off: one bad request can cause each of them."""
_LARGEST_EXPONENT: Final = 10
"""Doublings of the back-off: beyond `LONGEST_BACKOFF`, and far from a float's overflow."""


@dataclass(slots=True, eq=False)
class ModelState:
    spec: ModelSpec
    phase: Phase = Phase.STOPPED
    in_flight: int = 0
    used: Seconds = LONG_AGO
    """When it became ready, or when the last request ended."""
    ttl_from: Seconds = LONG_AGO
    """From when its `ttl` counts: ready without a request, or the last end of one that asked for no other
    time. `LONG_AGO`: it does not count."""
    kept_until: Seconds = LONG_AGO
    """The latest time until which requests asked to keep it loaded."""
    clear_in: int = 0
    """The scheduler's epoch in which a new request was served at once."""
    placement: Placement = ANYWHERE
    """Where its server was last started."""
    has_idled: bool = False
    """It was stopped because it was not used for its time to live; until it is ready again."""
    is_removed: bool = False
    """No longer configured; it stays until its process and its requests have ended."""
    is_second_try: bool = False
    """Its last start ran out of memory, and it starts once more when others have left."""
    failure: Failure | None = None
    failed_at: Seconds = LONG_AGO
    backoff_until: Seconds = LONG_AGO
    limit: int = field(init=False)
    serial: int = field(default_factory=count().__next__)
    """Counts the states: models that were used at one time are in the order of the configuration."""
    served: int = 0
    """Requests that ended."""
    rate: RequestRate = field(default_factory=RequestRate)
    times: ReloadTimes = field(default_factory=ReloadTimes)
    pauses: Pauses = field(default_factory=Pauses)
    _failed_starts: int = 0
    _early_crashes: int = 0
    _ready_at: Seconds = LONG_AGO

    def __post_init__(self) -> None:
        self.configure(self.spec)

    def configure(self, spec: ModelSpec) -> None:
        self.spec = spec
        self.limit = sys.maxsize if spec.concurrency is None else spec.concurrency

    @property
    def is_alive(self) -> bool:
        return self.phase in ALIVE

    def backoff_left(self, now: Seconds) -> Seconds:
        """Return how long the model still backs off; zero or less: it does not."""
        return Seconds(self.backoff_until - now)

    def usage(self, now: Seconds, waiting: int) -> Usage:
        """Return how the model is used; *waiting* requests are queued for it."""
        is_idle = not self.in_flight and self.used > LONG_AGO
        is_ready = self.phase is Phase.READY
        return Usage(
            idle=Seconds(now - self.used if is_idle else 0.0),
            rate=self.rate.at(now, self.served + self.in_flight),
            in_flight=self.in_flight,
            waiting=waiting,
            resident=Seconds(now - self._ready_at if is_ready else 0.0),
        )

    @property
    def expires(self) -> Seconds:
        """When it is unloaded unless it is used before; the latest time that one of its requests gave it.

        A request gives what it asks for, from its end on, else the `ttl`; 0 takes back what the earlier ones gave.
        """
        ttl = self.spec.ttl
        if self.spec.request_ttl is None:
            return NEVER if ttl is None else Seconds(self.used + ttl)
        if self.ttl_from == LONG_AGO:
            return self.kept_until
        return NEVER if ttl is None else max(Seconds(self.ttl_from + ttl), self.kept_until)

    def expires_in(self, now: Seconds) -> Seconds | None:
        """Return after how long it is unloaded unless it is used; `None`: it is used now, or stays."""
        if self.phase is not Phase.READY or self.in_flight or self.expires == NEVER:
            return None
        return Seconds(max(0.0, self.expires - now))

    def kept_for(self, now: Seconds) -> Seconds | None:
        """Return for how long it would still be kept; `None`: requests have no say in that."""
        if self.spec.request_ttl is None:
            return None
        return Seconds(max(0.0, self.expires - now))

    def end_with_ttl(self, asked: Seconds, now: Seconds) -> None:
        """End a request that asked for this time to live."""
        bounds = self.spec.request_ttl
        if bounds is None:
            self.ttl_from = now
            return
        time = min(max(asked, bounds.shortest), bounds.longest)
        if time > 0:
            self.kept_until = max(self.kept_until, Seconds(now + time))
        else:
            self.ttl_from = self.kept_until = LONG_AGO

    def on_ready(self, now: Seconds) -> None:
        self.used = self._ready_at = now
        self.ttl_from = self.kept_until = LONG_AGO
        self.has_idled = self.is_second_try = False
        self._failed_starts = 0

    def on_start_failed(self, why: Failure, now: Seconds) -> None:
        self.is_second_try = False
        self._failed_starts += 1
        self._record(why, now)
        self._back_off(self._failed_starts, now)

    def on_exited(self, why: Failure, now: Seconds) -> None:
        """Record that the ready server exited by itself."""
        is_early = now - self._ready_at < EARLY_CRASH
        self._early_crashes = self._early_crashes + 1 if is_early else 0
        backs_off = self._early_crashes > EARLY_CRASHES
        if backs_off or why.exit_code != 0:
            self._record(why, now)
        if backs_off:
            self._back_off(self._early_crashes - EARLY_CRASHES, now)

    def reset_backoff(self) -> None:
        self.is_second_try = False
        self._failed_starts = self._early_crashes = 0
        self.failure = None
        self.backoff_until = LONG_AGO

    def _record(self, why: Failure, now: Seconds) -> None:
        self.failure = why
        self.failed_at = now

    def _back_off(self, time: int, now: Seconds) -> None:
        delay = FIRST_BACKOFF * 2 ** min(time - 1, _LARGEST_EXPONENT)
        self.backoff_until = Seconds(now + min(LONGEST_BACKOFF, delay))
