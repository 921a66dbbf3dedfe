"""The observer of the fleet: takes its news to the log, the event stream and the counters.

Does not: decide anything, or touch a model server.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from modelswap.core.models.lifecycle import Phase

from .control.models_endpoint import statuses
from .pages.model_pages import forbid_page

if TYPE_CHECKING:
    from collections.abc import Callable

    from modelswap.core.spec import ModelId
    from modelswap.fleet import Fleet, RemoteFleet
    from modelswap.observe.events import EventBus
    from modelswap.observe.logs.logs import Logger, Logs
    from modelswap.observe.metrics.prometheus import Metrics

    from .snapshot import ActiveConfig


class FleetEvents:
    def __init__(
        self,
        config: ActiveConfig,
        fleet: Callable[[], Fleet | RemoteFleet],
        *,
        logs: Logs,
        log: Logger,
        bus: EventBus,
        metrics: Metrics,
        now: Callable[[], float],
    ) -> None:
        """*fleet* returns the present one: a hand-over changes it. *now*: the loop's clock."""
        self._config = config
        self._fleet = fleet
        self._logs = logs
        self._log = log
        self._bus = bus
        self._metrics = metrics
        self._now = now

    def statuses(self) -> list[dict[str, Any]]:
        """Return the payload of a `modelStatus` event."""
        return statuses(self._config.plan, self._fleet())

    def publish_statuses(self) -> None:
        self._bus.publish("modelStatus", self.statuses())

    def on_phase(self, model: ModelId, phase: Phase, why: str) -> None:
        fleet = self._fleet()
        failed = fleet.failure(model) is not None
        self._metrics.phase(model, phase.shown, self._now(), failed=failed)
        if phase is Phase.READY and (server := fleet.server(model)) is not None:
            forbid_page(self._config.snapshot, server.model)
        if phase is Phase.STOPPED:
            self._logs.model_ended(model)
            if model not in self._config.plan.models:  # its last output came after the reload
                self._logs.forget(model)
        line = f"<{model}> {phase.shown}" + (f": {why}" if why else "")
        if failed:
            self._log.warning(line)
        else:
            self._log.info(line)
        self.publish_statuses()

    def on_output(self, model: ModelId, data: bytes) -> None:
        self._logs.model_output(model, data)

    def on_note(self, level: str, text: str) -> None:
        self._logs.proxy_line(level, text)
