"""Why models are down: failures without secrets, dated by the wall clock.

Guarantees: every failure that leaves the fleet is redacted, so no reader of it need do that again.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, TypeVar

from modelswap.config.redact import redact
from modelswap.core.failure import Failure, ProbeObservation
from modelswap.deferred import dataclass

if TYPE_CHECKING:
    from modelswap.config.plan import Plan
    from modelswap.core.models.state import ModelState
    from modelswap.core.spec import ModelId
    from modelswap.units import Seconds

Text = TypeVar("Text", Failure, ProbeObservation)


@dataclass(frozen=True, slots=True)
class ModelFailure:
    """A model that is down because its last run ended badly."""

    why: Failure
    at: datetime
    retry_at: datetime | None
    """Until then it backs off; `None`: a request may start it at once."""


class ModelFailures:
    """Dates failures; each keeps the date that it got at the first question."""

    def __init__(self) -> None:
        self._dates: dict[ModelId, tuple[Seconds, datetime]] = {}

    def of(self, model: ModelId, state: ModelState, now: Seconds) -> ModelFailure | None:
        """Return why a model is down, if its last run ended badly and no other has begun."""
        if state.failure is None:
            self._dates.pop(model, None)
            return None
        since = state.failed_at
        known = self._dates.get(model)
        if known is None or known[0] != since:
            known = self._dates[model] = since, datetime.now(UTC) - timedelta(seconds=now - since)
        at = known[1]
        is_backing_off = state.backoff_left(now) > 0
        wait = timedelta(seconds=state.backoff_until - since) if is_backing_off else None
        return ModelFailure(state.failure, at, None if wait is None else at + wait)


def redacted(plan: Plan, text: Text) -> Text:
    """Take the plan's secrets out of both texts."""
    return replace(text, text=redact(plan, text.text), brief=redact(plan, text.brief))
