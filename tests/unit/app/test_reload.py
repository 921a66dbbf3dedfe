"""The reloader alone, with a fleet and a server that only record."""

from __future__ import annotations

import asyncio
import threading
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest

from modelswap.app import reload
from modelswap.app.model_watch import ModelWatch
from modelswap.app.options import Options
from modelswap.app.reload import Reloader
from modelswap.app.systemd import ServiceManager
from modelswap.config.diff import Diff, diff
from modelswap.errors import UnavailableError
from modelswap.fleet import Fleet
from modelswap.fleet.memory.state import MemoryState
from support.gguf_builder import chat_model
from support.services import close, make_services

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from modelswap.config.plan import Plan

ONE_MODEL = "models: {a: {cmd: sleep 9}}"
TWO_MODELS = "models: {a: {cmd: sleep 9}, b: {cmd: sleep 9}}\nhooks: {on_startup: {preload: [b]}}"


class RecordingFleet(Fleet):
    """Runs no model; records what a reload changes."""

    def __init__(self) -> None:
        self.replaced: list[tuple[set[str], set[str]]] = []
        self.preloaded: list[str] = []

    def running(self) -> list[Any]:
        return []

    def failure(self, *_: object) -> None:
        return None

    async def read_memory(self, *_: object) -> MemoryState:
        return MemoryState()

    def replace(self, *_: object, changed: Any, removed: Any) -> None:
        self.replaced.append((set(changed), set(removed)))

    def preload(self, models: Any) -> None:
        self.preloaded += models


class Setup:
    """A reloader whose configuration is a file."""

    def __init__(self, config: Path) -> None:
        self.config = config
        self.fleet = RecordingFleet()
        self.reloads = 0
        self.crashed = asyncio.Event()
        self.services = make_services(fleet=self.fleet)
        self.reloader = Reloader(
            Options(config=config, config_dir=None),
            None,
            ModelWatch(),
            ServiceManager({}),
            crashed=lambda _: self.crashed.set(),
            reloaded=self.count,
        )
        server = cast("Any", SimpleNamespace(set_limits=lambda _: None))
        self.reloader.bind(self.services, server, None)

    def count(self) -> None:
        self.reloads += 1

    async def reload(self, text: str) -> None:
        self.config.write_text(text)
        await self.reloader.reload()


@pytest.fixture
async def setup(tmp_path: Path) -> AsyncIterator[Setup]:
    made = Setup(tmp_path / "config.yaml")
    yield made
    close(made.services)


async def test_a_valid_configuration_is_applied(setup: Setup) -> None:
    """The plan is in use, the fleet hears of each change, and added models are preloaded."""
    await setup.reload(ONE_MODEL)
    await setup.reload(TWO_MODELS)
    await setup.reload("models: {b: {cmd: sleep 8}}")
    assert list(setup.services.config.plan.models) == ["b"]
    assert setup.fleet.replaced == [(set(), set()), (set(), set()), ({"b"}, {"a"})]
    assert setup.fleet.preloaded == ["b"]
    assert setup.reloads == 3


async def test_an_invalid_configuration_changes_nothing(setup: Setup) -> None:
    """The problems are in the status, and the plan before stays."""
    await setup.reload(ONE_MODEL)
    await setup.reload("models: [")
    assert not setup.services.reload_status.ok
    assert list(setup.services.config.plan.models) == ["a"]
    assert len(setup.fleet.replaced) == 1
    assert setup.reloads == 2


async def test_found_models_of_a_rejected_one_are_not_lost(
    setup: Setup, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The watch is told, so that it asks again."""
    told: list[None] = []
    monkeypatch.setattr(ModelWatch, "on_rejected", lambda _: told.append(None))
    await setup.reload(ONE_MODEL)
    assert told == []
    await setup.reload("models: [")
    assert len(told) == 1


async def test_plans_are_compared_beside_the_loop(
    setup: Setup, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a thousand models that takes long: requests go on meanwhile."""
    threads: list[int] = []

    def noting(old: Plan, new: Plan) -> Diff:
        threads.append(threading.get_ident())
        return diff(old, new)

    monkeypatch.setattr(reload, "diff", noting)
    await setup.reload(ONE_MODEL)
    assert len(threads) == 1
    assert threads[0] != threading.get_ident()


async def test_a_crash_does_not_end_the_loop(setup: Setup) -> None:
    """`run` reports an internal error, and reloads again when it is wanted."""
    setup.config.write_text(ONE_MODEL)
    setup.services.config = cast("Any", None)
    setup.reloader.wanted.set()
    async with asyncio.timeout(30), asyncio.TaskGroup() as tasks:
        running = tasks.create_task(setup.reloader.run())
        await setup.crashed.wait()
        assert not running.done()
        running.cancel()


async def test_after_a_hand_over_the_other_process_reloads(setup: Setup) -> None:
    """A process that has handed over refuses, and its loop ends."""
    setup.services.fleet = cast("Any", object())
    with pytest.raises(UnavailableError, match="another process"):
        await setup.reload(ONE_MODEL)
    setup.reloader.wanted.set()
    async with asyncio.timeout(30):
        await setup.reloader.run()


async def test_what_was_pulled_is_taken_over(
    setup: Setup, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the files in use the plan is made anew, whatever lies on the disk now; only pulled models differ."""
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    await setup.reloader.complete()  # nothing is pulled by this configuration
    await setup.reload("models: {a: {source: 'hf:o/Foo:Q4_K_M'}, b: {cmd: srv --port 2}}")
    await setup.reloader.complete()
    assert setup.fleet.replaced[-1] == (set(), set())
    snapshot = tmp_path / "hub" / "models--o--Foo" / "snapshots" / ("a" * 40)
    snapshot.mkdir(parents=True)
    chat_model().write(snapshot / "Foo-Q4_K_M.gguf")
    setup.config.write_text("models: [")
    reloads = setup.reloads
    await setup.reloader.complete()
    assert setup.fleet.replaced[-1] == ({"a"}, set())
    plan = setup.services.config.plan
    assert [model.is_missing for model in plan.models.values()] == [False, False]
    assert setup.reloads == reloads


async def test_what_was_pulled_and_does_not_fit(
    setup: Setup, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A plan that cannot be made leaves the one in use, with a line in the log."""
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    key = tmp_path / "key"
    key.write_text("sk-right-right-right")
    await setup.reload(
        f"apiKeys: [{{keyFile: {key}}}]\nmodels: {{a: {{source: 'hf:o/Foo:Q4_K_M'}}}}"
    )
    key.unlink()
    before = setup.services.config.plan
    await setup.reloader.complete()
    assert setup.services.config.plan is before
    assert "cannot be used" in setup.services.logs.history("proxy").decode()
