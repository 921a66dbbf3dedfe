"""Why models are down: failures without secrets, dated by the wall clock.

Guarantees: every failure that leaves the fleet is redacted, so that clients, events, the log and the
page need not do it again.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, TypeVar

from modelswap.config.redact import redact
from modelswap.core.failure import Failure, ProbeObservation

if TYPE_CHECKING:
    from modelswap.config.plan import Plan
    from modelswap.core.controller import Controller
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

    def of(self, controller: Controller, model: ModelId, now: Seconds) -> ModelFailure | None:
        """Return why a model is down, if its last run ended badly and no other has begun."""
        why = controller.failure(model)
        if why is None:
            self._dates.pop(model, None)
            return None
        since = controller.failed_at(model)
        known = self._dates.get(model)
        if known is None or known[0] != since:
            known = self._dates[model] = since, datetime.now(UTC) - timedelta(seconds=now - since)
        until = controller.retry_at(model, now)
        at = known[1]
        return ModelFailure(
            why, at, None if until is None else at + timedelta(seconds=until - since)
        )


def redacted(plan: Plan, text: Text) -> Text:
    """Take the plan's secrets out of both texts."""
    return replace(text, text=redact(plan, text.text), brief=redact(plan, text.brief))
