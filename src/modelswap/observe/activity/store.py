"""The activity store: one thread writes, questions are answered off the loop.

Law: `record` puts rows into a bounded queue and returns; a full queue drops
and counts. Whatever happens to the disk, requests go on. The `done` callback
runs on the loop after the rows (and their captures) can be read.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

from .database import UnusableError, last_id, open_file, open_memory, open_reader
from .query import Filter, Page, count_sql, histogram, page_sql, speeds_sql, totals_sql
from .rows import INSERT, ActivityRecord, Row, shown

if TYPE_CHECKING:
    import sqlite3

    from modelswap.observe.captures import CaptureBuilder, Captures

QUEUE: Final = 20_000
BATCH: Final = 500
GATHER: Final = 0.05
"""Seconds that rows are gathered before one transaction takes them all."""
SETTLE: Final = 1.0
"""Seconds that a question waits for rows that were recorded before it."""
SWEEP: Final = 60.0
"""Seconds between looks for rows that are too old."""
DEFAULT_ROWS: Final = 1000
_OK: Final = 200

Warn = Callable[[str], None]
T = TypeVar("T")
Done = Callable[[Sequence[int]], None]
_Item = tuple[ActivityRecord, "CaptureBuilder | None"]


class StoreFailedError(Exception):
    """A question could not be answered; the text says why."""


class Store:
    """Rows of finished requests, in memory or in a file."""

    def __init__(
        self,
        captures: Captures,
        *,
        path: str | None = None,
        max_rows: int = DEFAULT_ROWS,
        retention: float | None = None,
        file_rows: int | None = None,
        warn: Warn,
        done: Done | None = None,
    ) -> None:
        """`max_rows` bounds the store in memory, `file_rows` one in a file, `retention` (seconds) both."""
        self._captures = captures
        self._path = Path(path) if path else None
        self._max_rows = max_rows if max_rows > 0 else DEFAULT_ROWS
        self._retention = retention
        self._file_rows = file_rows
        self._warn = warn
        self._done = done
        self._queue: deque[_Item] = deque()
        self._wake = threading.Event()
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._writer: sqlite3.Connection | None = None
        self._reader: sqlite3.Connection | None = None
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._askers = ThreadPoolExecutor(1, "store-query")
        self._next = 1
        self._swept = 0.0
        self._complained = ""
        self._unasked: deque[ActivityRecord] = deque(maxlen=self._max_rows)
        """In memory, rows go into the database only when somebody asks: most never have to."""
        self.dropped = 0
        """Rows lost to a full queue or disk."""
        self._accepted = 0
        self._settled = 0
        """How many rows were taken, and how many of them are where a question finds them."""
        self._settling = threading.Condition()
        self._asked = threading.Event()
        """Somebody waits for rows that are still queued: write now."""

    @property
    def in_memory(self) -> bool:
        return self._path is None

    def open(self) -> None:
        """Open the store; an unusable file is left alone and memory takes its place."""
        if self._path is not None:
            try:
                self._writer = open_file(self._path)
                self._reader = open_reader(self._path)
            except UnusableError as error:
                said = "the file is left as it is, activity is kept in memory only"
                self._tell(self._warn, f"activity store {self._path}: {error}; {said}")
                self._path = None
        if self._writer is None:
            self._writer = open_memory()
        self._next = last_id(self._writer) + 1

    def start(self) -> None:
        """Start the writer; needs the running loop, where `done` and `warn` will be called."""
        self._loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._run, name="store", daemon=True)
        self._thread.start()

    async def begin(self) -> None:
        """Open off the loop, and start."""
        self._loop = asyncio.get_running_loop()
        await asyncio.to_thread(self.open)
        self.start()

    def is_at(self, path: str | None) -> bool:
        """Whether this is the store of that file, or of memory when there is none."""
        if path is None or self._path is None:
            return path is None and self._path is None
        return Path(path).resolve() == self._path.resolve()

    def configure(
        self, *, max_rows: int, retention: float | None, file_rows: int | None = None
    ) -> None:
        """Take over settings that may change while running."""
        self._max_rows = max_rows if max_rows > 0 else DEFAULT_ROWS
        with self._lock:
            self._unasked = deque(self._unasked, maxlen=self._max_rows)
        self._retention = retention
        self._file_rows = file_rows

    def next_ids(self, count: int) -> int:
        """The first of so many ids in a row that were not given before."""
        first = self._next
        self._next = first + count
        return first

    def next_after(self, count: int) -> int:
        """The id that will be the next when so many more were given."""
        return self._next + count

    def skip_to(self, first: int) -> None:
        """Give no id below *first*: another process does."""
        self._next = max(self._next, first)

    def record(
        self, records: Sequence[ActivityRecord], drafts: Mapping[int, CaptureBuilder]
    ) -> None:
        """Keep records (with ids from `next_ids`) and by their ids the captures. Never waits."""
        if self._path is None and all(draft.is_cheap for draft in drafts.values()):
            # Waking a thread for this would cost more than doing it.
            self._unasked.extend(records)
            for number, draft in drafts.items():
                self._captures.keep(number, draft)
                self._captures.drop(draft)
            if self._done is not None:
                self._done([record.id for record in records])
            return
        room = QUEUE - len(self._queue)
        self._queue.extend((record, drafts.get(record.id)) for record in records[:room])
        for record in records[room:]:
            self.dropped += 1
            if record.id in drafts:
                self._captures.drop(drafts[record.id])
        self._accepted += min(room, len(records))
        if not self._wake.is_set():
            self._wake.set()

    def close(self, timeout: float = 2.0, *, is_hurried: bool = True) -> None:
        """Write what is queued, for at most `timeout` seconds, and close.

        *is_hurried*: questions are broken off, not answered first.
        """
        self._stop.set()
        self._asked.set()
        self._wake.set()
        if self._thread is not None:
            self._thread.join(timeout)
            if self._thread.is_alive():
                return  # a disk that hangs must not hang the end of the program
        elif self._writer is not None:
            self._drain(self._writer)
        if self._reader is not None and is_hurried:
            self._reader.interrupt()  # a long question does not hold up the end
        self._askers.shutdown(wait=True, cancel_futures=is_hurried)
        for connection in (self._reader, self._writer):
            if connection is not None:
                connection.close()

    # The writer's thread

    def _run(self) -> None:
        while True:
            self._wake.wait(SWEEP)
            self._asked.wait(GATHER)
            stopping = self._stop.is_set()
            if not stopping:
                self._asked.clear()
            self._wake.clear()
            if self._writer is not None:
                self._drain(self._writer)
                self._sweep(self._writer)
            if stopping:
                return

    def _drain(self, connection: sqlite3.Connection) -> None:
        while self._queue:
            batch = [self._queue.popleft() for _ in range(min(BATCH, len(self._queue)))]
            rows = [record.row() for record, _ in batch]
            if self._path is None:
                with self._lock:
                    self._unasked.extend(rows)
            if self._path is None or self._insert(connection, rows):
                self._keep(zip(rows, (draft for _, draft in batch), strict=True))
                self._tell(self._done, [row.id for row in rows])
            else:
                self.dropped += len(rows)
            if drafts := [draft for _, draft in batch if draft is not None]:
                self._post(self._release, drafts)
            with self._settling:
                self._settled += len(batch)
                self._settling.notify_all()

    def _release(self, drafts: Iterable[CaptureBuilder]) -> None:
        for draft in drafts:
            self._captures.drop(draft)

    def _insert(self, connection: sqlite3.Connection, rows: Sequence[Row]) -> bool:
        import sqlite3  # noqa: PLC0415 -- loaded when needed: start-up time counts

        try:
            with self._lock:
                self._write(connection, rows)
        except (sqlite3.Error, UnicodeEncodeError, OverflowError) as error:
            self._complain(f"activity store: {error}; {len(rows)} rows were not kept")
            return False
        self._complained = ""
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

    def _complain(self, message: str) -> None:
        kind = message.split(";", 1)[0]
        if kind != self._complained:
            self._complained = kind
            self._tell(self._warn, message)

    def _keep(self, batch: Iterable[tuple[Row, CaptureBuilder | None]]) -> None:
        for row, draft in batch:
            empty = row.resp_status_code == _OK and not row.bytes_out
            if draft is not None and not empty:
                self._captures.keep(row.id, draft)

    def _sweep(self, connection: sqlite3.Connection) -> None:
        import sqlite3  # noqa: PLC0415 -- loaded when needed: start-up time counts

        now = time.monotonic()
        if self._retention is None or (self._swept and now - self._swept < SWEEP):
            return
        self._swept = now
        oldest = time.time_ns() // 1_000_000_000 - int(self._retention)
        try:
            with self._lock:
                connection.execute("DELETE FROM activity WHERE ts_created < ?", (oldest,))
        except sqlite3.Error as error:
            self._complain(f"activity store: {error}; old rows were not removed")

    def _tell(self, to: Callable[[Any], None] | None, what: object) -> None:
        if to is not None:
            self._post(to, what)

    def _post(self, to: Callable[[Any], None], what: object) -> None:
        loop = self._loop
        if loop is None or loop.is_closed():
            to(what)
            return
        try:
            loop.call_soon_threadsafe(to, what)
        except RuntimeError:  # the loop closed in between: nobody is left to tell
            return

    # Questions

    async def ask(self, question: Callable[[], T]) -> T:
        """Run something slow on the thread for questions; rows recorded before are seen."""
        accepted = self._accepted

        def settled() -> T:
            self._settle(accepted)
            return question()

        return await asyncio.get_running_loop().run_in_executor(self._askers, settled)

    def _settle(self, accepted: int) -> None:
        """Wait until so many rows are written, but not for a disk that hangs."""
        if self._settled < accepted and self._thread is not None:
            self._asked.set()
            with self._settling:
                self._settling.wait_for(lambda: self._settled >= accepted, SETTLE)

    def _rows(self, sql: str, values: Sequence[object]) -> list[tuple[Any, ...]]:
        import sqlite3  # noqa: PLC0415 -- loaded when needed: start-up time counts

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
            if rows := [self._unasked.popleft().row() for _ in range(len(self._unasked))]:
                self._write(self._writer, rows)
            return self._writer.execute(sql, values).fetchall()

    def listing(self, of: Filter, page: Page) -> dict[str, object]:
        """A page of rows as the API shows it. Not for the loop's thread."""
        total = int(self._rows(*count_sql(of))[0][0])
        rows = self._rows(*page_sql(of, page))
        captured = self._captures.ids()
        data = [shown(row, captured.__contains__) for row in rows]
        listing: dict[str, object] = {
            "data": data,
            "page": page.number,
            "limit": page.limit,
            "total": total,
            "total_pages": -(-total // page.limit),
        }
        if page.sort == "id" and len(rows) == page.limit:
            listing["next_cursor"] = str(rows[-1][0])
        return listing

    def export(self, of: Filter, page: Page) -> list[dict[str, object]]:
        """Many rows as dictionaries. Not for the loop's thread."""
        captured = self._captures.ids()
        return [shown(row, captured.__contains__) for row in self._rows(*page_sql(of, page))]

    def stats(self, of: Filter) -> dict[str, object]:
        """Totals and speed histograms. Not for the loop's thread."""
        count, given, made, cached = self._rows(*totals_sql(of))[0]
        prompt = [float(row[0]) for row in self._rows(*speeds_sql(of, "prompt_per_second"))]
        made_at = [float(row[0]) for row in self._rows(*speeds_sql(of, "tokens_per_second"))]
        return {
            "total_requests": count,
            "total_input_tokens": int(given),
            "total_output_tokens": int(made),
            "total_cache_tokens": int(cached),
            "prompt_histogram": histogram(prompt),
            "gen_histogram": histogram(made_at),
        }
