"""The requests that enter the controller, and the commands that leave it; values only.

Guarantees: every request that entered by `Controller.on_arrived` leaves by exactly one `Grant` or
`Fail`, unless its owner cancelled it.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

from modelswap.deferred import dataclass

from .placement.policy import ANYWHERE

if TYPE_CHECKING:
    from modelswap.units import Seconds

    from .failure import Failure
    from .models.lifecycle import Phase, Timer
    from .placement.policy import Evict, Facts, Placement
    from .spec import ClientId, ModelId, RequestId


@dataclass(frozen=True, slots=True)
class LeaseRequest:
    """What the scheduler has to know of one request."""

    model: ModelId
    client: ClientId
    """Turns are shared between clients."""
    background: bool = False
    watched: bool = False
    """Its position in the queue is reported."""
    no_swap: bool = False
    """It is refused where another model would have to leave for it."""
    number: int | None = None
    """Its id in the list of running requests, for the log of decisions; 0: it is not in the list; `None`: an
    order to load, not a client's request."""


class Reason(StrEnum):
    LOAD_FAILED = "load failed"
    BACKING_OFF = "backing off"
    QUEUE_FULL = "queue full"
    OVER_LIMIT = "over limit"
    UNLOADED = "unloaded"
    SHUTTING_DOWN = "shutting down"
    REMOVED = "removed"
    NO_SUCH_MODEL = "no such model"
    NEVER_FITS = "never fits"
    NO_ROOM = "no room"
    """There would be room in memory, but other programs hold it; the detail says which."""
    WOULD_SWAP = "would swap"
    """The request allows no eviction; the detail names the models that would have to leave."""
    PULL_FAILED = "pull failed"
    PULL_CANCELLED = "pull cancelled"


@dataclass(frozen=True, slots=True)
class Grant:
    """The request counts as running from now on, until `Controller.on_finished`."""

    id: RequestId
    model: ModelId


@dataclass(frozen=True, slots=True)
class Fail:
    id: RequestId
    reason: Reason
    detail: str = ""
    retry_after: Seconds | None = None
    failure: Failure | None = None
    """Why the model is not running, where that is the reason."""


@dataclass(frozen=True, slots=True)
class Position:
    """The new position of a watched request in the queue; 1 is the next."""

    id: RequestId
    position: int


@dataclass(frozen=True, slots=True)
class Spawn:
    model: ModelId
    placement: Placement = ANYWHERE


@dataclass(frozen=True, slots=True)
class Terminate:
    """Ask the process to exit; cut the requests that still run on it."""

    model: ModelId


@dataclass(frozen=True, slots=True)
class Kill:
    model: ModelId


@dataclass(frozen=True, slots=True)
class TimerKey:
    timer: Timer
    model: ModelId | None = None


@dataclass(frozen=True, slots=True)
class SetTimer:
    """Call `Controller.on_timer(key, now)` at *at*; replaces an earlier one of the same key."""

    key: TimerKey
    at: Seconds


@dataclass(frozen=True, slots=True)
class ClearTimer:
    key: TimerKey


@dataclass(frozen=True, slots=True)
class PhaseChanged:
    """For logs and watchers; the phase may be the old one when only the reason is new."""

    model: ModelId
    phase: Phase
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SwapDecided:
    """A model is to start, and others leave for it: for the log of decisions.

    What becomes of it is in the phases that follow.
    """

    model: ModelId
    request: LeaseRequest
    """The request that it is for."""
    is_own: bool
    """The program asks for it itself: a preload, or what a failed start brings back."""
    evictions: frozenset[Evict]
    """Those that leave because of this decision."""
    placement: Placement
    why: str
    """Why these, and why there."""
    at: Seconds
    waited: Seconds
    """How long the request had waited."""
    facts: Facts
    """What was known of the devices."""


Command = (
    Grant
    | Fail
    | Position
    | Spawn
    | Terminate
    | Kill
    | SetTimer
    | ClearTimer
    | PhaseChanged
    | SwapDecided
)
