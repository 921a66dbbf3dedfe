"""The records of llama.cpp's router."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from modelswap.api.llama_router.records import fields_of, preset_of, router_record, status_data
from modelswap.api.models_endpoint import records
from modelswap.api.snapshot import ConfigSnapshot
from modelswap.catalog.found import FoundModel, ModelFormat, ModelSource
from modelswap.config.plan import Discovered, FoundEntry
from modelswap.core.failure import Cause, failure
from modelswap.core.models.lifecycle import Phase
from modelswap.core.spec import ModelId
from modelswap.units import Bytes
from support.config import load_text

PLAN = load_text("""
includeAliasesInList: true
models:
  a: {cmd: "llama-server --port 9000 --api-key sk-very-secret --model /m/a.gguf", aliases: [nick]}
peers:
  far: {proxy: "http://far.example", models: [m]}
""").plan
assert PLAN is not None
STOPPED: Any = SimpleNamespace(
    phase=lambda _: Phase.STOPPED,
    listed_phase=lambda _: Phase.STOPPED,
    failure=lambda _: None,
    pull_of=lambda _: None,
)

FAILED = {"failed": True, "reason": "brief", "class": "crashed"}


def listed(*, shows_details: bool) -> dict[str, Any]:
    assert PLAN is not None
    snapshot = ConfigSnapshot(PLAN, listening=["127.0.0.1"])
    plain = records(snapshot, STOPPED, None, shows_details=shows_details)
    found = [router_record(one, snapshot, shows_details=shows_details) for one in plain]
    return {record["id"]: record for record in found}


async def test_kinds_of_records() -> None:
    """A model has its aliases, an alias none; a peer's model is not ours to load."""
    found = listed(shows_details=True)
    assert found["a"]["aliases"] == ["nick"]
    assert found["nick"]["aliases"] == []
    assert found["nick"]["status"]["args"] == found["a"]["status"]["args"]
    assert found["far/m"]["status"] == {"value": "unloaded"}
    assert "source" not in found["far/m"]


async def test_secrets_are_masked() -> None:
    """Neither the words nor the preset hold the key; without details there are no words."""
    status = listed(shows_details=True)["a"]["status"]
    assert "/m/a.gguf" in status["args"]
    assert "model = /m/a.gguf" in status["preset"]
    assert "very-secret" not in str(status)
    assert listed(shows_details=False)["a"]["status"] == {"value": "unloaded"}


@pytest.mark.parametrize(
    ("source", "aliases", "expected"),
    [
        (ModelSource.HUGGING_FACE, ("q", "org/q-GGUF:Q8_0", "org/q-GGUF"), "org/q-GGUF:Q8_0"),
        (ModelSource.HUGGING_FACE, ("q", "org/q-GGUF"), "a"),
        (ModelSource.FOLDER, ("org/q-GGUF:Q8_0",), "a"),
    ],
)
async def test_names_of_the_hub(
    source: ModelSource, aliases: tuple[str, ...], expected: str
) -> None:
    """A model of a cache is known by its repository and quantization, where no other has that name."""
    assert PLAN is not None
    found = FoundModel(
        "a", aliases, Path("/m/a.gguf"), (), Bytes(5), ModelFormat.GGUF, source, parameters=7
    )
    model = replace(PLAN.models[ModelId("a")], aliases=aliases)
    plan = replace(
        PLAN,
        models={model.id: model},
        discovered=Discovered(models=(FoundEntry(found, "a"),)),
    )
    shown = fields_of(ConfigSnapshot(plan, listening=[]), model)
    assert shown.shown["model"] == expected
    assert shown.shown["meta"] == {"n_params": 7, "size": 5}
    assert shown.details == {"path": "/m/a.gguf"}


@pytest.mark.parametrize(
    ("words", "lines"),
    [
        ("serve", []),
        ("serve --jinja", ["jinja = true"]),
        ("serve -c 4096 --temp=0.5", ["c = 4096", "temp = 0.5"]),
        ("serve --seed -1 --jinja --host ::1 --port 9 -a x", ["seed = -1", "jinja = true"]),
        ("serve loose -", []),
    ],
)
def test_options_as_a_preset(words: str, lines: list[str]) -> None:
    """Values, switches, negative numbers; what the router sets itself is left out."""
    assert preset_of(ModelId("m"), words.split()) == "\n".join(["[m]", *lines]) + "\n"


@pytest.mark.parametrize(
    ("phase", "code", "data"),
    [
        (Phase.STARTING, None, {"status": "loading"}),
        (Phase.READY, None, {"status": "loaded"}),
        (Phase.STOPPING, None, None),
        (Phase.STOPPED, None, {"status": "unloaded", "exit_code": 1, **FAILED}),
        (Phase.STOPPED, 3, {"status": "unloaded", "exit_code": 3, **FAILED}),
    ],
)
def test_phases_as_events(phase: Phase, code: int | None, data: dict[str, Any] | None) -> None:
    """A failed model has an exit code that is not 0, also where a signal ended it."""
    failed: Any = SimpleNamespace(why=failure(Cause.CRASHED, "text", brief="brief", exit_code=code))
    assert status_data(phase, failed) == data


def test_an_unload_has_no_failure() -> None:
    """A model that was asked to leave has the code 0."""
    assert status_data(Phase.STOPPED, None) == {"status": "unloaded", "exit_code": 0}
