"""What it costs when a model leaves, in seconds that requests will wait for it.

    cost = reload · (P(wanted within HORIZON) + waiting requests)
    P = 1 - exp(-HORIZON · (rate + 1 / (idle + RECENT)) / 2)

Each request that waits now, or comes soon, waits for one reload. How often a model is wanted is the mean
of two estimates: its average rate, and what its last use alone says. The gaps between uses of a model
are spread over many scales, and for such gaps the rate of the next use is about one over the time since
the last one (Pareto's distribution of index 1, which also stands behind eviction by recency).

For an overdue request the terms that can grow while it waits are left out: the rate, and the requests
that are held back for its sake. So the model that is to leave stays the same until it has drained.
"""

from __future__ import annotations

from math import exp
from typing import TYPE_CHECKING, Final

from modelswap.units import Seconds

if TYPE_CHECKING:
    from modelswap.core.placement.policy import Usage

HORIZON: Final = Seconds(60.0)
"""How far ahead a use counts: until then the request for which there is room now was answered, and a
later decision can bring the model back without a request that waits."""
RECENT: Final = Seconds(10.0)
"""Idle times below this are alike: people read an answer as long."""
BUSY: Final = 1e6
"""Seconds, more than all reloads together: added for a model with running requests, or one that loads,
so that it leaves only where nothing else helps."""
FREE: Final = 1e-6
"""Seconds; a model that leaves anyway costs nothing, but the target does not wait for it needlessly."""


def eviction_cost(reload: Seconds, usage: Usage, *, is_overdue: bool) -> float:
    """Return the cost, as the module says; more than 0, even of a reload that takes no time."""
    recency = 1 / (usage.idle + RECENT)
    rate = recency if is_overdue else (usage.rate + recency) / 2
    waiting = 0 if is_overdue else usage.waiting
    return max(FREE, reload * (1 - exp(-HORIZON * rate) + waiting))
