"""What is told of attempts to load the configuration."""

from __future__ import annotations

from typing import Any

from modelswap.api.reload_status import ReloadStatus
from modelswap.observe.logs.logs import PROXY, Logger, Logs


class RecordingBus:
    """Keeps what was published."""

    def __init__(self) -> None:
        self.published: list[tuple[str, Any]] = []

    def publish(self, kind: str, payload: Any) -> None:
        self.published.append((kind, payload))


def test_each_attempt_is_told() -> None:
    """A rejected one keeps files and time of the configuration in use; the next good one clears it."""
    logs, bus = Logs(to_stdout="none"), RecordingBus()
    status = ReloadStatus(bus, Logger(logs), files=("a.yaml",), warnings=["odd"])  # type: ignore[arg-type]  # publishes
    first = status.shown()
    assert (first["ok"], first["files"], first["warnings"]) == (True, ["a.yaml"], ["odd"])
    assert first["loaded_at"] == first["tried_at"]

    status.reject(["a.yaml:3: no such key"])
    second = status.shown()
    assert (second["ok"], second["problems"]) == (False, ["a.yaml:3: no such key"])
    assert (second["files"], second["warnings"]) == (["a.yaml"], ["odd"])
    assert second["loaded_at"] == first["loaded_at"]
    assert second["tried_at"] > first["tried_at"]
    assert "a.yaml:3: no such key" in logs.history(PROXY).decode()

    status.adopt(("b.yaml",), [])
    third = status.shown()
    assert (third["ok"], third["problems"], third["files"]) == (True, [], ["b.yaml"])
    assert bus.published == [("configStatus", second), ("configStatus", third)]
    logs.close()
