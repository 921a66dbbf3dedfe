"""The placement policy: which models must leave so that a model can run, and where it runs.

The scheduler asks for every arrival that it cannot serve at once, and again for each queued request
after each change.

Guarantees: a policy is a function of its question alone; it knows no requests, phases or times.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import field, replace
from enum import StrEnum
from functools import lru_cache
from typing import Final, NewType

from modelswap.core.spec import ModelId
from modelswap.deferred import dataclass
from modelswap.units import Bytes, Seconds

NodeId = NewType("NodeId", str)
DeviceId = NewType("DeviceId", str)

RAM: Final = DeviceId("ram")
"""The memory of the machine; GPUs are `gpu0`, `gpu1`, …"""


@dataclass(frozen=True, slots=True, kw_only=True)
class DevicePool:
    """The memory of one device, in bytes."""

    id: DeviceId
    node: NodeId | None = None
    """`None`: the machine that this program runs on."""
    total: Bytes
    """What the device, or the limit that the configuration or a cgroup sets, has in all."""
    reserve: Bytes = Bytes(0)
    """Kept free, whatever is asked for."""
    foreign: Bytes = Bytes(0)
    """Used by processes that are not ours."""
    holders: tuple[tuple[str, Bytes], ...] = ()
    """The largest of those processes, for messages: name and bytes, the largest first."""

    @property
    def room(self) -> Bytes:
        """What all our models together may hold."""
        return Bytes(max(0, self.total - self.reserve - self.foreign))


class NeedSource(StrEnum):
    """Where the figures of a need come from, the most trusted first."""

    DECLARED = "declared"
    LEARNED = "learned"
    PREDICTED = "predicted"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """The memory that one model takes while it runs, in bytes."""

    fixed: Mapping[DeviceId, Bytes] = field(default_factory=dict[DeviceId, Bytes])
    """On devices that are settled: `ram`, and the GPUs that the configuration or the command names."""
    movable: Bytes = Bytes(0)
    """On one GPU, or split over several, whichever the policy chooses."""
    source: NeedSource = NeedSource.UNKNOWN
    """`UNKNOWN`: the figures mean nothing; the model runs alone until it was measured once."""
    is_fitted: bool = False
    """The server takes less where less is free: it is never too large."""
    least_ram: Bytes = Bytes(0)
    """What it takes of `ram` even then, such as weights; it waits for so much, if others hold it."""


UNKNOWN_NEED: Final = Need()


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What a policy may know beside the models that run."""

    epoch: int = 0
    """Changes with every other field; the scheduler decides anew when it changed."""
    pools: Sequence[DevicePool] = ()
    """Empty: nothing is known of the devices, or no policy asks for them."""
    needs: Mapping[ModelId, Need] = field(default_factory=dict[ModelId, Need])
    """A model of unknown need is not listed, or its need says so."""
    held: Mapping[ModelId, Mapping[DeviceId, Bytes]] = field(
        default_factory=dict[ModelId, Mapping[DeviceId, Bytes]]
    )
    """What each running or starting model holds or was promised on each device, whichever is more."""
    reload: Mapping[ModelId, Seconds] = field(default_factory=dict[ModelId, Seconds])
    """How long a stop and a start take, learned; a model that never ran is not listed."""


NO_FACTS: Final = Facts()


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """How a model is used, as a policy may weigh it."""

    idle: Seconds = Seconds(0.0)
    """Since its last request ended; 0 while one runs."""
    rate: float = 0.0
    """Requests per second, an average in which older ones count less and less."""
    in_flight: int = 0
    waiting: int = 0
    """Requests in the queue."""
    resident: Seconds = Seconds(0.0)
    """Since it became ready."""


UNUSED: Final = Usage()


def unused(_: ModelId) -> Usage:
    """Stand for the usage of every model where nothing is known of it."""
    return UNUSED


@dataclass(frozen=True, slots=True)
class Question:
    """Can *target* run beside *live*, and what has to change for it?"""

    target: ModelId
    live: Sequence[ModelId]
    """Models that run or will, from the least to the most recently used; it may hold the target."""
    facts: Facts = NO_FACTS
    usage: Callable[[ModelId], Usage] = field(default=unused, compare=False)
    """How a live model is used; computed when it is asked for."""
    leaving: frozenset[ModelId] = frozenset()
    """Live models that leave whatever is decided here: what they hold will be free."""
    stuck: frozenset[ModelId] = frozenset()
    """Live models whose processes do not exit: no eviction frees what they hold."""
    loading: frozenset[ModelId] = frozenset()
    """Live models that are not ready yet, and for which a request waits."""
    is_overdue: bool = False
    """The request has waited as long as it may: nothing but running requests keeps it waiting."""


class EvictionMode(StrEnum):
    STOP = "stop"
    SLEEP = "sleep"
    """The server frees its device memory and stays; one that cannot sleep is stopped instead."""


@dataclass(frozen=True, slots=True)
class Evict:
    model: ModelId
    how: EvictionMode = EvictionMode.STOP


