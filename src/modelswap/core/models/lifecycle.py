"""The life cycle of one model server, as a table.

Guarantees: a (phase, event) pair is a transition, or impossible, or changes nothing; a test lists them
all. A phase has at most one timer of the table's own, and a transition replaces it.
Does not: count failures, or know whether a model is wanted.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from operator import attrgetter
from typing import TYPE_CHECKING, Final

from modelswap.core.spec import ModelSpec
from modelswap.deferred import dataclass
from modelswap.units import Seconds

if TYPE_CHECKING:
    from collections.abc import Mapping

ABORT_GRACE: Final = Seconds(5.0)
"""Until a kill, for a server that has no request to finish; an engine frees its memory in that time."""
KILL_AGAIN: Final = Seconds(5.0)
"""Between two kills: a process in uninterruptible sleep may react to a later one."""


class Phase(StrEnum):
    STOPPED = "stopped"
    STARTING = "starting"
    READY = "ready"
    STOPPING = "stopping"
    KILLING = "killing"
    STUCK = "stuck"

    @property
    def shown(self) -> str:
        """The name for clients, which know four states."""
        return "stopping" if self in LEAVING else self.value


# Asked to exit, then killed; `STUCK` has not exited even so.
LEAVING: Final = frozenset({Phase.STOPPING, Phase.KILLING, Phase.STUCK})
# Runs, or will.
UP: Final = frozenset({Phase.STARTING, Phase.READY})
# Phases in which a process (or container, or actor) exists or may exist.
ALIVE: Final = LEAVING | UP


class Event(StrEnum):
    START_WANTED = "start wanted"
    ADOPTED = "adopted"
    PROBE_PASSED = "probe passed"
    SPAWN_FAILED = "spawn failed"
    STALLED = "stalled"
    STOP_WANTED = "stop wanted"
    KILL_WANTED = "kill wanted"
    EXITED = "exited"
    START_TIMED_OUT = "start timed out"
    GRACE_EXPIRED = "grace expired"


class Action(StrEnum):
    SPAWN = "create the process and begin probing it"
    TERMINATE = "ask the process to exit"
    KILL = "kill the process"


class Timer(StrEnum):
    """`START` and `GRACE` belong to the table, the others to `LifecycleDriver`."""

    START = "start"
    GRACE = "grace"
    IDLE = "idle"
    DRAIN = "drain"
    OVERDUE = "overdue"
    UNUSED = "unused"


class ImpossibleTransitionError(Exception):
    """An event that cannot happen in this phase: a bug, never a user error."""


Limit = Seconds | Callable[[ModelSpec], Seconds]


@dataclass(frozen=True, slots=True)
class Transition:
    target: Phase
    action: Action | None = None
    limit: Limit | None = None
    """How long the target phase may last: `Timer.START` or `Timer.GRACE`."""


_START: Final[Limit] = attrgetter("start_timeout")
_GRACE: Final[Limit] = attrgetter("stop_grace")
P, E, T = Phase, Event, Transition

TRANSITIONS: Final[Mapping[tuple[Phase, Event], Transition]] = {
    (P.STOPPED, E.START_WANTED): T(P.STARTING, Action.SPAWN, _START),
    (P.STOPPED, E.ADOPTED): T(P.STARTING, None, _START),
    (P.STARTING, E.PROBE_PASSED): T(P.READY),
    (P.STARTING, E.SPAWN_FAILED): T(P.STOPPED),
    (P.STARTING, E.STOP_WANTED): T(P.STOPPING, Action.TERMINATE, ABORT_GRACE),
    (P.STARTING, E.KILL_WANTED): T(P.KILLING, Action.KILL, KILL_AGAIN),
    (P.STARTING, E.EXITED): T(P.STOPPED),
    (P.STARTING, E.START_TIMED_OUT): T(P.STOPPING, Action.TERMINATE, ABORT_GRACE),
    (P.READY, E.SPAWN_FAILED): T(P.STOPPED),
    (P.READY, E.STALLED): T(P.STOPPING, Action.TERMINATE, ABORT_GRACE),
    (P.READY, E.STOP_WANTED): T(P.STOPPING, Action.TERMINATE, _GRACE),
    (P.READY, E.KILL_WANTED): T(P.KILLING, Action.KILL, KILL_AGAIN),
    (P.READY, E.EXITED): T(P.STOPPED),
    (P.STOPPING, E.SPAWN_FAILED): T(P.STOPPED),
    (P.STOPPING, E.KILL_WANTED): T(P.KILLING, Action.KILL, KILL_AGAIN),
    (P.STOPPING, E.EXITED): T(P.STOPPED),
    (P.STOPPING, E.GRACE_EXPIRED): T(P.KILLING, Action.KILL, KILL_AGAIN),
    (P.KILLING, E.SPAWN_FAILED): T(P.STOPPED),
    (P.KILLING, E.EXITED): T(P.STOPPED),
    (P.KILLING, E.GRACE_EXPIRED): T(P.STUCK, Action.KILL, KILL_AGAIN),
    (P.STUCK, E.SPAWN_FAILED): T(P.STOPPED),
    (P.STUCK, E.EXITED): T(P.STOPPED),
    (P.STUCK, E.GRACE_EXPIRED): T(P.STUCK, Action.KILL, KILL_AGAIN),
}

# Only a stopped model is started or adopted; a timer that is not set cannot fire.
IMPOSSIBLE: Final = frozenset(
    {
        *((p, e) for p in ALIVE for e in (E.START_WANTED, E.ADOPTED)),
        *((p, E.START_TIMED_OUT) for p in Phase if p is not P.STARTING),
        *((p, E.GRACE_EXPIRED) for p in Phase if p not in LEAVING),
    }
)


def step(phase: Phase, event: Event) -> Transition | None:
    """Return what *event* changes; `None`: it is late, early or repeated, and changes nothing."""
    transition = TRANSITIONS.get((phase, event))
    if transition is None and (phase, event) in IMPOSSIBLE:
        raise ImpossibleTransitionError(f"{event!s} while {phase!s}")
    return transition
