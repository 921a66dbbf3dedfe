"""Decisions in the store's file: a real SQLite file, written by the store's own thread."""

from __future__ import annotations

import asyncio
import sqlite3
from typing import TYPE_CHECKING, Any

from modelswap.core.placement.policy import RAM
from modelswap.observe.activity.store import Store
from modelswap.observe.captures import Captures
from modelswap.observe.decisions.decision import Decision, DeviceChange, Evicted
from modelswap.observe.decisions.table import EXISTS, decisions_in, question, writing
from modelswap.observe.logs.redaction import HeaderMask
from modelswap.units import Bytes, Seconds

if TYPE_CHECKING:
    from pathlib import Path

DAY = 86_400
SECOND = 1_000_000


def decision(number: int, model: str = "a", **changes: Any) -> Decision:
    return Decision(id=number, model=model, asker="request", **changes)


def store_at(path: Path | None, warnings: list[str]) -> Store:
    captures = Captures(Bytes(0), HeaderMask(()))
    return Store(captures, path=None if path is None else str(path), warn=warnings.append)


async def kept(store: Store, limit: int = 9, model: str = "") -> list[Decision]:
    def ask() -> list[Decision]:
        return decisions_in(store.rows(*question(limit, model)))

    return await store.run_query(ask)


def ids_in(path: Path) -> list[int]:
    with sqlite3.connect(path) as file:
        return [row[0] for row in file.execute("SELECT id FROM decisions ORDER BY id")]


async def test_decisions_survive_in_the_file(tmp_path: Path) -> None:
    """What another process reads is what was written, all fields of it."""
    warnings: list[str] = []
    store = store_at(tmp_path / "a.db", warnings)
    await store.begin()
    assert store.is_in_file
    assert store.rows(EXISTS, ()) == []
    whole = decision(
        5,
        client="c",
        request=3,
        evicted=[Evicted(model="b", how="stop", frees={RAM: 7}, reload_seconds=1.5)],
        why="w",
        memory=[DeviceChange(id=RAM, total=9, reserve=1, foreign=2, before=3, after=4)],
        ended=2.0,
        ending="ready",
    )
    store.write_later(writing(whole, retention=None, rows=None))
    store.write_later(writing(decision(6, "b"), retention=None, rows=None))
    await asyncio.to_thread(store.close)
    again = store_at(tmp_path / "a.db", warnings)
    await again.begin()
    assert await kept(again) == [decision(6, "b"), whole]
    assert await kept(again, 1) == [decision(6, "b")]
    assert await kept(again, model="a") == [whole]
    await asyncio.to_thread(again.close)
    assert warnings == []


async def test_old_ones_are_deleted(tmp_path: Path) -> None:
    """By age and by number, as the store's settings say."""
    path = tmp_path / "a.db"
    store = store_at(path, [])
    await store.begin()
    for day in (1, 2, 3, 4):
        new = decision(day * DAY * SECOND)
        store.write_later(writing(new, retention=Seconds(1.5 * DAY), rows=None))
    await asyncio.to_thread(store.close)
    assert ids_in(path) == [3 * DAY * SECOND, 4 * DAY * SECOND]
    store = store_at(path, [])
    await store.begin()
    for number in range(3):
        store.write_later(writing(decision(5 * DAY * SECOND + number), retention=None, rows=2))
    await asyncio.to_thread(store.close)
    assert ids_in(path) == [5 * DAY * SECOND + 1, 5 * DAY * SECOND + 2]


async def test_memory_keeps_none() -> None:
    """Without a file the log of this process is all that there is."""
    store = store_at(None, [])
    await store.begin()
    store.write_later(writing(decision(1), retention=None, rows=None))
    assert not store.is_in_file
    await asyncio.to_thread(store.close)


async def test_a_file_that_cannot_be_written_is_told_once(tmp_path: Path) -> None:
    """The request goes on; the log says what was lost."""
    warnings: list[str] = []
    store = store_at(tmp_path / "a.db", warnings)
    await store.begin()
    with sqlite3.connect(tmp_path / "a.db") as file:
        file.execute("CREATE VIEW decisions AS SELECT 1 AS id")
    store.write_later(writing(decision(1), retention=None, rows=None))
    await asyncio.to_thread(store.close)
    await asyncio.sleep(0)  # the writer's thread has posted it to this loop
    assert "a decision was not kept" in warnings[0]


def test_a_row_of_another_version_is_left_out() -> None:
    assert decisions_in([("{}",), ("not json",), ('{"id": "x"}',)]) == []
