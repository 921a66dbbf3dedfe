"""The records of `/v1/models`, for names that are not the id of a model."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from modelswap.api import models_endpoint
from modelswap.api.models_endpoint import record_of, records, statuses
from modelswap.api.snapshot import ConfigSnapshot
from modelswap.core.models.lifecycle import Phase
from support.config import load_text

if TYPE_CHECKING:
    from modelswap.core.spec import ModelId

PLAN = load_text("""
models:
  big: {proxy: "http://127.0.0.1:9", aliases: [large], unlisted: true}
  small: {proxy: "http://127.0.0.1:8"}
selectors:
  any: {strategy: pin, targets: [large]}
peers:
  far: {proxy: "http://far.example", models: [m, m]}
profiles:
  work: {pins: {chat: large, m: big, off: ""}}
""").plan
assert PLAN is not None


def phase(model: str) -> Phase:
    return Phase.READY if model == "big" else Phase.STOPPED


def snapshot() -> ConfigSnapshot:
    assert PLAN is not None
    return ConfigSnapshot(PLAN, listening=["127.0.0.1"])


FLEET: Any = SimpleNamespace(
    phase=phase, listed_phase=phase, failure=lambda _: None, pull_of=lambda _: None
)


async def test_what_is_listed() -> None:
    """Selectors and pins have the status of their model; a known name is no pin's."""
    listed = records(snapshot(), FLEET, "work", shows_details=True)
    found = {record["id"]: record["status"]["value"] for record in listed}
    assert found == {"any": "loaded", "chat": "loaded", "far/m": "unloaded", "small": "unloaded"}
    assert "chat" not in {r["id"] for r in records(snapshot(), FLEET, None, shows_details=True)}


async def test_a_name_that_is_not_listed() -> None:
    """An unlisted model and its alias have a record, too."""
    alias = record_of(snapshot(), FLEET, None, "large", shows_details=True)
    assert alias is not None
    assert alias["meta"]["llamaswap"] == {"type": "alias", "modelID": "big"}
    model = record_of(snapshot(), FLEET, None, "big", shows_details=True)
    assert model is not None
    assert model["meta"]["llamaswap"] == {"type": "model", "aliases": ["large"]}
    assert record_of(snapshot(), FLEET, None, "other", shows_details=True) is None


def no_lines(_: ModelId) -> list[str]:
    return []


async def test_the_payload_of_an_event() -> None:
    """Every model, then each model of a peer once."""
    found = statuses(snapshot(), FLEET, no_lines)
    assert [item["id"] for item in found] == ["big", "small", "far/m"]
    assert [item["state"] for item in found] == ["ready", "stopped", ""]
    assert found[-1]["peerID"] == "far"


async def test_what_only_the_configuration_says_is_made_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A second list makes no record anew, and shows what has changed since."""
    shown = snapshot()
    first = records(shown, FLEET, None, shows_details=True), statuses(shown, FLEET, no_lines)
    monkeypatch.setattr(models_endpoint, "_of_model", lambda *_: pytest.fail("made anew"))
    monkeypatch.setattr(models_endpoint, "abilities", lambda *_: pytest.fail("made anew"))
    gone: Any = SimpleNamespace(
        phase=lambda _: Phase.STOPPED,
        listed_phase=lambda _: Phase.STARTING,
        failure=lambda _: None,
        pull_of=lambda _: None,
    )
    again = records(shown, gone, None, shows_details=True), statuses(shown, gone, no_lines)
    assert [r["id"] for r in again[0]] == [r["id"] for r in first[0]]
    assert {r["id"]: r["status"]["value"] for r in again[0]}["small"] == "loading"
    assert [item["state"] for item in first[1]] == ["ready", "stopped", ""]
    assert [item["state"] for item in again[1]] == ["stopped", "stopped", ""]
