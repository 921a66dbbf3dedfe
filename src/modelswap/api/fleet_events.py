"""The observer of the fleet: takes its news to the log, the event stream and the counters."""

from __future__ import annotations

from dataclasses import field
from typing import TYPE_CHECKING, Any

from modelswap.core.models.lifecycle import Phase
from modelswap.deferred import dataclass

from .llama_router.events import EVERY, RouterEvents
from .llama_router.records import loaded_info, status_data
from .models_endpoint import statuses

if TYPE_CHECKING:
    from collections.abc import Callable

    from modelswap.core.commands import SwapDecided
    from modelswap.core.spec import ModelId
    from modelswap.fleet import Fleet, RemoteFleet
    from modelswap.observe.decisions.events import DecisionEvents
    from modelswap.observe.events import EventBus
    from modelswap.observe.logs.logs import Logger, Logs
    from modelswap.observe.metrics.prometheus import Metrics

    from .snapshot import ActiveConfig


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FleetEvents:
    config: ActiveConfig
    fleet: Callable[[], Fleet | RemoteFleet]
    """Returns the present fleet: a hand-over replaces it."""
    logs: Logs
    log: Logger
    bus: EventBus
    metrics: Metrics
    now: Callable[[], float]
    """The loop's clock."""
    decisions: Callable[[], DecisionEvents]
    """Returns who keeps the decisions: made at the first one."""
    router: RouterEvents = field(default_factory=RouterEvents)
    """The events of `/models/sse`."""

    def statuses(self) -> list[dict[str, Any]]:
        """Return the payload of a `modelStatus` event."""
        return statuses(self.config.snapshot, self.fleet(), self.last_lines)

    def last_lines(self, model: ModelId) -> list[str]:
        """Return the end of the output of a server that failed."""
        from .errors.server_output import last_lines  # noqa: PLC0415 - after a failure

        return last_lines(self.logs, model)

    def publish_statuses(self) -> None:
        """Tell those who listen; the list, which holds every model, is made only for them."""
        self.bus.publish("modelStatus", self.statuses)

    def on_phase(self, model: ModelId, phase: Phase, why: str) -> None:
        fleet = self.fleet()
        failed = fleet.failure(model) is not None
        self.metrics.phase(model, phase.shown, self.now(), failed=failed)
        if phase is Phase.READY and (server := fleet.server(model)) is not None:
            self.config.snapshot.deny_page(server.model)
        if phase is Phase.STOPPED:
            self.logs.model_ended(model)
            if model not in self.config.plan.models:  # its last output came after the reload
                self.logs.forget(model)
        log = self.log.warning if failed else self.log.info
        log(f"<{model}> {phase.shown}" + (f": {why}" if why else ""))
        if failed and phase is Phase.STOPPED and not self.logs.shows_output:
            for line in self.last_lines(model):
                log(f"<{model}> | {line}")
        self.publish_statuses()
        self._tell_router(model, phase)
        self.decisions().on_phase(model, phase, why, failed=failed)

    def on_swap(self, decided: SwapDecided) -> None:
        self.decisions().on_swap(decided)

    def _tell_router(self, model: ModelId, phase: Phase) -> None:
        if not self.router.is_new(model, phase):
            return
        failed = self.fleet().failure(model)
        data = status_data(phase, failed)
        if data is None:
            return
        details = {} if failed is None else {"reason": failed.why.text}
        if phase is Phase.READY:
            data["info"] = loaded_info(self.config.snapshot, model)
        self.router.publish(model, "model_status", data, details)

    def publish_reload(self) -> None:
        """Tell that the list of models is another one."""
        self.router.publish(EVERY, "models_reload")

    def on_output(self, model: ModelId, data: bytes) -> None:
        self.logs.model_output(model, data)

    def on_note(self, level: str, text: str) -> None:
        self.logs.proxy_line(level, text)
