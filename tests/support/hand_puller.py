"""A puller that does what the test says: nothing is downloaded."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelswap.catalog.pulled import PulledModel
from modelswap.core.spec import ModelId
from modelswap.pull.progress import PullPhase, PullProgress

if TYPE_CHECKING:
    from collections.abc import Callable

    from modelswap.config.plan import Plan


@dataclass
class HandPuller:
    """Remembers its orders; the test tells each step of a pull."""

    orders: list[str] = field(default_factory=list[str])
    here: set[str] = field(default_factory=set[str])
    """Sources whose files lie on the disk."""
    running: dict[str, PullProgress] = field(default_factory=dict[str, PullProgress])
    listeners: list[Callable[[PullProgress], None]] = field(default_factory=list[Any])

    def located(self, source: str) -> PulledModel | None:
        file = Path(f"/models/{source}")
        return PulledModel(path=file, files=(file,)) if source in self.here else None

    def start(self, source: str) -> PullProgress:
        self.orders.append(f"start {source}")
        return self.tell(source, PullPhase.RESOLVING)

    def tell(self, source: str, phase: PullPhase, **more: Any) -> PullProgress:
        """Make one step of a pull."""
        found = self.running[source] = PullProgress(source=source, phase=phase, **more)
        for listener in self.listeners:
            listener(found)
        return found

    def progress(self, source: str) -> PullProgress | None:
        return self.running.get(source)

    def pulls(self) -> list[PullProgress]:
        return list(self.running.values())

    def cancel(self, source: str) -> bool:
        found = self.running.get(source)
        if found is None or found.is_over:
            return False
        self.orders.append(f"cancel {source}")
        self.tell(source, PullPhase.CANCELLED)
        return True

    def subscribe(self, listener: Callable[[PullProgress], None]) -> None:
        self.listeners.append(listener)


def with_source(plan: Plan, *names: str, is_missing: bool = True, source: str = "hf:o/r") -> Plan:
    """The plan with models that are pulled, or have been."""
    changed = {
        ModelId(name): replace(
            plan.models[ModelId(name)],
            source=source,
            pull_name=source,
            is_missing=is_missing,
            identity=f"{name} {source} {is_missing}",
        )
        for name in names
    }
    return replace(plan, models={**plan.models, **changed})
