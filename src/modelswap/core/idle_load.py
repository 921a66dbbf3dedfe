"""Loads one model when no model was used for a while. Imported where the configuration names one.

Guarantees: it loads nothing while a request runs or waits. After an order to unload the model it waits for
the next request. A load that fails is tried again, but not sooner than after the same while.
Does not: spare the models that the policy evicts for it, or unload anything later.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from modelswap.units import Seconds

from .models.state import LONG_AGO
from .scheduling.decisions import NOTHING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from .models.state import ModelState
    from .scheduling.decisions import Decision
    from .scheduling.scheduler import Scheduler
    from .spec import IdleModel, ModelId


SHORTEST: Final = Seconds(1.0)
"""Between two looks at all models: they cost microseconds each."""


class IdleLoad:
    def __init__(
        self,
        wanted: IdleModel,
        states: Mapping[ModelId, ModelState],
        scheduler: Scheduler,
        now: Seconds,
    ) -> None:
        self.wanted = wanted
        self.is_held = False
        """It was unloaded by an order, and no request has come since."""
        self._states = states
        self._scheduler = scheduler
        self._since = now

    def decide(self, now: Seconds) -> Sequence[Decision]:
        """Begin to load the model, if none was used for long enough and it can begin at once."""
        model, scheduler = self.wanted.model, self._scheduler
        state = self._states.get(model)
        if (
            state is None
            or state.is_alive
            or self.is_held
            or state.backoff_left(now) > 0
            or now < self._due(now)
        ):
            return NOTHING
        id_, decisions = scheduler.background_load(model, now)
        if model in scheduler.pending:
            return decisions
        # It could only begin later, maybe between two requests of a client that has come meanwhile.
        return [*decisions, *scheduler.on_cancelled(id_, now)]

    def next_look(self, now: Seconds) -> Seconds:
        """Return when `decide` is to be called next."""
        due = self._due(now)
        return due if due > now else Seconds(now + max(SHORTEST, self.wanted.after))

    def _due(self, now: Seconds) -> Seconds:
        """Return when no model will have been used for long enough."""
        is_used = len(self._scheduler.queue) or any(s.in_flight for s in self._states.values())
        last = max((s.used for s in self._states.values()), default=LONG_AGO)
        return Seconds((now if is_used else max(self._since, last)) + self.wanted.after)
