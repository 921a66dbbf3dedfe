"""Takes decisions to the log, the event stream, the counters and the store; answers who asks for them."""

from __future__ import annotations

from dataclasses import field
from typing import TYPE_CHECKING, Protocol

from modelswap.deferred import dataclass

from .log import DecisionLog

if TYPE_CHECKING:
    from collections.abc import Callable

    from modelswap.config.plan import Settings
    from modelswap.core.commands import SwapDecided
    from modelswap.core.models.lifecycle import Phase
    from modelswap.core.placement.policy import Facts
    from modelswap.core.spec import ModelId
    from modelswap.observe.activity.store import Store
    from modelswap.observe.events import EventBus
    from modelswap.observe.logs.logs import Logger
    from modelswap.observe.metrics.prometheus import Metrics

    from .decision import Decision


class _Memory(Protocol):
    @property
    def facts(self) -> Facts: ...


class DecidingFleet(Protocol):
    """What is asked of the fleet; `fleet.Fleet` is one."""

    def phase(self, model: ModelId) -> Phase: ...
    def is_pending(self, model: ModelId) -> bool: ...
    def memory_state(self) -> _Memory: ...


@dataclass(slots=True, kw_only=True, eq=False)
class DecisionEvents:
    settings: Callable[[], Settings]
    """Returns the present settings: a reload replaces them."""
    fleet: Callable[[], DecidingFleet]
    """Returns the present fleet: a hand-over replaces it."""
    store: Callable[[], Store]
    """Returns the present store: a reload may replace it."""
    log: Logger
    bus: EventBus
    metrics: Metrics
    now: Callable[[], float]
    """The loop's clock."""
    _decisions: DecisionLog = field(init=False)

    def __post_init__(self) -> None:
        self._decisions = DecisionLog(
            self._tell,
            facts=lambda: self.fleet().memory_state().facts,
            now=self.now,
            is_pending=lambda model: self.fleet().is_pending(model),
            phase=lambda model: self.fleet().phase(model),
        )

    def on_swap(self, decided: SwapDecided) -> None:
        self._decisions.on_swap(decided)

    def on_phase(self, model: ModelId, phase: Phase, why: str, *, failed: bool) -> None:
        self._decisions.on_phase(model, phase, why, failed=failed)

    def _tell(self, decision: Decision) -> None:
        self.bus.publish("decision", decision.shown())
        if decision.ended is None:
            return
        log = self.log.warning if decision.ending == "failed" else self.log.info
        log(f"decision: {decision.text}")
        self.metrics.decided(decision)
        store = self.store()
        if store.is_in_file:
            from .table import writing  # noqa: PLC0415 - where the store is a file

            settings = self.settings()
            store.write_later(
                writing(decision, retention=settings.store_retention, rows=settings.store_rows)
            )

    def in_memory(self, limit: int, model: str) -> list[Decision]:
        """Return the newest decisions of this process, the newest first."""
        return self._decisions.newest(limit, model)
