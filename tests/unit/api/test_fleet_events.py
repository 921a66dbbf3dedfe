"""What becomes of the fleet's news."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from modelswap.api.fleet_events import FleetEvents
from modelswap.core.models.lifecycle import Phase
from modelswap.core.spec import ModelId
from modelswap.observe.decisions.events import DecisionEvents
from modelswap.observe.logs.logs import PROXY, Logger, Logs, model_source
from modelswap.observe.metrics.prometheus import Metrics

if TYPE_CHECKING:
    from collections.abc import Iterator

A = ModelId("a")


class Watched:
    """Fleet events with everything that they write to."""

    def __init__(self) -> None:
        self.logs = Logs(to_stdout="none")
        self.metrics = Metrics()
        self.published: list[str] = []
        self.failed = False
        self.plan = SimpleNamespace(models={A: None}, peers={}, selectors={})
        self.denied: list[object] = []
        config: Any = SimpleNamespace(
            plan=self.plan, snapshot=SimpleNamespace(deny_page=self.denied.append)
        )
        bus: Any = SimpleNamespace(publish=lambda kind, _: self.published.append(kind))
        self.model = object()
        fleet: Any = SimpleNamespace(
            failure=lambda _: "it crashed" if self.failed else None,
            server=lambda _: SimpleNamespace(model=self.model),
        )
        self.events = FleetEvents(
            decisions=lambda: DecisionEvents(
                settings=lambda: config.plan.settings,
                fleet=lambda: fleet,
                store=lambda: None,  # type: ignore[arg-type, return-value]  # nothing is decided here
                log=Logger(self.logs),
                bus=bus,
                metrics=self.metrics,
                now=lambda: 7.0,
            ),
            config=config,
            fleet=lambda: fleet,
            logs=self.logs,
            log=Logger(self.logs),
            bus=bus,
            metrics=self.metrics,
            now=lambda: 7.0,
        )


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> Iterator[Watched]:
    """The list of statuses has tests of its own."""
    monkeypatch.setattr("modelswap.api.fleet_events.statuses", lambda *_: [])
    watched = Watched()
    yield watched
    watched.logs.close()


@pytest.mark.parametrize("is_configured", [False, True])
def test_history_of_a_removed_model_leaves_with_it(
    watched: Watched, *, is_configured: bool
) -> None:
    """What a removed model still writes while it ends is not kept for ever."""
    if not is_configured:
        watched.plan.models = {}
        watched.logs.forget(A)  # as the reload does
    watched.events.on_output(A, b"bye\n")
    watched.events.on_phase(A, Phase.STOPPED, "")
    assert bool(watched.logs.history(model_source(A))) is is_configured


@pytest.mark.parametrize("failed", [False, True])
def test_a_phase_is_logged_counted_and_published(watched: Watched, *, failed: bool) -> None:
    """One line, a warning where the model failed; watchers get the statuses."""
    watched.failed = failed
    watched.events.on_phase(A, Phase.STOPPED, "exit 1")
    line = watched.logs.history(PROXY).decode()
    assert line.rstrip().endswith("<a> stopped: exit 1")
    assert ("[WARN]" in line) is failed
    assert watched.published == ["modelStatus"]


def test_the_page_of_a_ready_server_is_denied(watched: Watched) -> None:
    """The snapshot hears of each server that is ready, and of no other."""
    watched.events.on_phase(A, Phase.STARTING, "")
    assert watched.denied == []
    watched.events.on_phase(A, Phase.READY, "")
    assert watched.denied == [watched.model]


def test_notes_and_output_reach_the_log(watched: Watched) -> None:
    """A note keeps its level; output goes to the model's own history."""
    watched.events.on_note("warn", "<a> is stuck")
    watched.events.on_output(A, b"hello\n")
    assert "[WARN] <a> is stuck" in watched.logs.history(PROXY).decode()
    assert b"hello" in watched.logs.history(model_source(A))
