"""All pulls together: one for each source, two at once, told to listeners, on the loop and never in its way."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from modelswap.pull import puller as puller_module
from modelswap.pull.progress import PullFailure, PullPhase, PullProgress
from modelswap.pull.puller import ThreadPuller
from modelswap.units import Bytes, Seconds
from support.file_server import refuses, stalls
from support.pulling import QUICK, ROOMY, places

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from modelswap.pull.timing import PullTiming
    from support.hub import Hub

SOURCES = [f"hf:acme/m{number}" for number in range(3)]


class Pulls:
    """A puller, and what its listener heard."""

    def __init__(self, folder: Path, timing: PullTiming = QUICK) -> None:
        self.warmed: list[Path] = []
        self.puller = ThreadPuller(
            places=places(folder), timing=timing, free=lambda _: ROOMY, warm=self.warmed.extend
        )
        self.heard: list[PullProgress] = []
        self._changed = asyncio.Event()
        self.puller.subscribe(self._hear)

    def _hear(self, progress: PullProgress) -> None:
        self.heard.append(progress)
        self._changed.set()

    async def until(self, is_so: Callable[[PullProgress], bool]) -> PullProgress:
        """Wait until the listener is told of such a progress, from now on."""
        begin = len(self.heard)
        while True:
            for progress in self.heard[begin:]:
                if is_so(progress):
                    return progress
            self._changed.clear()
            await self._changed.wait()

    async def ended(self, source: str) -> PullProgress:
        progress = self.puller.progress(source)
        assert progress is not None
        if progress.is_over:
            return progress
        return await self.until(lambda one: one.source == source and one.is_over)


@pytest.fixture
def models(hub: Hub) -> Hub:
    for source in SOURCES:
        hub.add(source.removeprefix("hf:"), {"x-Q4_K_M.gguf": source.encode() * 100})
    return hub


@pytest.fixture
def pulls(tmp_path: Path) -> Iterator[Pulls]:
    made = Pulls(tmp_path)
    yield made
    made.puller.close()


async def test_a_pull_is_told_from_its_begin_to_its_end(models: Hub, pulls: Pulls) -> None:
    _ = models
    assert pulls.puller.progress(SOURCES[0]) is None
    assert pulls.puller.start(SOURCES[0]).phase is PullPhase.RESOLVING
    ended = await pulls.ended(SOURCES[0])
    assert ended.phase is PullPhase.FINISHED
    assert pulls.heard[0].phase is PullPhase.RESOLVING
    assert pulls.heard[-1] == ended == pulls.puller.progress(SOURCES[0])
    assert pulls.puller.pulls() == [ended]
    found = await asyncio.to_thread(pulls.puller.located, SOURCES[0])
    assert found is not None
    assert pulls.warmed == [found.path]


async def test_two_starts_pull_once(models: Hub, pulls: Pulls) -> None:
    """Also in another spelling; nothing is asked twice."""
    models.fail("/storage/", stalls(10))
    pulls.puller.start(SOURCES[0])
    await asyncio.to_thread(models.stalled.wait)
    joined = pulls.puller.start(f"HF://{SOURCES[0][3:]}:latest")
    assert joined.source == SOURCES[0]
    models.go_on.set()
    assert (await pulls.ended(SOURCES[0])).phase is PullPhase.FINISHED
    assert len(models.of("/api/models/acme/m0")) == 1
    assert [asked.start for asked in models.of("/storage/")] == [0, 10]


async def test_a_third_pull_waits_for_its_turn(models: Hub, pulls: Pulls) -> None:
    models.fail("/storage/", stalls(10), stalls(10))
    for source in SOURCES:
        pulls.puller.start(source)
    third = pulls.puller.progress(SOURCES[2])
    assert third is not None
    assert third.text == "waits: 2 other models are being pulled"
    while len(models.of("/storage/")) < 2:
        await asyncio.to_thread(models.arrived.acquire)
    assert not models.of("/api/models/acme/m2")
    models.go_on.set()
    assert (await pulls.ended(SOURCES[2])).phase is PullPhase.FINISHED


async def test_a_pull_that_waits_is_cancelled_and_takes_no_turn(models: Hub, pulls: Pulls) -> None:
    models.fail("/storage/", stalls(10), stalls(10))
    for source in SOURCES:
        pulls.puller.start(source)
    assert pulls.puller.cancel(SOURCES[2])
    models.go_on.set()
    await pulls.ended(SOURCES[0])
    await pulls.ended(SOURCES[1])
    third = pulls.puller.progress(SOURCES[2])
    assert third is not None
    assert third.phase is PullPhase.CANCELLED
    assert not models.of("/api/models/acme/m2")


async def test_a_cancelled_pull_is_over_at_once_and_goes_on_when_started_again(
    models: Hub, pulls: Pulls
) -> None:
    models.fail("/storage/", stalls(10))
    pulls.puller.start(SOURCES[0])
    assert (await pulls.until(lambda one: one.done == 10)).phase is PullPhase.DOWNLOADING
    assert pulls.puller.cancel(SOURCES[0])
    assert not pulls.puller.cancel(SOURCES[0])
    assert pulls.heard[-1].phase is PullPhase.CANCELLED
    pulls.puller.start(SOURCES[0])
    assert (await pulls.ended(SOURCES[0])).phase is PullPhase.FINISHED
    assert models.of("/storage/")[-1].range == "bytes=10-"


async def test_a_stall_is_told_and_ends(models: Hub, tmp_path: Path) -> None:
    """Nothing comes: the pull says so while it waits, and it finishes when bytes come again."""
    pulls = Pulls(tmp_path, replace(QUICK, stalled=Seconds(0.1), silence=Seconds(60)))
    models.fail("/storage/", stalls(10))
    pulls.puller.start(SOURCES[0])
    stalled = await pulls.until(lambda one: one.phase is PullPhase.STALLED and one.done == 10)
    assert stalled.text.startswith("nothing has come for")
    models.go_on.set()
    assert (await pulls.ended(SOURCES[0])).phase is PullPhase.FINISHED


async def test_a_failed_pull_begins_anew(models: Hub, pulls: Pulls) -> None:
    models.fail("/api/models/", refuses(404))
    pulls.puller.start(SOURCES[0])
    assert (await pulls.ended(SOURCES[0])).failure is PullFailure.NOT_FOUND
    assert pulls.puller.start(SOURCES[0]).phase is PullPhase.RESOLVING
    assert (await pulls.ended(SOURCES[0])).phase is PullPhase.FINISHED
    assert len(pulls.puller.pulls()) == 1


async def test_a_defect_ends_its_pull_alone(models: Hub, tmp_path: Path, pulls: Pulls) -> None:
    """A pull never just stops: its thread tells what happened."""
    _ = models

    def broken(_: Path) -> Bytes:
        raise ZeroDivisionError("https://host/x.gguf?secret")

    puller = ThreadPuller(places=places(tmp_path), timing=QUICK, free=broken)
    ended = asyncio.Event()
    puller.subscribe(lambda progress: ended.set() if progress.is_over else None)
    puller.start(SOURCES[0])
    await ended.wait()
    failed = puller.progress(SOURCES[0])
    assert failed is not None
    assert "a defect here (ZeroDivisionError, test_puller.py:" in failed.text
    assert "secret" not in failed.text
    pulls.puller.start(SOURCES[1])
    assert (await pulls.ended(SOURCES[1])).phase is PullPhase.FINISHED


async def test_a_listener_that_fails_holds_up_no_pull(models: Hub, pulls: Pulls) -> None:
    """The pulls that wait get their turn, and the other listeners are told."""
    _ = models

    def broken(_: PullProgress) -> None:
        raise ZeroDivisionError

    errors: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: errors.append(context))
    for source in SOURCES:
        pulls.puller.start(source)
    pulls.puller.subscribe(broken)
    assert (await pulls.ended(SOURCES[2])).phase is PullPhase.FINISHED
    assert errors


async def test_ended_pulls_are_forgotten_after_many(
    pulls: Pulls, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(puller_module, "_MOST_ENDED", 3)
    for number in range(5):
        source = f"hf:acme/many{number}"
        pulls.puller.start(source)
        await pulls.ended(source)
    kept = [progress.source for progress in pulls.puller.pulls()]
    assert kept == [f"hf:acme/many{number}" for number in range(2, 5)]


async def test_no_source_is_refused(pulls: Pulls) -> None:
    for ask in (
        pulls.puller.start,
        pulls.puller.progress,
        pulls.puller.cancel,
        pulls.puller.located,
    ):
        with pytest.raises(ValueError, match="names no source"):
            ask("tiny")


async def test_a_closed_one_stops_its_pulls(models: Hub, pulls: Pulls) -> None:
    models.fail("/storage/", stalls(10), stalls(10))
    for source in SOURCES:
        pulls.puller.start(source)
    pulls.puller.close()
    assert {one.phase for one in pulls.puller.pulls()} == {PullPhase.CANCELLED}


def test_the_library_is_imported_by_the_first_pull_alone() -> None:
    """`serve` has a puller from its start, and half a second of imports only when it pulls."""
    code = (
        "import sys, modelswap.pull.puller as p; p.ThreadPuller();"
        "print([m for m in ('huggingface_hub', 'httpx2', 'filelock') if m in sys.modules])"
    )
    src = str(Path(__file__).parents[3] / "src")
    told = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env={"PYTHONPATH": src}
    )  # fmt: skip
    assert told.stdout == "[]\n"
