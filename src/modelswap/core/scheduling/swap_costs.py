"""What a swap costs, and what follows from it.

How long a request may be overtaken, which model is loaded first, whether an idle model is kept for its next
request.

Guarantees: every answer is a function of what is waiting, what was learned and the time.

Units: seconds of the owner's clock.
"""

from __future__ import annotations

from dataclasses import replace
from math import inf
from typing import TYPE_CHECKING, Final

from modelswap.core.models.experience import reload_time
from modelswap.core.models.lifecycle import Phase
from modelswap.core.models.state import LONG_AGO, NEVER
from modelswap.core.placement.policy import NO_FACTS
from modelswap.deferred import dataclass
from modelswap.units import Seconds

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from collections.abc import Set as AbstractSet

    from modelswap.core.models.state import ModelState
    from modelswap.core.placement.policy import Facts
    from modelswap.core.spec import ModelId

    from .pending_swaps import PendingSwap
    from .queue import WaitQueue

LEAST_BOUND: Final = Seconds(5.0)
"""Shorter than this a person hardly notices; without it models of a second would swap all the time."""
MOST_BOUND: Final = Seconds(30.0)
"""Many clients give up after 30 to 60 s without an answer."""
SWAPS: Final = 4
"""So many swaps take as long as a bound."""
SAME_COST: Final = Seconds(1.0)
"""Costs are compared in steps of this: what differs by less is in the order of arrival."""


@dataclass(frozen=True, slots=True)
class _Swap:
    """What the requests for one model need."""

    model: ModelId
    waiting: int
    cost: Seconds
    due: Seconds


class SwapCosts:
    def __init__(
        self, states: Mapping[ModelId, ModelState], queue: WaitQueue, max_wait: Seconds | None
    ) -> None:
        self.max_wait = max_wait
        """After this wait no request is overtaken; `None`: by the cost of its swap."""
        self.facts: Facts = NO_FACTS
        """As the owner gave them, with the reload times that were learned here."""
        self._states = states
        self._queue = queue

    def on_facts(self, facts: Facts) -> None:
        self.facts = facts
        times = ((model, state.times.reload) for model, state in self._states.items())
        self._merge({model: took for model, took in times if took is not None})

    def learn(self, model: ModelId) -> None:
        """Take over how long the last start and stop of a model took."""
        took = self._states[model].times.reload
        if took is not None and took != self.facts.reload.get(model):
            self._merge({model: took})

    def _merge(self, learned: Mapping[ModelId, Seconds]) -> None:
        if learned:
            self.facts = replace(self.facts, reload={**self.facts.reload, **learned})

    def reload(self, model: ModelId) -> Seconds:
        return reload_time(model, self.facts)

    def bound(self, model: ModelId, others: Iterable[ModelId]) -> Seconds:
        """Return how long requests for *others*, which are in its way, may overtake one for *model*.

        As long as `SWAPS` swaps between them: while two models want one place in turn, a request waits for
        one swap, then the other model works for three swaps' time. So no more than half of the time is
        swapped even where three models do, within `LEAST_BOUND` and `MOST_BOUND`.
        """
        if self.max_wait is not None:
            return self.max_wait
        other = max((self.reload(one) for one in others if one != model), default=Seconds(0.0))
        return Seconds(min(MOST_BOUND, max(LEAST_BOUND, SWAPS * (self.reload(model) + other) / 2)))

    def note_pause(
        self,
        model: ModelId,
        pending: Mapping[ModelId, PendingSwap],
        draining: AbstractSet[ModelId],
        now: Seconds,
    ) -> None:
        """Learn how long a model was idle before this request, if it is the first since.

        It came too late where another model was loaded meanwhile: its client may have waited for that one.
        """
        state = self._states.get(model)
        if state is None or state.in_flight or self._queue.count(model) or state.used == LONG_AGO:
            return
        is_there = state.phase is Phase.READY and model not in draining
        is_wanted_back = any(model in swap.evicted for swap in pending.values())
        state.pauses.add(now - state.used if is_there or is_wanted_back else inf)

    def kept_until(self, model: ModelId, target: ModelId) -> Seconds:
        """Return until when an idle model waits for its next request before it leaves for *target*.

        If that comes in time, one request does not wait for a swap to the target and back.
        """
        state = self._states[model]
        if state.phase is not Phase.READY:
            return LONG_AGO
        saved = Seconds(self.reload(model) + self.reload(target))
        waiting = max(1, len(self._queue) - self._queue.background)
        hold = state.pauses.worth_waiting(saved, waiting)
        return Seconds(state.used + hold) if hold else LONG_AGO

    def ranks(self, is_loaded: Mapping[ModelId, object], now: Seconds) -> Mapping[ModelId, int]:
        """Return in which order the models of waiting requests are served: the lowest number first.

        The loaded ones first. Of the others, the one whose waiting requests are the most for each
        second that its swap takes: that order makes the sum of all waits the least (Smith's rule, W. E. Smith,
        1956). But one goes first only if all that are due before it can still be served in time.
        """
        swaps = [
            _Swap(
                first.request.model,
                self._queue.count(first.request.model),
                max(SAME_COST, Seconds(round(self.reload(first.request.model)))),
                first.due,
            )
            for first in self._queue.first_of_each()
            if first.due != NEVER and not first.is_overdue
            if not self._is_served(first.request.model, is_loaded)
        ]
        if len(swaps) < 2:  # noqa: PLR2004 - one has no order
            return {swap.model: 1 for swap in swaps}
        swaps.sort(key=lambda swap: swap.due)
        slack = NEVER
        begins = now
        best = swaps[0]
        for swap in swaps:
            if swap.cost <= slack and swap.waiting / swap.cost > best.waiting / best.cost:
                best = swap
            slack = min(slack, Seconds(swap.due - begins))
            begins = Seconds(begins + swap.cost)
        shares = sorted({swap.waiting / swap.cost for swap in swaps}, reverse=True)
        ranks = {swap.model: 2 + shares.index(swap.waiting / swap.cost) for swap in swaps}
        if any(swap.waiting / swap.cost > best.waiting / best.cost for swap in swaps):
            ranks[best.model] = 1
        return ranks

    def _is_served(self, model: ModelId, pending: Mapping[ModelId, object]) -> bool:
        return model in pending or self._states[model].phase is Phase.READY
