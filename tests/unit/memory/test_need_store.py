"""The file of learned needs."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from modelswap.memory import need_store
from modelswap.memory.learned import LearnedNeed
from modelswap.memory.need_store import MOST_ROWS, NAME, NeedStore
from modelswap.units import Seconds

if TYPE_CHECKING:
    from pathlib import Path

NEED = LearnedNeed(
    runs=({"ram": 5, "gpu0": 1 << 40},), corrected={"gpu0": 7}, loads=(1.5,), last_seen=9
)


class OpenStore:
    """An open store with its warnings."""

    def __init__(self, path: Path) -> None:
        self.warnings: list[str] = []
        self.store = NeedStore(path, self.warnings.append)
        self.store.open()


def rows(path: Path) -> int:
    with closing(sqlite3.connect(path)) as connection:
        return int(connection.execute("SELECT COUNT(*) FROM needs").fetchone()[0])


def test_needs_outlive_the_program(tmp_path: Path) -> None:
    """What is put is there at once, and after the next start."""
    first = OpenStore(tmp_path / NAME)
    assert first.store.get("b") is None
    first.store.put("a", NEED)
    assert first.store.get("a") == NEED
    changes = [first.store.is_changed]
    first.store.flush()
    assert [*changes, first.store.is_changed] == [True, False]
    first.store.put("a", NEED.with_stop(Seconds(2), 10))
    first.store.close()
    second = OpenStore(tmp_path / NAME)
    assert second.store.get("a") == NEED.with_stop(Seconds(2), 10)
    second.store.close()
    assert first.warnings + second.warnings == []


def test_what_was_learned_before_the_file_was_open(tmp_path: Path) -> None:
    """A record of this run is newer than the file's, and is written."""
    first = OpenStore(tmp_path / NAME)
    first.store.put("a", NEED)
    first.store.close()
    store = NeedStore(tmp_path / NAME, pytest.fail)
    newer = NEED.with_load(Seconds(3), 11)
    store.put("a", newer)
    store.flush()
    store.open()
    assert store.get("a") == newer
    store.close()
    third = OpenStore(tmp_path / NAME)
    assert third.store.get("a") == newer
    third.store.close()


def test_old_rows_go(tmp_path: Path) -> None:
    """Beyond the bound, those that ran longest ago are forgotten, in memory and in the file."""
    opened = OpenStore(tmp_path / NAME)
    for number in range(MOST_ROWS + 3):
        opened.store.put(str(number), LearnedNeed(last_seen=float(number)))
    assert opened.store.get("2") is None
    assert opened.store.get("3") is not None
    opened.store.close()
    assert rows(tmp_path / NAME) == MOST_ROWS


def set_version(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version=7")


def spoil_a_row(path: Path) -> None:
    OpenStore(path).store.close()
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("INSERT INTO needs VALUES ('a', 1, '{\"corrected\": 5}')")


def other_table(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE needs (other TEXT)")


@pytest.mark.parametrize(
    ("damage", "why"),
    [
        (lambda path: path.write_bytes(b"no database" * 1000), "file is not a database"),
        (set_version, "version 7, not 1"),
        (spoil_a_row, "Expected `object`"),
        (other_table, "no such column"),
    ],
)
def test_a_damaged_file_is_set_aside(tmp_path: Path, damage: object, why: str) -> None:
    """It is kept under another name with a warning, and learning begins anew."""
    path = tmp_path / NAME
    assert callable(damage)
    damage(path)
    size = path.stat().st_size
    opened = OpenStore(path)
    (warning,) = opened.warnings
    assert why in warning
    aside = tmp_path / "needs.damaged"
    assert str(aside) in warning
    assert aside.stat().st_size >= size
    opened.store.put("a", NEED)
    opened.store.close()
    assert rows(path) == 1


def test_a_file_that_another_program_holds_is_not_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It stays where it is, for the next start."""
    monkeypatch.setattr(need_store, "_BUSY", Seconds(0.01))
    path = tmp_path / NAME
    opened = OpenStore(path)
    opened.store.put("a", NEED)
    opened.store.close()
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("PRAGMA locking_mode=EXCLUSIVE")
        other.execute("BEGIN EXCLUSIVE")
        (warning,) = OpenStore(path).warnings
        other.execute("ROLLBACK")
    assert "database is locked; needs are learned in memory only" in warning
    assert [one.name for one in tmp_path.glob("*.damaged")] == []
    again = OpenStore(path)
    assert again.store.get("a") == NEED
    again.store.close()


def test_a_place_that_cannot_be_used(tmp_path: Path) -> None:
    """Then needs are learned in memory only, and that is said once."""
    opened = OpenStore(tmp_path / "missing" / NAME)
    assert "in memory only" in opened.warnings[0]
    opened.store.put("a", NEED)
    opened.store.flush()
    assert opened.store.get("a") == NEED
    assert not opened.store.is_changed
    opened.store.close()
    assert len(opened.warnings) == 1


def test_a_disk_that_fails(tmp_path: Path) -> None:
    """A write that fails loses the rows of the file with a warning; they stay in memory."""
    opened = OpenStore(tmp_path / NAME)
    with closing(sqlite3.connect(tmp_path / NAME)) as connection:
        connection.execute("DROP TABLE needs")
    opened.store.put("a", NEED)
    opened.store.flush()
    assert "no such table: needs; 1 were not kept" in opened.warnings[0]
    assert opened.store.get("a") == NEED
    opened.store.close()
