"""The language between the room and its owner: requests in, commands out.

Values only. Every request that entered by `Room.on_arrived` leaves by exactly one `Grant` or `Fail`,
unless its owner cancelled it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from .placement.policy import ANYWHERE

if TYPE_CHECKING:
    from modelswap.units import Seconds

    from .failure import Failure
    from .models.lifecycle import Phase, Timer
    from .placement.policy import Placement
    from .spec import ClientId, ModelId, RequestId


@dataclass(frozen=True, slots=True)
class LeaseRequest:
    """Ids are not negative and not used twice; *client* is who it counts for."""

    id: RequestId
    model: ModelId
    client: ClientId
    background: bool = False
    watched: bool = False
    """Its owner wants to hear of its place in the queue."""
    no_swap: bool = False
    """It is refused where another model would have to leave for it."""


class Reason(StrEnum):
    """Why a request was refused."""

    LOAD_FAILED = "load failed"
    BACKING_OFF = "backing off"
    QUEUE_FULL = "queue full"
    OVER_LIMIT = "over limit"
    UNLOADED = "unloaded"
    SHUTTING_DOWN = "shutting down"
    REMOVED = "removed"
    NO_SUCH_MODEL = "no such model"
    NEVER_FITS = "never fits"
    WOULD_SWAP = "would swap"
    """The request allows no eviction; the detail names the models that would have to leave."""


@dataclass(frozen=True, slots=True)
class Grant:
    """It counts as running from now on; `Room.on_finished` ends that."""

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
    """The new place of a watched request in the queue; 1 is the next."""

    id: RequestId
    position: int


@dataclass(frozen=True, slots=True)
class Spawn:
    """Create the process and begin probing it."""

    model: ModelId
    placement: Placement = ANYWHERE


@dataclass(frozen=True, slots=True)
class Terminate:
    """Ask the process to leave; cut what still runs on it."""

    model: ModelId


@dataclass(frozen=True, slots=True)
class Kill:
    """Stop asking."""

    model: ModelId


@dataclass(frozen=True, slots=True)
class TimerKey:
    timer: Timer
    model: ModelId | None = None


@dataclass(frozen=True, slots=True)
class SetTimer:
    """Call `Room.on_timer(key, now)` at *at*; replaces an earlier one of the same key."""

    key: TimerKey
    at: Seconds


@dataclass(frozen=True, slots=True)
class ClearTimer:
    key: TimerKey


@dataclass(frozen=True, slots=True)
class PhaseChanged:
    """News for people; the phase may be the old one when only the news is new."""

    model: ModelId
    phase: Phase
    why: str


Command = Grant | Fail | Position | Spawn | Terminate | Kill | SetTimer | ClearTimer | PhaseChanged
