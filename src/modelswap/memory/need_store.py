"""What was learned of models' memory and times, in a file between two runs.

Guarantees: all rows are in memory, so `get` and `put` do not block. A file that cannot be used is set aside with a
warning, and learning begins anew; a disk that fails loses what was learned, and nothing else.
Does not: open or write on its own: `open`, `flush` and `close` block, and belong on a thread, one at a time.
Memory: at most `MOST_ROWS` rows, about half a kilobyte each.
Units: bytes, seconds; `last_seen` is seconds since 1970.
"""

from __future__ import annotations

import sqlite3
import threading
from typing import TYPE_CHECKING, Final

import msgspec

from modelswap.units import Seconds

from .learned import LearnedNeed

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

NAME: Final = "needs.db"
"""Of the file, in the state directory."""
MOST_ROWS: Final = 1000
"""Rows: far more than one machine's models; those that ran longest ago go first."""
_BUSY: Final = Seconds(5.0)
"""To wait for another process's lock: two fronts share the file during a hand-over."""
_DECODER: Final = msgspec.json.Decoder(LearnedNeed)
_NOT_DAMAGED: Final = frozenset(
    {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_FULL, sqlite3.SQLITE_READONLY}
)
"""Errors of a file that another process holds, or that cannot be written to: it stays for the next start."""
_VERSION: Final = 1
"""`user_version` of the file; another one's is set aside."""
_SCHEMA: Final = (
    "CREATE TABLE IF NOT EXISTS needs (key TEXT PRIMARY KEY, last_seen REAL NOT NULL, need TEXT NOT NULL)"
    " WITHOUT ROWID"
)
_PRUNE: Final = (
    "DELETE FROM needs WHERE key NOT IN (SELECT key FROM needs ORDER BY last_seen DESC LIMIT ?)"
)


class NeedStore:
    """Learned needs by key: `identity` of the plan's model, which leaves the port out."""

    def __init__(self, path: Path | None, warn: Callable[[str], None]) -> None:
        """*path*: `None`: nothing is kept. *warn* is called on the thread that opens or flushes."""
        self._path = path
        self._warn = warn
        self._needs: dict[str, LearnedNeed] = {}
        self._unwritten: dict[str, LearnedNeed] = {}
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None

    def get(self, key: str) -> LearnedNeed | None:
        return self._needs.get(key)

    def put(self, key: str, need: LearnedNeed) -> None:
        """Keep a need; the next `flush` writes it."""
        with self._lock:
            self._needs[key] = need
            self._unwritten[key] = need
            if len(self._needs) > MOST_ROWS:
                oldest = min(self._needs, key=lambda one: self._needs[one].last_seen)
                del self._needs[oldest]
                self._unwritten.pop(oldest, None)

    @property
    def is_changed(self) -> bool:
        """Whether there is something to flush, and where to."""
        return self._connection is not None and bool(self._unwritten)

    def open(self) -> None:
        """Read the file, or begin a new one. What was put before stays."""
        if self._path is None:
            return
        try:
            self._load(self._path)
        except (sqlite3.Error, msgspec.MsgspecError, OSError) as error:
            if getattr(error, "sqlite_errorcode", None) in _NOT_DAMAGED:
                self._warn(f"learned needs {self._path}: {error}; needs are learned in memory only")
            else:
                self._set_aside(self._path, error)

    def flush(self) -> None:
        """Write what was put since the last time."""
        if self._connection is None:
            return  # not open yet, or nowhere to write
        with self._lock:
            rows, self._unwritten = self._unwritten, {}
        if not rows:
            return
        try:
            _write(self._connection, rows)
        except sqlite3.Error as error:
            self._warn(f"learned needs {self._path}: {error}; {len(rows)} were not kept")

    def close(self) -> None:
        self.flush()
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _load(self, path: Path) -> None:
        self._connection, rows = _opened(path)
        found = {key: _DECODER.decode(text) for key, text in rows}
        with self._lock:
            self._needs = {**found, **self._needs}

    def _set_aside(self, path: Path, error: Exception) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        aside = path.with_suffix(".damaged")
        try:
            path.replace(aside)
            for suffix in ("-wal", "-shm"):  # they belong to the file that is gone
                path.with_name(path.name + suffix).unlink(missing_ok=True)
            self._load(path)
        except (sqlite3.Error, OSError) as again:
            self._connection = None
            self._warn(f"learned needs {path}: {again}; needs are learned in memory only")
            return
        self._warn(f"learned needs {path}: {error}; moved to {aside}, learning begins anew")


def _opened(path: Path) -> tuple[sqlite3.Connection, list[tuple[str, str]]]:
    """Open a file, made where it is not, and read its rows; raise sqlite3.Error or OSError."""
    connection = sqlite3.connect(path, timeout=_BUSY, check_same_thread=False, isolation_level=None)
    try:
        _check_version(connection)
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=NORMAL")
        connection.execute(_SCHEMA)
        connection.execute(f"PRAGMA user_version={_VERSION}")
        return connection, connection.execute("SELECT key, need FROM needs").fetchall()
    except BaseException:
        connection.close()
        raise


def _check_version(connection: sqlite3.Connection) -> None:
    found = connection.execute("PRAGMA user_version").fetchone()[0]
    if found not in (0, _VERSION):
        raise sqlite3.DatabaseError(f"it is of version {found}, not {_VERSION}")


def _write(connection: sqlite3.Connection, needs: dict[str, LearnedNeed]) -> None:
    rows = [
        (key, need.last_seen, msgspec.json.encode(need).decode()) for key, need in needs.items()
    ]
    connection.execute("BEGIN IMMEDIATE")
    try:
        connection.executemany("INSERT OR REPLACE INTO needs VALUES (?, ?, ?)", rows)
        connection.execute(_PRUNE, (MOST_ROWS,))
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
