"""One decision to start a model: who asked, who left, why, what it did to the memory, and how it ended.

Guarantees: its text is made of the same words as an explanation before the fact. It holds no command and
no header.
Units: bytes; seconds since it was decided; milliseconds since the epoch.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

import msgspec

from modelswap.core.explaining.quantities import duration_text, size_text
from modelswap.core.explaining.words import placement_text, swap_text
from modelswap.core.placement.policy import DeviceId, NodeId, Placement
from modelswap.observe.logs.timestamps import rfc3339

if TYPE_CHECKING:
    from modelswap.core.placement.policy import Facts

_MILLISECOND: Final = 1_000_000
"""Nanoseconds."""


class Ending(StrEnum):
    """How a decision ended; values are part of the HTTP interface."""

    OPEN = ""
    READY = "ready"
    FAILED = "failed"
    STOPPED = "stopped"
    """The model was stopped before it was ready."""
    GIVEN_UP = "given_up"
    """Nothing was started: no request waited for it any more, or a model would not leave."""


class Asker(StrEnum):
    """Who asked for the model; values are part of the HTTP interface."""

    REQUEST = "request"
    BACKGROUND = "background"
    """A request that is marked as background work."""
    ORDER = "order"
    """The page, the API or the command line."""
    PROGRAM = "program"
    """A preload, or what a failed start brings back."""


class Evicted(msgspec.Struct, kw_only=True):
    model: str
    how: str
    frees: dict[DeviceId, int] = {}
    """Bytes by device; empty: not known."""
    reload_seconds: float | None = None
    """How long it takes to load again, learned."""


class DeviceChange(msgspec.Struct, kw_only=True):
    """The memory of one device before the decision and after its end."""

    id: DeviceId
    total: int
    reserve: int
    foreign: int
    before: int
    """Held by models."""
    after: int | None = None


class Decision(msgspec.Struct, kw_only=True):
    id: int
    """Microseconds since the epoch when it was decided: ids of two processes differ, and sort."""
    model: str
    asker: str
    client: str = ""
    """As the activity names it; empty: the program, or nobody that has a name."""
    request: int = 0
    """The request's id among the running ones; 0: it has none."""
    evicted: list[Evicted] = []
    why: str = ""
    node: str = ""
    devices: list[str] = []
    """The GPUs that the policy chose; empty: all."""
    memory: list[DeviceChange] = []
    waited: float = 0.0
    """How long the request had waited before it."""
    stopped: float | None = None
    """When the last evicted model had stopped."""
    started: float | None = None
    ended: float | None = None
    ending: str = Ending.OPEN
    reason: str = ""
    """Why it failed or was stopped."""

    @property
    def asked_by(self) -> str:
        """Say who asked."""
        match self.asker:
            case Asker.PROGRAM:
                return "the program itself"
            case Asker.ORDER:
                return f"an order of {self.client}" if self.client else "an order"
            case _:
                number = f" {self.request}" if self.request else ""
                kind = "background request" if self.asker == Asker.BACKGROUND else "request"
                return f"{kind}{number}" + (f" of {self.client}" if self.client else "")

    @property
    def text(self) -> str:
        placement = Placement(
            NodeId(self.node) if self.node else None, tuple(map(DeviceId, self.devices))
        )
        return swap_text(
            model=self.model,
            asked_by=self.asked_by,
            left=[evicted.model for evicted in self.evicted],
            why=self.why,
            where=placement_text(placement),
            ending="; ".join(filter(None, (self._ended(), self._memory()))),
        )

    def _ended(self) -> str:
        if self.ended is None:
            return ""
        span = duration_text(self.ended)
        why = f": {self.reason}" if self.reason else ""
        match self.ending:
            case Ending.READY:
                return f"ready after {span}{self._steps()}"
            case Ending.FAILED:
                return f"failed after {span}{why}"
            case Ending.STOPPED:
                return f"stopped after {span}, before it was ready{why}"
            case _:
                return f"given up after {span}{why}"

    def _steps(self) -> str:
        """Say in brackets where the time went, where others had to leave first or the request had waited."""
        steps: list[str] = []
        if self.waited > 0:
            steps.append(f"the request had waited {duration_text(self.waited)}")
        if self.evicted and self.stopped is not None and self.ended is not None:
            steps.append(f"stopping took {duration_text(self.stopped)}")
            if self.started is not None:
                steps.append(f"loading {duration_text(self.ended - self.started)}")
        return f" ({', '.join(steps)})" if steps else ""

    def _memory(self) -> str:
        return ", ".join(
            f"{device.id} {size_text(device.before)} before, {size_text(device.after)} after"
            for device in self.memory
            if device.after is not None and device.after != device.before
        )

    def shown(self) -> dict[str, Any]:
        """Return the decision as the API shows it."""
        steps = {"stopped_s": self.stopped, "started_s": self.started, "ended_s": self.ended}
        times = {name: round(at, 3) for name, at in steps.items() if at is not None}
        return {
            "id": self.id,
            "time": rfc3339(self.id // 1000 * _MILLISECOND, 3),
            "model": self.model,
            "text": self.text,
            "asked_by": {"kind": self.asker, "client": self.client, "request": self.request},
            "evicted": msgspec.to_builtins(self.evicted),
            "why": self.why,
            "placement": {"node": self.node, "devices": self.devices},
            "memory": msgspec.to_builtins(self.memory),
            "waited_s": round(self.waited, 3),
            **times,
            "ending": self.ending,
            "reason": self.reason,
        }


def devices_of(facts: Facts, held: dict[DeviceId, int]) -> list[DeviceChange]:
    """Return the devices as they are before a decision; *held*: what models hold of each."""
    return [
        DeviceChange(
            id=pool.id,
            total=pool.total,
            reserve=pool.reserve,
            foreign=pool.foreign,
            before=held.get(pool.id, 0),
        )
        for pool in facts.pools
    ]
