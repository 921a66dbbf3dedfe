"""The SQLite database of the activity rows, in a file or in memory.

Guarantees: a file is used only when it can be read, written and understood; otherwise it stays as it
is. A file of llama-swap gets more columns with defaults, so llama-swap can still use it.
Does not: run on the loop: every call blocks.
"""

from __future__ import annotations

import contextlib
import sqlite3
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

from modelswap.units import Bytes, Seconds

from .rows import EXTRA, INDEXES, REFERENCE, SCHEMA, column

if TYPE_CHECKING:
    from pathlib import Path

BUSY: Final = Seconds(5.0)
"""To wait for a lock that another process holds on the file: longer than a checkpoint takes."""
CHECKED: Final = Bytes(32 << 20)
"""Files up to this size are checked completely when they are opened; more would delay the start."""
_VERSIONS: Final = (
    "CREATE TABLE IF NOT EXISTS goose_db_version (id INTEGER PRIMARY KEY AUTOINCREMENT,"
    " version_id INTEGER NOT NULL, is_applied INTEGER NOT NULL,"
    " tstamp TIMESTAMP DEFAULT (datetime('now')))"
)


class UnusableDatabaseError(Exception):
    """The file cannot be used as the store; the text says why."""


def open_memory() -> sqlite3.Connection:
    connection = _connect(":memory:")
    _migrate(connection)
    return connection


def _connect(path: Path | str) -> sqlite3.Connection:
    return sqlite3.connect(path, timeout=BUSY, check_same_thread=False, isolation_level=None)


def open_file(path: Path) -> sqlite3.Connection:
    """Open a file, created or migrated; raise UnusableDatabaseError, and leave it unchanged."""
    connection: sqlite3.Connection | None = None
    try:
        if path.exists() and path.stat().st_size:
            _inspect(path)
        connection = _connect(path)
        _enable_write_ahead_log(connection)
        _migrate(connection)
    except (sqlite3.Error, OSError, UnusableDatabaseError) as error:
        if connection is not None:
            connection.close()
        raise UnusableDatabaseError(str(error)) from error
    return connection


def _enable_write_ahead_log(connection: sqlite3.Connection) -> None:
    if connection.execute("PRAGMA journal_mode=WAL").fetchone()[0] != "wal":
        raise UnusableDatabaseError("write-ahead logging cannot be switched on")
    connection.execute("PRAGMA synchronous=NORMAL")


def open_reader(path: Path) -> sqlite3.Connection:
    """Open a second connection for reading, so that a long query blocks no writing."""
    connection = _connect(path)
    connection.execute("PRAGMA query_only=ON")
    return connection


def _inspect(path: Path) -> None:
    with path.open("rb+") as file:  # also shows that it can be written
        if file.read(16) != b"SQLite format 3\0":
            raise UnusableDatabaseError("file is not a database")
    link = sqlite3.connect(f"file:{quote(str(path.absolute()))}?mode=ro", uri=True, timeout=BUSY)
    with contextlib.closing(link) as connection:
        names = _columns(connection)
        missing = [name for name in REFERENCE if name not in names] if names else []
        if missing:
            raise UnusableDatabaseError(f"its table activity lacks the column {missing[0]}")
        if path.stat().st_size <= CHECKED:
            verdict = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
            if verdict != "ok":
                raise UnusableDatabaseError(str(verdict))


def _columns(connection: sqlite3.Connection) -> set[str]:
    return {row[1] for row in connection.execute("PRAGMA table_info(activity)")}


def _migrate(connection: sqlite3.Connection) -> None:
    connection.execute("BEGIN IMMEDIATE")
    try:
        connection.execute(SCHEMA)
        known = _columns(connection)
        for name in EXTRA:
            if name not in known:
                connection.execute(f"ALTER TABLE activity ADD COLUMN {column(name)}")
        for index in INDEXES:
            connection.execute(index)
        connection.execute(_VERSIONS)
        if connection.execute("SELECT COUNT(*) FROM goose_db_version").fetchone()[0] == 0:
            connection.execute(
                "INSERT INTO goose_db_version (version_id, is_applied) VALUES (0, 1), (1, 1)"
            )
        connection.execute("COMMIT")
    except BaseException:
        connection.execute("ROLLBACK")
        raise


def last_id(connection: sqlite3.Connection) -> int:
    """The highest id that was ever given in this database."""
    highest = connection.execute("SELECT COALESCE(MAX(id), 0) FROM activity").fetchone()[0]
    given = connection.execute("SELECT seq FROM sqlite_sequence WHERE name = 'activity'").fetchone()
    return max(int(highest), int(given[0]) if given else 0)
