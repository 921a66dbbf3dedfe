"""What the fleet knows of memory at one moment, for those who explain and show it.

Units: bytes.
"""

from __future__ import annotations

from dataclasses import field
from typing import TYPE_CHECKING, Final

from modelswap.core.placement.policy import NO_FACTS, UNKNOWN_NEED, DeviceId
from modelswap.core.spec import ModelId
from modelswap.deferred import dataclass
from modelswap.units import Bytes

if TYPE_CHECKING:
    from collections.abc import Mapping

    from modelswap.core.placement.policy import DevicePool, Facts, Need
    from modelswap.devices.memory import DeviceMemory
    from modelswap.memory.estimate import Estimate
    from modelswap.memory.learned import LearnedNeed
    from modelswap.units import Seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelMemory:
    """The memory of one model."""

    need: Need = UNKNOWN_NEED
    """What counts for decisions; its source says why."""
    predicted: Estimate | None = None
    """What its files and its command say, part by part; `None`: not asked yet, or nothing is known."""
    learned: LearnedNeed | None = None
    """What was measured of this command in all its runs; `None`: nothing was."""
    measured: Mapping[DeviceId, Bytes] = field(default_factory=dict[DeviceId, Bytes])
    """What it held at the last reading; empty: it does not run."""
    held: Mapping[DeviceId, Bytes] = field(default_factory=dict[DeviceId, Bytes])
    """What it is counted for: the larger of measured and promised; empty: it does not run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryState:
    """Devices and models at the last reading."""

    is_in_use: bool = False
    """The policy in force decides by memory."""
    facts: Facts = NO_FACTS
    """As the decisions know them; none where the policy in force does not decide by memory."""
    pools: tuple[DevicePool, ...] = ()
    """The devices in bytes, at the last reading."""
    devices: tuple[DeviceMemory, ...] = ()
    """The reading itself, with names, keys and holders; empty: none yet."""
    models: Mapping[ModelId, ModelMemory] = field(default_factory=dict[ModelId, ModelMemory])
    """Every configured model of which something is known, and those that still run."""
    read_at: Seconds | None = None
    """When the devices were read, on the loop's clock; `None`: never."""
    problem: str = ""
    """Why the devices could not be read; empty: they could."""


NO_MEMORY_STATE: Final = MemoryState()
