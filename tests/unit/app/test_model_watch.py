"""Folders of models are looked at while the program runs."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

from modelswap.app.model_watch import ModelWatch
from modelswap.config.discover.disk.places import Findings, Places
from support.found_models import found_model

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from modelswap.catalog.found import FoundModel

HERE = Places((Path("/models"),))
OLD, NEW = found_model("old"), found_model("new")


class ChangingFolder:
    """Holds other models at each look, as long as there are some."""

    def __init__(self, *looks: list[FoundModel] | OSError) -> None:
        self.looks = list(looks)
        self.taken = 0

    def find(self, places: Places) -> Findings:
        assert places == HERE
        self.taken += 1
        found = self.looks.pop(0) if len(self.looks) > 1 else self.looks[0]
        if isinstance(found, OSError):
            raise found
        return Findings(tuple(found))

    def stamp(self, places: Places) -> int:
        """Say that something may have changed as long as there are more looks."""
        assert places == HERE
        return len(self.looks)


def test_a_reload_that_was_asked_for_takes_what_is_there() -> None:
    """It looks itself, whatever the watch has seen."""
    watch = ModelWatch(ChangingFolder([OLD], [OLD, NEW]))
    assert watch.find(HERE).models == (OLD,)
    assert watch.find(HERE).models == (OLD, NEW)


def test_a_reload_after_a_look_takes_what_has_settled() -> None:
    """What appeared since is left for the next look, since it may be half written."""
    folder = ChangingFolder([OLD], [OLD, NEW], [OLD, NEW], [OLD, NEW, found_model("half")])
    watch = ModelWatch(folder)
    watch.find(HERE)
    assert [watch.has_changed(), watch.has_changed()] == [False, True]
    assert watch.find(HERE).models == (OLD, NEW)
    assert folder.taken == 3


def test_what_counts_is_known_without_a_look() -> None:
    """The question whether a configuration has any model reads no disk."""
    folder = ChangingFolder([OLD])
    watch = ModelWatch(folder)
    watch.find(HERE)
    assert watch.known(HERE).models == (OLD,)
    assert folder.taken == 1


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """The watch's time: `now`."""
    found = SimpleNamespace(now=1000.0)
    monkeypatch.setattr(
        "modelswap.app.model_watch.time", SimpleNamespace(monotonic=lambda: found.now)
    )
    return found


def test_models_of_a_rejected_reload_are_offered_again(clock: SimpleNamespace) -> None:
    """A minute later, each time it is rejected, until a reload takes them."""
    watch = ModelWatch(ChangingFolder([OLD], [OLD, NEW]))
    watch.find(HERE)
    watch.on_plan(looks=True)
    assert [watch.has_changed(), watch.has_changed()] == [False, True]
    for _ in range(2):
        assert watch.find(HERE).models == (OLD, NEW)
        watch.on_rejected()
        clock.now += 59
        assert not watch.has_changed()
        clock.now += 2
        assert [watch.has_changed(), watch.has_changed()] == [True, False]
    watch.find(HERE)
    watch.on_plan(looks=True)
    clock.now += 100
    assert not watch.has_changed()


def test_models_that_a_rejected_reload_did_not_come_to_are_offered_again(
    clock: SimpleNamespace,
) -> None:
    """It failed before it asked for them. A look that fails does not end that."""
    folder = ChangingFolder([OLD], [OLD, NEW])
    watch = ModelWatch(folder)
    watch.find(HERE)
    watch.on_plan(looks=True)
    assert [watch.has_changed(), watch.has_changed()] == [False, True]
    watch.on_rejected()
    clock.now += 61
    folder.looks.insert(0, OSError("gone"))
    with pytest.raises(OSError, match="gone"):
        watch.has_changed()
    assert [watch.has_changed(), watch.has_changed()] == [True, False]
    assert watch.find(HERE).models == (OLD, NEW)


def test_a_rejected_reload_without_new_models_is_not_repeated(clock: SimpleNamespace) -> None:
    """What is wrong is something else; it is said once."""
    watch = ModelWatch(ChangingFolder([OLD]))
    watch.find(HERE)
    watch.on_plan(looks=True)
    watch.find(HERE)
    watch.on_rejected()
    clock.now += 100
    assert not watch.has_changed()


def test_files_are_left_alone_where_nothing_has_changed() -> None:
    """As long as the directories are as they were, and all has settled, no file is looked at."""
    folder = ChangingFolder([OLD], [OLD, NEW])
    watch = ModelWatch(folder)
    watch.find(HERE)
    for _ in range(3):
        watch.has_changed()
    watch.find(HERE)
    looks = folder.taken
    for _ in range(3):
        assert not watch.has_changed()
    assert folder.taken == looks


@pytest.fixture
async def running() -> AsyncIterator[tuple[ModelWatch, ChangingFolder, asyncio.Event]]:
    """A watch over a folder that fails once and then has a new file."""
    folder = ChangingFolder([OLD], OSError("gone"), [OLD, NEW])
    watch, changed = ModelWatch(folder, every=0), asyncio.Event()
    watch.find(HERE)
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(watch.run(changed.set))
        yield watch, folder, changed
        task.cancel()


async def test_it_looks_only_while_a_plan_has_found_models(
    running: tuple[ModelWatch, ChangingFolder, asyncio.Event],
) -> None:
    """Without found models no folder is read."""
    _, folder, changed = running
    for _ in range(10):
        await asyncio.sleep(0)
    assert folder.taken == 1
    assert not changed.is_set()


async def test_a_new_file_is_told_once(
    running: tuple[ModelWatch, ChangingFolder, asyncio.Event],
) -> None:
    """A look that fails is one look less; the change is told when it has settled."""
    watch, _, changed = running
    watch.on_plan(looks=True)
    await changed.wait()
    watch.on_plan(looks=False)
    assert watch.find(HERE).models == (OLD, NEW)
