"""The activity store: one thread writes rows, one thread runs queries.

Guarantees: `record` puts rows into a bounded queue and returns; a full queue drops rows and counts
them. A broken or slow disk stops no request. `on_recorded` is called on the loop once the rows and
their captures can be read.
"""

from __future__ import annotations

import asyncio
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

from modelswap.units import Seconds

from .database import UnusableDatabaseError, last_id, open_file, open_memory, open_reader
from .query import Filter, Page, count_sql, histogram, page_sql, speeds_sql, totals_sql
from .rows import INSERT, ActivityRecord, Row, shown
from .totals import BlockTotals, Sums

if TYPE_CHECKING:
    from modelswap.observe.captures import CaptureBuilder, Captures

QUEUE: Final = 20_000  # rows that may wait for a slow disk: some seconds of full load
BATCH: Final = 500
"""Rows of one transaction: a larger one is hardly faster, and blocks queries longer."""
GATHER: Final = Seconds(0.05)  # rows are gathered for so long, then one transaction writes them
SETTLE: Final = Seconds(1.0)  # a query waits at most so long for rows that were recorded before it
SWEEP: Final = Seconds(60.0)
"""Between two searches for rows that are too old: retention is configured in hours or days."""
DEFAULT_ROWS: Final = 1000  # rows in memory without a setting, as llama-swap keeps them
_OK: Final = 200  # HTTP status

Warn = Callable[[str], None]
T = TypeVar("T")
OnRecorded = Callable[[Sequence[int]], None]
Statement = tuple[str, tuple[object, ...]]
"""SQL, and the values of its places."""
_Item = tuple[ActivityRecord, "CaptureBuilder | None"]


class StoreFailedError(Exception):
    """A query failed; the text says why."""


