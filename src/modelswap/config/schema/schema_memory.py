"""The keys of memory: what the devices have, and how models are placed by it."""

from __future__ import annotations

from typing import Final

from modelswap.deferred import dataclass
from modelswap.units import Seconds

from .field_types import Duration, Size, Text, key

STRATEGIES: Final = ("spread", "pack")
"""Among several GPUs with room, the one with the most, or the one with the least that is enough."""


@dataclass(frozen=True, repr=False, eq=False)
class RawDevice:
    capacity: int | None = key(
        "capacity",
        Size(),
        None,
        "What counts as its size, instead of what it says. A GPU that is not there can be tried out so.",
    )
    reserve: int | None = key(
        "reserve",
        Size(),
        None,
        "Kept free of models.",
        shown="`ram`: 5 %, at least 1GiB; a GPU: 300MiB",
    )


@dataclass(frozen=True, repr=False, eq=False)
class MemoryRoutingKeys:
    """The plan takes them as they are: `plan.MemoryRouting` inherits them."""

    wait: Seconds = key(
        "wait",
        Duration(),
        Seconds(60.0),
        "How long a request waits for memory that other programs hold; then it is refused, with who holds it.",
    )
    min_residency: Seconds = key(
        "minResidency",
        Duration(),
        Seconds(3.0),
        "A model that became ready less than this ago is not unloaded for another one, unless that has "
        "waited for `maxWait`.",
    )
    strategy: str = key(
        "strategy",
        Text(STRATEGIES),
        "spread",
        "Among GPUs with room: `spread` takes the one with the most, `pack` the one with the least.",
    )
