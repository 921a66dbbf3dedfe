"""What the decisions know of one model, beside its configuration.

One `ModelState` per model, owned by the room; the scheduler counts on it, `decide` only reads it. It also
keeps the record of bad endings, from which the back-off follows:

* a start that failed rests the model for 1 s, then twice as long each time, up to 30 s;
* a ready server that died young is started again at once, three times in a row; then it rests too;
* a life of at least `YOUNG` seconds, an orderly stop, an unload or a new configuration forgives.

Why it ended badly is kept until the model starts again or is forgiven.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from math import inf
from typing import TYPE_CHECKING, Final

from modelswap.core.placement.policy import ANYWHERE
from modelswap.units import Seconds

from .lifecycle import ALIVE, Phase

if TYPE_CHECKING:
    from modelswap.core.failure import Failure
    from modelswap.core.placement.policy import Placement
    from modelswap.core.spec import ModelSpec

LONG_AGO: Final = Seconds(-inf)
FIRST_REST: Final = Seconds(1.0)
LONGEST_REST: Final = Seconds(30.0)
YOUNG: Final = Seconds(10.0)
"""A server that dies sooner after it became ready died young."""
YOUNG_DEATHS: Final = 3
"""So many in a row are taken for bad luck."""


@dataclass(slots=True, eq=False)
class ModelState:
    spec: ModelSpec
    phase: Phase = Phase.STOPPED
    in_flight: int = 0
    used: Seconds = LONG_AGO
    """When it became ready, or when the last use ended."""
    clear_in: int = 0
    """The scheduler's epoch in which nothing stood in the way of a new request."""
    placement: Placement = ANYWHERE
    """Where its server was last started."""
    has_idled: bool = False
    """It was stopped because nobody used it for its time to live; until it is ready again."""
    is_removed: bool = False
    """No longer configured; it stays until its process and its requests have ended."""
    failure: Failure | None = None
    failed_at: Seconds = LONG_AGO
    rest_until: Seconds = LONG_AGO
    limit: int = field(init=False)
    _failed_starts: int = 0
    _young_deaths: int = 0
    _ready_at: Seconds = LONG_AGO

    def __post_init__(self) -> None:
        self.configure(self.spec)

    def configure(self, spec: ModelSpec) -> None:
        self.spec = spec
        self.limit = sys.maxsize if spec.concurrency is None else spec.concurrency

    @property
    def is_alive(self) -> bool:
        return self.phase in ALIVE

    def rest_left(self, now: Seconds) -> Seconds:
        """Return how long the model still backs off; zero or less: it does not."""
        return Seconds(self.rest_until - now)

    def note_start(self) -> None:
        """A new life begins: how the last one ended is past."""
        self.failure = None

    def note_ready(self, now: Seconds) -> None:
        self.used = self._ready_at = now
        self.has_idled = False
        self._failed_starts = 0

    def note_failed_start(self, why: Failure, now: Seconds) -> None:
        self._failed_starts += 1
        self._note(why, now)
        self._rest(self._failed_starts, now)

    def note_death(self, why: Failure, now: Seconds) -> None:
        """Take note that the ready server ended by itself."""
        is_young = now - self._ready_at < YOUNG
        self._young_deaths = self._young_deaths + 1 if is_young else 0
        rests = self._young_deaths > YOUNG_DEATHS
        if rests or why.exit_code != 0:
            self._note(why, now)
        if rests:
            self._rest(self._young_deaths - YOUNG_DEATHS, now)

    def forgive(self) -> None:
        self._failed_starts = self._young_deaths = 0
        self.failure = None
        self.rest_until = LONG_AGO

    def _note(self, why: Failure, now: Seconds) -> None:
        self.failure = why
        self.failed_at = now

    def _rest(self, time: int, now: Seconds) -> None:
        # The exponent is bounded: a float overflows long before a stubborn client gives up.
        self.rest_until = Seconds(now + min(LONGEST_REST, FIRST_REST * 2 ** min(time - 1, 10)))
