"""Which request may overtake which."""

from __future__ import annotations

from typing import TYPE_CHECKING

from modelswap.core.models.state import LONG_AGO

from .admission import displaces
from .queue import NEVER

if TYPE_CHECKING:
    from collections.abc import Mapping

    from modelswap.core.placement.policy import Policy
    from modelswap.core.spec import ModelId
    from modelswap.units import Seconds

    from .admission import ClusterView
    from .queue import QueuedRequest, WaitQueue


def place(queued: QueuedRequest, ranks: Mapping[ModelId, int]) -> tuple[float, ...]:
    """Return where a request stands: as in the queue, but models of one priority in the order of *ranks*."""
    is_not_overdue, due, priority, round_, serial = queued.order
    rank = 0 if queued.is_overdue else ranks.get(queued.request.model, 0)
    return is_not_overdue, due, priority, rank, round_, serial


def cutoff(
    model: ModelId, queue: WaitQueue, view: ClusterView, policy: Policy, *, background: bool
) -> Seconds:
    """Return the time after whose arrivals other requests may evict a model first that is ready now.

    For background requests that is always, as soon as another request waits to evict it.
    """
    live = view.live()
    dues: dict[ModelId, Seconds] = {}
    for queued in queue.ahead_of(background=background):
        other, due = queued.request.model, LONG_AGO if background else queued.due
        if due < dues.get(other, NEVER):
            dues[other] = due
    return min(
        (
            due
            for other, due in dues.items()
            if other != model
            and displaces(other, model, live, view, policy, is_overdue=not background)
        ),
        default=NEVER,
    )
