"""What became of the last attempt to load the configuration, for the log and for watchers."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from modelswap.observe.events import EventBus
    from modelswap.observe.logs.logs import Logger


class ReloadStatus:
    def __init__(
        self, bus: EventBus, log: Logger, *, files: Sequence[str], warnings: Iterable[object]
    ) -> None:
        self._bus = bus
        self._log = log
        self._set(files, warnings)

    def _set(self, files: Sequence[str], warnings: Iterable[object]) -> None:
        self._loaded_at = self._tried_at = datetime.now(UTC)
        self._files = list(files)
        self.problems: list[str] = []
        self.warnings = [str(warning) for warning in warnings]

    @property
    def ok(self) -> bool:
        return not self.problems

    def shown(self) -> dict[str, Any]:
        """Return the payload of a `configStatus` event."""
        return {
            "ok": self.ok,
            "loaded_at": self._loaded_at.isoformat(),
            "tried_at": self._tried_at.isoformat(),
            "files": self._files,
            "problems": self.problems,
            "warnings": self.warnings,
        }

    def adopt(self, files: Sequence[str], warnings: Iterable[object]) -> None:
        self._set(files, warnings)
        self._bus.publish("configStatus", self.shown())

    def reject(self, problems: Sequence[str]) -> None:
        """Say why the new configuration is not used; the one before stays."""
        self._tried_at = datetime.now(UTC)
        self.problems = list(problems)
        self._log.warning("the configuration was not reloaded; the running one stays")
        for problem in problems:
            self._log.warning(problem)
        self._bus.publish("configStatus", self.shown())
