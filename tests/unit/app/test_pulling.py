"""The puller that is made when it is needed, and what follows a pull."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from modelswap.app.pulling import PullerOnDemand, PullFollower
from modelswap.config.plan import Discovered
from modelswap.fleet import Fleet
from modelswap.pull.progress import PullPhase
from support.hand_puller import HandPuller
from support.services import close, make_services

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable
    from pathlib import Path

    from modelswap.api.services import Services

SOURCE = "hf:o/r"


class Warmer:
    """Remembers what it is to warm."""

    def __init__(self) -> None:
        self.files: list[Path] = []

    def warm(self, files: Iterable[Path]) -> None:
        self.files += files


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[HandPuller]:
    """The pullers that were made."""
    found: list[HandPuller] = []

    def make(*, warm: object) -> HandPuller:
        del warm
        found.append(HandPuller(here={SOURCE}))
        return found[-1]

    monkeypatch.setattr("modelswap.pull.puller.ThreadPuller", make)
    monkeypatch.setattr("modelswap.pull.page_cache.PageCacheWarmer", Warmer)
    return found


def test_a_puller_that_is_not_needed(made: list[HandPuller]) -> None:
    """Questions and cancels make none; the first pull does, and listeners from before and after hear it."""
    puller = PullerOnDemand()
    heard: list[PullPhase] = []
    puller.subscribe(lambda pull: heard.append(pull.phase))
    assert (puller.pulls(), puller.progress(SOURCE), puller.cancel(SOURCE)) == ([], None, False)
    assert made == []
    puller.start(SOURCE)
    puller.subscribe(lambda pull: heard.append(pull.phase))
    assert puller.cancel(SOURCE)
    assert heard == [PullPhase.RESOLVING, PullPhase.CANCELLED, PullPhase.CANCELLED]
    progress = puller.progress(SOURCE)
    assert progress is not None
    assert [progress] == puller.pulls()
    assert len(made) == 1


def test_what_is_here_is_warmed(
    made: list[HandPuller], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sources that are not here are left out; a look at the disk makes no puller, on whatever thread."""
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    snapshot = tmp_path / "models--o--r" / "snapshots" / ("a" * 40)
    snapshot.mkdir(parents=True)
    (snapshot / "r-Q4_K_M.gguf").write_bytes(b"weights")
    puller = PullerOnDemand()
    puller.warm([SOURCE, "hf:o/none"])
    warmer: Any = puller._warmer
    assert [file.name for file in warmer.files] == ["r-Q4_K_M.gguf"]
    puller.warm([SOURCE])
    assert len(warmer.files) == 2
    assert made == []


class RecordingReloader:
    """Completes the plan, or fails to."""

    def __init__(self) -> None:
        self.wanted = asyncio.Event()
        self.completed = 0
        self.breaks = False

    async def complete(self) -> None:
        self.completed += 1
        if self.breaks:
            raise ZeroDivisionError


class RecordingGate(Fleet):
    """A fleet of which only the gate is there."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.heard = asyncio.Event()
        self.gate: Any = SimpleNamespace(pulled=self.pulled)

    def pulled(self, source: str) -> None:
        self.told.append(source)
        asyncio.get_running_loop().call_soon(self.heard.set)

    def running(self) -> list[Any]:
        return []


@pytest.fixture
async def services() -> AsyncIterator[Services]:
    made = make_services(fleet=RecordingGate())
    yield made
    close(made)


async def follow(
    services: Services, reloader: RecordingReloader, *sources: str
) -> list[BaseException]:
    """Let a follower work until it has told the fleet of all sources."""
    crashes: list[BaseException] = []
    follower = PullFollower(reloader, crashes.append)  # type: ignore[arg-type]  # what it uses of it
    fleet: Any = services.fleet
    fleet.heard.clear()
    async with asyncio.timeout(30), asyncio.TaskGroup() as tasks:
        task = tasks.create_task(follower.run(services))
        for source in sources:
            follower.on_pulled(source)
        await fleet.heard.wait()
        task.cancel()
    return crashes


async def test_the_plan_is_made_complete_first(services: Services) -> None:
    """Then the fleet hears of all that came; an unknown source makes the folders be looked at."""
    reloader = RecordingReloader()
    assert await follow(services, reloader, SOURCE, "hf:o/x") == []
    fleet: Any = services.fleet
    assert (reloader.completed, fleet.told) == (1, [SOURCE, "hf:o/x"])
    assert not reloader.wanted.is_set()
    plan: Any = services.config.plan
    object.__setattr__(plan, "discovered", Discovered())
    await follow(services, reloader, SOURCE)
    assert reloader.wanted.is_set()


async def test_a_bug_leaves_nobody_waiting(services: Services) -> None:
    """It is told, and the fleet hears of the pull all the same."""
    reloader = RecordingReloader()
    reloader.breaks = True
    [crash] = await follow(services, reloader, SOURCE)
    assert isinstance(crash, ZeroDivisionError)
    fleet: Any = services.fleet
    assert fleet.told == [SOURCE]