@dataclass(frozen=True, slots=True)
class Placement:
    """Where a model runs; unspecified, the launcher's defaults apply."""

    node: NodeId | None = None
    devices: tuple[DeviceId, ...] = ()
    """The GPUs that it may see, in order; empty: all."""
    promised: tuple[tuple[DeviceId, Bytes], ...] = ()
    """What is set aside for it on each device."""

    @property
    def is_specified(self) -> bool:
        return self != ANYWHERE


ANYWHERE: Final = Placement()


@dataclass(frozen=True, slots=True)
class PlacementPlan:
    evictions: frozenset[Evict] = frozenset()
    """At most one a model; empty: the target can run beside all others."""
    placement: Placement = ANYWHERE
    why: str = field(default="", compare=False)
    """What led to this choice, for the log."""

    @property
    def evicted(self) -> frozenset[ModelId]:
        return frozenset(eviction.model for eviction in self.evictions)


@dataclass(frozen=True, slots=True)
class NeverFits:
    """No eviction would help; asking again will not either."""

    why: str


@dataclass(frozen=True, slots=True)
class NotYet:
    """There will be room, but no eviction that is allowed now makes it."""

    why: str
    again_in: Seconds | None = None
    """After this time the answer may be another one by itself; `None`: only with other facts."""
    refuse_after: Seconds | None = None
    """How long a request may wait for it; `None`: there is no bound."""


Answer = PlacementPlan | NotYet | NeverFits
Policy = Callable[[Question], Answer]

NO_EVICTIONS: Final = PlacementPlan()


@lru_cache(maxsize=1024)  # the same few plans are asked for again and again
def stop(models: frozenset[ModelId], why: str = "") -> PlacementPlan:
    """Return the plan that stops *models*."""
    return PlacementPlan(frozenset(map(Evict, models)), why=why) if models else NO_EVICTIONS


def unrestricted(_: Question) -> PlacementPlan:
    """Let every model run beside every other."""
    return NO_EVICTIONS


def all_of(*policies: Policy) -> Policy:
    """Join policies into one that satisfies each of them.

    It evicts what any of them evicts; a stop wins over a sleep. The first specified placement counts.
    What an earlier one evicts is leaving for the later ones. The target never fits if one of them says
    so; else it has to wait if one says that. The reasons of those that add something are joined.
    """
    parts = [policy for policy in policies if policy is not unrestricted]
    if not parts:
        return unrestricted
    if len(parts) == 1:
        return parts[0]

    def joined(question: Question) -> Answer:
        plan = NO_EVICTIONS
        waits: list[NotYet] = []
        refusals: list[str] = []
        for part in parts:
            answer = part(question)
            if isinstance(answer, NeverFits):
                refusals.append(answer.why)
            elif isinstance(answer, NotYet):
                waits.append(answer)
            elif answer != NO_EVICTIONS:
                plan = _joined(plan, answer)
                question = replace(question, leaving=question.leaving | plan.evicted)
        if refusals:
            return NeverFits(_reasons(*refusals))
        return _waiting(waits) if waits else plan

    return joined


def _waiting(waits: Sequence[NotYet]) -> NotYet:
    """Join reasons to wait: time changes the answer of the first, and the least patient one counts."""
    times = [wait.again_in for wait in waits if wait.again_in is not None]
    bounds = [wait.refuse_after for wait in waits if wait.refuse_after is not None]
    why = _reasons(*(wait.why for wait in waits))
    return NotYet(why, min(times, default=None), min(bounds, default=None))


def _joined(one: PlacementPlan, other: PlacementPlan) -> PlacementPlan:
    evictions = one.evictions | other.evictions
    placement = one.placement if one.placement.is_specified else other.placement
    if len(evictions) > len(one.evictions):
        stopped = {e.model for e in evictions if e.how is EvictionMode.STOP}
        evictions = frozenset(
            e for e in evictions if e.how is EvictionMode.STOP or e.model not in stopped
        )
    if evictions == one.evictions and placement == one.placement:
        return one
    return PlacementPlan(evictions, placement, _reasons(one.why, other.why))


def _reasons(*reasons: str) -> str:
    return "; ".join(filter(None, reasons))


def apart(address_of: Mapping[ModelId, str]) -> Policy:
    """Never let two models with one address run together.

    `address_of` holds the models that listen at an address of their own; a model that is not in it
    shares none.
    """
    sharers: dict[str, set[ModelId]] = {}
    for model, address in address_of.items():
        sharers.setdefault(address, set()).add(model)
    sharing_with = {
        model: frozenset(sharers[address] - {model})
        for model, address in address_of.items()
        if len(sharers[address]) > 1
    }
    if not sharing_with:
        return unrestricted

    def policy(question: Question) -> PlacementPlan:
        taken = sharing_with.get(question.target, frozenset()).intersection(question.live)
        return stop(taken, f"{', '.join(sorted(taken))} has the same address")

    return policy
