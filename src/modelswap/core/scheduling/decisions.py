"""What the scheduler decides: answers to requests, starts, stops and swaps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from modelswap.core.commands import Fail, Grant, SwapDecided
from modelswap.core.placement.policy import ANYWHERE, EvictionMode
from modelswap.deferred import dataclass
from modelswap.units import Seconds

if TYPE_CHECKING:
    from collections.abc import Iterable

    from modelswap.core.placement.policy import Facts, Placement
    from modelswap.core.spec import ModelId

    from .admission import Swap
    from .queue import QueuedRequest


@dataclass(frozen=True, slots=True)
class Start:
    model: ModelId
    why: str
    placement: Placement = ANYWHERE


@dataclass(frozen=True, slots=True)
class Stop:
    model: ModelId
    why: str
    how: EvictionMode = EvictionMode.STOP


Decision = Grant | Fail | Start | Stop | SwapDecided

NOTHING: Final[tuple[()]] = ()


def swap_decided(queued: QueuedRequest, swap: Swap, facts: Facts, now: Seconds) -> SwapDecided:
    """Tell of a swap that a request leads to; *facts*: what is known of the devices."""
    return SwapDecided(
        model=queued.request.model,
        request=queued.request,
        is_own=queued.id < 0,
        evictions=swap.evictions,
        placement=swap.placement,
        why=swap.why,
        at=now,
        waited=Seconds(now - queued.arrived),
        facts=facts,
    )


def first_steps(model: ModelId, swap: Swap, awaiting: Iterable[ModelId]) -> list[Start | Stop]:
    """Begin a swap: stop those that it waits for, or start the model where it waits for none."""
    how = {eviction.model: eviction.how for eviction in swap.evictions}
    why = f"making room for {model}" + (f" ({swap.why})" if swap.why else "")
    stops = [Stop(victim, why, how[victim]) for victim in sorted(awaiting)]
    return [*stops] if stops else [Start(model, "requested", swap.placement)]
