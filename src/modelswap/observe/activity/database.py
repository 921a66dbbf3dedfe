"""The SQLite file, or memory, that holds the activity rows.

Law: a file is used only when it can be read, written and understood; anything
else leaves it as it is. Files of the original are migrated by adding columns
with defaults, so that it can go on using them too. Synchronous; its callers
keep it off the loop.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

from .rows import EXTRA, INDEXES, REFERENCE, SCHEMA, column

if TYPE_CHECKING:
    import sqlite3
    from pathlib import Path

BUSY: Final = 5.0
CHECKED: Final = 32 << 20
"""Files up to this size are checked whole when they are opened."""
_VERSIONS: Final = (
    "CREATE TABLE IF NOT EXISTS goose_db_version (id INTEGER PRIMARY KEY AUTOINCREMENT,"
    " version_id INTEGER NOT NULL, is_applied INTEGER NOT NULL,"
    " tstamp TIMESTAMP DEFAULT (datetime('now')))"
)


class UnusableError(Exception):
    """The file cannot serve as the store; the text says why."""


def open_memory() -> sqlite3.Connection:
    """A fresh store in memory."""
    import sqlite3  # noqa: PLC0415 -- loaded when needed: start-up time counts

    connection = sqlite3.connect(":memory:", check_same_thread=False, isolation_level=None)
    _migrate(connection)
    return connection


def open_file(path: Path) -> sqlite3.Connection:
    """The store in a file, made or migrated; raises `UnusableError`, the file untouched."""
    import sqlite3  # noqa: PLC0415 -- loaded when needed: start-up time counts

    connection: sqlite3.Connection | None = None
    try:
        if path.exists() and path.stat().st_size:
            _inspect(path)
        connection = sqlite3.connect(
            path, timeout=BUSY, check_same_thread=False, isolation_level=None
        )
        _log_ahead(connection)
        _migrate(connection)
    except (sqlite3.Error, OSError, UnusableError) as error:
        if connection is not None:
            connection.close()
        raise UnusableError(str(error)) from error
    return connection


def _log_ahead(connection: sqlite3.Connection) -> None:
    mode = connection.execute("PRAGMA journal_mode=WAL").fetchone()[0]
    if mode != "wal":
        raise UnusableError("write-ahead logging cannot be switched on")
    connection.execute("PRAGMA synchronous=NORMAL")


def open_reader(path: Path) -> sqlite3.Connection:
    """A second, reading connection, so that long questions hold up no writing."""
    import sqlite3  # noqa: PLC0415 -- loaded when needed: start-up time counts

    connection = sqlite3.connect(path, timeout=BUSY, check_same_thread=False, isolation_level=None)
    connection.execute("PRAGMA query_only=ON")
    return connection


def _inspect(path: Path) -> None:
    """Look at an existing file without changing it."""
    import sqlite3  # noqa: PLC0415 -- loaded when needed: start-up time counts

    with path.open("rb+") as file:  # also shows that it can be written
        if file.read(16) != b"SQLite format 3\0":
            raise UnusableError("file is not a database")
    link = sqlite3.connect(f"file:{quote(str(path.absolute()))}?mode=ro", uri=True, timeout=BUSY)
    with contextlib.closing(link) as connection:
        names = _columns(connection)
        missing = [name for name in REFERENCE if name not in names] if names else []
        if missing:
            raise UnusableError(f"its table activity lacks the column {missing[0]}")
        if path.stat().st_size <= CHECKED:
            verdict = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
            if verdict != "ok":
                raise UnusableError(str(verdict))


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
    """The highest id ever given in this store."""
    highest = connection.execute("SELECT COALESCE(MAX(id), 0) FROM activity").fetchone()[0]
    given = connection.execute("SELECT seq FROM sqlite_sequence WHERE name = 'activity'").fetchone()
    return max(int(highest), int(given[0]) if given else 0)