class Store:
    def __init__(
        self,
        captures: Captures,
        *,
        path: str | None = None,
        max_rows: int = DEFAULT_ROWS,
        retention: Seconds | None = None,
        file_rows: int | None = None,
        warn: Warn,
        on_recorded: OnRecorded | None = None,
    ) -> None:
        """`max_rows` bounds a store in memory, `file_rows` one in a file, `retention` both."""
        self._captures = captures
        self._path = Path(path) if path else None
        self._max_rows = max_rows if max_rows > 0 else DEFAULT_ROWS
        self._retention = retention
        self._file_rows = file_rows
        self._warn = warn
        self._on_recorded = on_recorded
        self._queue: deque[_Item] = deque()
        self._wake = threading.Event()
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._writer: sqlite3.Connection | None = None
        self._reader: sqlite3.Connection | None = None
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._query_executor = ThreadPoolExecutor(1, "store-query")
        self._next_id = 1
        self._last_sweep = 0.0
        self._warned = ""
        self._statements: deque[Statement] = deque(maxlen=QUEUE)
        self._unwritten: deque[ActivityRecord] = deque(maxlen=self._max_rows)
        """A store in memory writes rows into the database at the next query: most are never queried."""
        self.dropped = 0
        """Rows lost to a full queue or disk."""
        self._accepted = 0
        self._settled = 0
        """How many rows were queued, and how many of them a query finds."""
        self._settling = threading.Condition()
        self._totals = BlockTotals(self.rows)
        self._flush_now = threading.Event()
        """A query waits for rows that are still queued."""

    def open(self) -> None:
        """Open the store; an unusable file is not changed, and memory replaces it."""
        if self._path is not None:
            try:
                self._writer = open_file(self._path)
                self._reader = open_reader(self._path)
            except UnusableDatabaseError as error:
                action = "the file is left as it is, activity is kept in memory only"
                self._notify(self._warn, f"activity store {self._path}: {error}; {action}")
                self._path = None
        if self._writer is None:
            self._writer = open_memory()
        self._next_id = last_id(self._writer) + 1

    def start(self) -> None:
        """Start the writer thread; `on_recorded` and `warn` are called on the running loop."""
        self._loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._run, name="store", daemon=True)
        self._thread.start()

    async def begin(self) -> None:
        self._loop = asyncio.get_running_loop()
        await asyncio.to_thread(self.open)
        self.start()

    def is_at(self, path: str | None) -> bool:
        """Whether this is the store of that file; `None` means memory."""
        if path is None or self._path is None:
            return path is None and self._path is None
        return Path(path).resolve() == self._path.resolve()

    def configure(
        self, *, max_rows: int, retention: Seconds | None, file_rows: int | None = None
    ) -> None:
        """Apply the settings that a reload may change."""
        self._max_rows = max_rows if max_rows > 0 else DEFAULT_ROWS
        with self._lock:
            self._unwritten = deque(self._unwritten, maxlen=self._max_rows)
        self._retention = retention
        self._file_rows = file_rows

    def next_ids(self, count: int) -> int:
        """Reserve so many consecutive ids; return the first."""
        self._next_id += count
        return self._next_id - count

    def next_after(self, count: int) -> int:
        """Return the next id after so many more were given."""
        return self._next_id + count

    @property
    def unsettled(self) -> list[range]:
        """The ids with which other processes may still write rows."""
        return self._totals.unsettled

    def skip_to(self, first: int, unsettled: Iterable[range] = ()) -> None:
        """Give no id below `first`: another process gives those, and processes before it *unsettled*."""
        self._totals.unsettled = [*unsettled, range(self._next_id, first)]
        self._next_id = max(self._next_id, first)

    def record(
        self, records: Sequence[ActivityRecord], builders: Mapping[int, CaptureBuilder]
    ) -> None:
        """Keep records (with ids from `next_ids`) and the captures of some. Never waits."""
        if self._path is None and all(builder.is_cheap for builder in builders.values()):
            # Waking the thread would cost more than this.
            self._unwritten.extend(records)
            for number, builder in builders.items():
                self._captures.keep(number, builder)
                self._captures.drop(builder)
            if self._on_recorded is not None:
                first, last = records[0].id, records[-1].id
                ids: Sequence[int] = range(first, last + 1)
                if len(ids) != len(records):
                    ids = [record.id for record in records]
                self._on_recorded(ids)
            return
        room = QUEUE - len(self._queue)
        self._queue.extend((record, builders.get(record.id)) for record in records[:room])
        for record in records[room:]:
            self.dropped += 1
            if record.id in builders:
                self._captures.drop(builders[record.id])
        self._accepted += min(room, len(records))
        if not self._wake.is_set():
            self._wake.set()

    @property
    def is_in_file(self) -> bool:
        return self._path is not None

    def write_later(self, statements: Iterable[Statement]) -> None:
        """Have statements of another table executed soon; does nothing for a store in memory."""
        if self._path is not None:
            self._statements.extend(statements)
            self._wake.set()

    def close(self, timeout: Seconds = Seconds(2.0), *, is_hurried: bool = True) -> None:
        """Write what is queued, for at most `timeout`, and close.

        `is_hurried`: running queries are interrupted.
        """
        self._stop.set()
        self._flush_now.set()
        self._wake.set()
        if self._thread is not None:
            self._thread.join(timeout)
            if self._thread.is_alive():
                return  # a disk that hangs must not hang the end of the program
        elif self._writer is not None:
            self._drain(self._writer)
        if self._reader is not None and is_hurried:
            self._reader.interrupt()  # a long query does not delay the end
        self._query_executor.shutdown(wait=True, cancel_futures=is_hurried)
        for connection in (self._reader, self._writer):
            if connection is not None:
                connection.close()

    # The writer's thread

    def _run(self) -> None:
        while True:
            self._wake.wait(SWEEP)
            self._flush_now.wait(GATHER)
            stopping = self._stop.is_set()
            if not stopping:
                self._flush_now.clear()
            self._wake.clear()
            if self._writer is not None:
                self._drain(self._writer)
                self._sweep(self._writer)
            if stopping:
                return

    def _drain(self, connection: sqlite3.Connection) -> None:
        self._execute(connection)
        while self._queue:
            batch = [self._queue.popleft() for _ in range(min(BATCH, len(self._queue)))]
            rows = [record.row() for record, _ in batch]
            if self._path is None:
                with self._lock:
                    self._unwritten.extend(rows)
            if self._path is None or self._insert(connection, rows):
                for row, (_, builder) in zip(rows, batch, strict=True):
                    is_empty = row.resp_status_code == _OK and not row.bytes_out
                    if builder is not None and not is_empty:
                        self._captures.keep(row.id, builder)
                self._notify(self._on_recorded, [row.id for row in rows])
            else:
                self.dropped += len(rows)
            if builders := [builder for _, builder in batch if builder is not None]:
                self._post(self._release, builders)
            with self._settling:
                self._settled += len(batch)
                self._settling.notify_all()

    def _execute(self, connection: sqlite3.Connection) -> None:
        try:
            while self._statements:
                with self._lock:
                    connection.execute(*self._statements.popleft())
        except (sqlite3.Error, UnicodeEncodeError) as error:
            self._warn_once(f"activity store: {error}; a decision was not kept")

    def _release(self, builders: Iterable[CaptureBuilder]) -> None:
        for builder in builders:
            self._captures.drop(builder)

    def _insert(self, connection: sqlite3.Connection, rows: Sequence[Row]) -> bool:
        try:
            with self._lock:
                self._write(connection, rows)
        except (sqlite3.Error, UnicodeEncodeError, OverflowError) as error:
            self._warn_once(f"activity store: {error}; {len(rows)} rows were not kept")
            return False
        self._warned = ""
        return True

    def _write(self, connection: sqlite3.Connection, rows: Sequence[Row]) -> None:
        """One transaction for all rows; the caller holds the lock."""
        connection.execute("BEGIN")
        try:
            connection.executemany(INSERT, rows)
            most = self._max_rows if self._path is None else self._file_rows
            if most is not None:
                oldest = max(row.id for row in rows) - most
                connection.execute("DELETE FROM activity WHERE id <= ?", (oldest,))
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise

    def _warn_once(self, message: str) -> None:
        kind = message.split(";", 1)[0]
        if kind != self._warned:
            self._warned = kind
            self._notify(self._warn, message)

    def _sweep(self, connection: sqlite3.Connection) -> None:
        now = time.monotonic()
        if self._retention is None or (self._last_sweep and now - self._last_sweep < SWEEP):
            return
        self._last_sweep = now
        oldest = time.time_ns() // 1_000_000_000 - int(self._retention)
        try:
            with self._lock:
                connection.execute("DELETE FROM activity WHERE ts_created < ?", (oldest,))
            self._totals.deleted_before(oldest)
        except sqlite3.Error as error:
            self._warn_once(f"activity store: {error}; old rows were not removed")

    def _notify(self, to: Callable[[Any], None] | None, what: object) -> None:
        if to is not None:
            self._post(to, what)

    def _post(self, to: Callable[[Any], None], what: object) -> None:
        loop = self._loop
        if loop is None or loop.is_closed():
            to(what)
            return
        try:
            loop.call_soon_threadsafe(to, what)
        except RuntimeError:  # the loop closed in between
            return

    # Queries

    async def run_query(self, query: Callable[[], T]) -> T:
        """Run a slow query on its thread; it sees the rows that were recorded before."""
        accepted = self._accepted

        def settled() -> T:
            self._settle(accepted)
            return query()

        return await asyncio.get_running_loop().run_in_executor(self._query_executor, settled)

    def _settle(self, accepted: int) -> None:
        """Wait until so many rows are written, but at most `SETTLE` for a disk that hangs."""
        if self._settled < accepted and self._thread is not None:
            self._flush_now.set()
            with self._settling:
                self._settling.wait_for(lambda: self._settled >= accepted, SETTLE)

    def rows(self, sql: str, values: Sequence[object]) -> list[tuple[Any, ...]]:
        """Return the rows of a query. Not for the loop's thread.

        Raises:
            StoreFailedError: it failed.
        """
        try:
            return self._fetch(sql, values)
        except (sqlite3.Error, OverflowError, UnicodeEncodeError) as error:
            raise StoreFailedError(str(error)) from error

    def _fetch(self, sql: str, values: Sequence[object]) -> list[tuple[Any, ...]]:
        if self._reader is not None:
            return self._reader.execute(sql, values).fetchall()
        if self._writer is None:
            return []
        with self._lock:
            # The loop may add more meanwhile.
            if rows := [self._unwritten.popleft().row() for _ in range(len(self._unwritten))]:
                self._write(self._writer, rows)
            return self._writer.execute(sql, values).fetchall()

    def listing(self, of: Filter, page: Page) -> dict[str, object]:
        """Show a page of rows as the API does. Not for the loop's thread."""
        total = int(self.rows(*count_sql(of))[0][0])
        rows = self.export(of, page)
        listing: dict[str, object] = {
            "data": rows,
            "page": page.number,
            "limit": page.limit,
            "total": total,
            "total_pages": -(-total // page.limit),
        }
        if page.sort == "id" and len(rows) == page.limit:
            listing["next_cursor"] = str(rows[-1]["id"])
        return listing

    def export(self, of: Filter, page: Page) -> list[dict[str, object]]:
        """Show many rows as dictionaries. Not for the loop's thread."""
        captured = self._captures.ids()
        return [shown(row, captured.__contains__) for row in self.rows(*page_sql(of, page))]

    def stats(self, of: Filter) -> dict[str, object]:
        """Compute totals, and histograms of the newest speeds. Not for the loop's thread."""
        if len(of.models) <= 1 and of == Filter(models=of.models):
            sums = self._totals.of(of.models[0] if of.models else None)
        else:
            sums = Sums(*self.rows(*totals_sql(of))[0])
        speeds = self.rows(*speeds_sql(of))
        return {
            "total_requests": sums.requests,
            "total_input_tokens": int(sums.prompt),
            "total_output_tokens": int(sums.generated),
            "total_cache_tokens": int(sums.cached),
            "prompt_histogram": histogram([float(row[0]) for row in speeds if row[0] > 0]),
            "gen_histogram": histogram([float(row[1]) for row in speeds if row[1] > 0]),
        }
