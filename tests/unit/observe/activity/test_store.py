"""The activity store on real SQLite files."""

from __future__ import annotations

import asyncio
import sqlite3
from typing import TYPE_CHECKING, Any

import pytest

from modelswap.observe.activity.export import as_csv, as_lines
from modelswap.observe.activity.query import Filter, Page, histogram
from modelswap.observe.activity.rows import Row
from modelswap.observe.activity.store import QUEUE, Store, StoreFailedError
from modelswap.observe.captures import Captures
from modelswap.observe.logs.redaction import HeaderMask

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

OLD = (
    "CREATE TABLE activity (id INTEGER PRIMARY KEY AUTOINCREMENT, ts_created INTEGER NOT NULL DEFAULT 0,"
    " model_id TEXT NOT NULL DEFAULT '', req_path TEXT NOT NULL DEFAULT '', resp_content_type TEXT NOT NULL"
    " DEFAULT '', resp_status_code INTEGER NOT NULL DEFAULT 0, cache_tokens INTEGER NOT NULL DEFAULT 0,"
    " draft_tokens INTEGER NOT NULL DEFAULT 0, draft_acc_tokens INTEGER NOT NULL DEFAULT 0, input_tokens"
    " INTEGER NOT NULL DEFAULT 0, output_tokens INTEGER NOT NULL DEFAULT 0, prompt_per_second REAL NOT NULL"
    " DEFAULT 0, tokens_per_second REAL NOT NULL DEFAULT 0, duration_ms INTEGER NOT NULL DEFAULT 0,"
    " error_msg TEXT NOT NULL DEFAULT '', metadata_json TEXT NOT NULL DEFAULT '');"
    "CREATE TABLE goose_db_version (id INTEGER PRIMARY KEY AUTOINCREMENT, version_id INTEGER NOT NULL,"
    " is_applied INTEGER NOT NULL, tstamp TIMESTAMP DEFAULT (datetime('now')));"
    "INSERT INTO goose_db_version (version_id, is_applied) VALUES (0, 1), (1, 1);"
    "INSERT INTO activity (id, ts_created, model_id) VALUES (41, 1790000000, 'old');"
)


def a_row(store: Store, model: str = "m", status: int = 200, **fields: Any) -> Row:
    row = Row(
        store.next_ids(1), 1_790_000_000, model, "/v1/chat/completions", "application/json", status,
        0, 0, 0, 12, 7, 100.0, 50.0, 5, "", '{"fifo_priority":"0"}', bytes_out=1,
    )  # fmt: skip
    return row._replace(**fields)


class OpenStore:
    """An open store with its warnings."""

    def __init__(self, path: Path | None = None, **settings: object) -> None:
        self.warnings: list[str] = []
        self.done: list[int] = []
        self.captures = Captures(1 << 20, HeaderMask())
        self.store = Store(
            self.captures,
            path=None if path is None else str(path),
            warn=self.warnings.append,
            on_recorded=self.done.extend,
            **settings,  # type: ignore[arg-type]  # settings of the store
        )
        self.store.open()

    def ids(self, of: Filter | None = None, page: Page | None = None) -> list[object]:
        listing = self.store.listing(of or Filter(), page or Page())
        return [entry["id"] for entry in listing["data"]]  # type: ignore[attr-defined]  # a list


def written(opened: OpenStore, *rows: Row) -> None:
    """Record rows and wait until they are written, without a loop."""
    for row in rows:
        opened.store.record([row], {})
    assert opened.store._writer is not None
    opened.store._drain(opened.store._writer)


async def test_a_recorded_row_is_listed_and_published() -> None:
    """A row appears in the list as the API shows it, and its id is published after that."""
    opened = OpenStore()
    published = asyncio.Event()

    def on_done(ids: Sequence[int]) -> None:
        opened.done.extend(ids)
        published.set()

    opened.store._on_recorded = on_done
    opened.store.start()
    opened.store.record([a_row(opened.store, requested="alias", key_name="k")], {})
    async with asyncio.timeout(30):
        await published.wait()
    listing = await opened.store.run_query(lambda: opened.store.listing(Filter(), Page()))
    entry = listing["data"][0]  # type: ignore[index]  # a list
    assert opened.done == [entry["id"]] == [1]
    assert entry["tokens"]["input_tokens"] == 12
    assert entry["metadata"] == {"fifo_priority": "0"}
    assert "error_msg" not in entry
    assert (entry["requested"], entry["key"], listing["total_pages"]) == ("alias", "k", 1)
    opened.store.close()


def test_memory_keeps_the_newest_rows() -> None:
    """The in-memory store never holds more than its number of rows; ids go on."""
    opened = OpenStore(max_rows=10)
    written(opened, *(a_row(opened.store) for _ in range(25)))
    assert opened.ids() == list(range(25, 15, -1))
    written(opened, a_row(opened.store))
    assert opened.ids() == list(range(26, 16, -1))
    opened.store.close()


def test_a_file_of_llama_swap_is_used(tmp_path: Path) -> None:
    """An llama-swap file keeps its rows and its form, gains our columns, and ids go on."""
    path = tmp_path / "activity.db"
    link = sqlite3.connect(path)
    link.executescript(OLD)
    link.close()
    opened = OpenStore(path)
    assert opened.warnings == []
    written(opened, a_row(opened.store, client="10.0.0.1"))
    assert opened.ids() == [42, 41]
    opened.store.close()
    link = sqlite3.connect(path)
    link.execute("INSERT INTO activity (ts_created, model_id) VALUES (1, 'by llama-swap')")
    assert link.execute("SELECT MAX(version_id) FROM goose_db_version").fetchone() == (1,)
    assert link.execute("SELECT client FROM activity WHERE id = 42").fetchone() == ("10.0.0.1",)
    link.rollback()
    link.close()


def test_a_file_keeps_its_rows_over_restarts(tmp_path: Path) -> None:
    """Rows in a file outlive the program and are not bounded by the in-memory number."""
    path = tmp_path / "a.db"
    first = OpenStore(path, max_rows=1)
    written(first, a_row(first.store), a_row(first.store))
    first.store.close()
    second = OpenStore(path, max_rows=1)
    written(second, a_row(second.store))
    assert second.ids() == [3, 2, 1]
    second.store.close()


def test_other_processes_that_still_write() -> None:
    """Their ids are not given; those of every one are told to the process that comes next."""
    store = OpenStore(None).store
    store.skip_to(store.next_after(10), [range(-8, -3)])
    assert store.unsettled == [range(-8, -3), range(1, 11)]
    assert store.next_ids(1) == 11


FOREIGN = "CREATE TABLE activity (id INTEGER PRIMARY KEY, what TEXT)"


@pytest.mark.parametrize("kind", ["text", "cut", "foreign", "folder"])
def test_an_unusable_file_is_not_changed(tmp_path: Path, kind: str) -> None:
    """Not a database, damaged, someone else's, or no file: memory serves, and the file is untouched."""
    path = tmp_path / "a.db"
    if kind == "folder":
        path.mkdir()
    elif kind == "text":
        path.write_bytes(b"hello " * 1000)
    else:
        link = sqlite3.connect(path)
        link.executescript(FOREIGN if kind == "foreign" else OLD)
        if kind == "cut":
            link.executemany("INSERT INTO activity (model_id) VALUES (?)", [("x" * 900,)] * 200)
            link.commit()
        link.close()
        if kind == "cut":
            path.write_bytes(path.read_bytes()[:9000])
    before = None if kind == "folder" else path.read_bytes()
    opened = OpenStore(path)
    assert len(opened.warnings) == 1
    assert "the file is left as it is" in opened.warnings[0]
    written(opened, a_row(opened.store))
    assert opened.ids() == [1]
    opened.store.close()
    if before is not None:
        assert path.read_bytes() == before
        assert list(tmp_path.iterdir()) == [path]


def test_a_full_disk_loses_rows_and_nothing_else(tmp_path: Path) -> None:
    """When the database cannot grow, rows are dropped and counted, one warning says so, and later rows work."""
    opened = OpenStore(tmp_path / "a.db")
    assert opened.store._writer is not None
    pages = opened.store._writer.execute("PRAGMA page_count").fetchone()[0]
    opened.store._writer.execute(f"PRAGMA max_page_count={pages + 2}")
    for _ in range(3):
        written(opened, *(a_row(opened.store, error_msg="e" * 400) for _ in range(100)))
    assert opened.store.dropped > 0
    assert len(opened.warnings) == 1
    assert "full" in opened.warnings[0]
    opened.store._writer.execute("PRAGMA max_page_count=100000")
    written(opened, a_row(opened.store, model="after"))
    assert opened.ids(Filter(models=["after"])) != []
    opened.store.close()


def test_a_full_queue_drops_and_counts(tmp_path: Path) -> None:
    """Recording never waits: what the queue cannot hold is counted."""
    opened = OpenStore(tmp_path / "a.db")
    row = a_row(opened.store)
    for _ in range(QUEUE + 5):
        opened.store.record([row], {})
    assert opened.store.dropped == 5
    opened.store._queue.clear()
    opened.store.close()


def test_old_rows_are_removed_from_a_file(tmp_path: Path) -> None:
    """Retention by age works for files."""
    opened = OpenStore(tmp_path / "a.db", retention=3600.0)
    written(opened, a_row(opened.store, ts_created=1000), a_row(opened.store, ts_created=1 << 40))
    assert opened.store._writer is not None
    opened.store._sweep(opened.store._writer)
    assert opened.ids() == [2]
    opened.store.close()


def test_a_file_keeps_the_newest_rows(tmp_path: Path) -> None:
    """Retention by number works for files, and a reload changes it."""
    opened = OpenStore(tmp_path / "a.db", file_rows=2)
    written(opened, *(a_row(opened.store) for _ in range(5)))
    assert opened.ids() == [5, 4]
    opened.store.configure(max_rows=1000, retention=None, file_rows=None)
    written(opened, *(a_row(opened.store) for _ in range(3)))
    assert opened.ids() == [8, 7, 6, 5, 4]
    opened.store.close()


@pytest.fixture
def ten() -> OpenStore:
    opened = OpenStore()
    written(
        opened,
        *(
            a_row(
                opened.store,
                model="ab"[n % 2],
                status=(200, 404, 503)[n % 3],
                ts_created=100 + n,
                input_tokens=10 - n,
                tokens_per_second=float(n),
                key_name="k" if n == 4 else "",
                error_msg="100% wrong" if n == 7 else "",
            )
            for n in range(10)
        ),
    )
    return opened


@pytest.mark.parametrize(
    ("of", "page", "expected"),
    [
        (Filter(models=["a"]), Page(), [9, 7, 5, 3, 1]),
        (Filter(models=["a", "b"]), Page(limit=3, number=2), [7, 6, 5]),
        (Filter(start=103, end=105), Page(ascending=True), [4, 5, 6]),
        (Filter(min_id=4, max_id=6), Page(), [6, 5, 4]),
        (Filter(statuses=[(404, 404), (500, 599)]), Page(limit=4), [9, 8, 6, 5]),
        (Filter(keys=["k"]), Page(), [5]),
        (Filter(text="0%"), Page(), [8]),
        (Filter(), Page(sort="prompt", limit=3, ascending=True), [10, 9, 8]),
        (Filter(), Page(cursor=4), [3, 2, 1]),
        (Filter(), Page(cursor=8, ascending=True), [9, 10]),
        (Filter(), Page(number=99), []),
        (Filter(models=["'; DROP TABLE activity; --"]), Page(), []),
    ],
)
def test_the_list_is_filtered_sorted_and_paged(
    ten: OpenStore, of: Filter, page: Page, expected: list[int]
) -> None:
    """Filters hold together, ties go by id, a cursor continues where a page ended."""
    assert ten.ids(of, page) == expected
    ten.store.close()


def test_statistics_add_up(ten: OpenStore) -> None:
    """Totals and histograms follow the rules of llama-swap."""
    stats = ten.store.stats(Filter())
    assert (stats["total_requests"], stats["total_input_tokens"]) == (10, 55)
    speeds = stats["gen_histogram"]
    assert isinstance(speeds, dict)
    assert (sum(speeds["bins"]), len(speeds["bins"])) == (9, 5)
    assert (speeds["min"], speeds["max"], speeds["p50"]) == (1.0, 9.0, 5.0)
    assert histogram([]) is None
    assert histogram([3.0, 3.0]) == {
        "bins": [2], "min": 3.0, "max": 3.0, "binSize": 0.0, "p50": 3.0, "p95": 3.0, "p99": 3.0,
    }  # fmt: skip
    ten.store.close()


def test_speeds_are_those_of_the_newest_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only so many rows are read for them, of all models or of one."""
    monkeypatch.setattr("modelswap.observe.activity.query.SPEEDS", 3)
    opened = OpenStore()
    rows = [a_row(opened.store, "ab"[n % 2], tokens_per_second=float(n)) for n in range(10)]
    written(opened, *rows)
    for of, fastest, slowest in ((Filter(), 9.0, 7.0), (Filter(models=["a"]), 8.0, 4.0)):
        speeds = opened.store.stats(of)["gen_histogram"]
        assert isinstance(speeds, dict)
        assert (sum(speeds["bins"]), speeds["max"], speeds["min"]) == (3, fastest, slowest)
    opened.store.close()


def test_rows_are_exported(ten: OpenStore) -> None:
    """CSV has a head and a line per row, and no cell that a spreadsheet would run."""
    rows = ten.store.export(Filter(), Page(limit=1000))
    rows[0]["client"] = "=cmd()"
    table = as_csv(rows).decode().splitlines()
    assert len(table) == 11
    assert table[0].startswith("id,timestamp,")
    assert ",'=cmd()," in table[1]
    assert len(as_lines(rows).splitlines()) == 10
    ten.store.close()


def test_a_store_that_breaks_later_raises(tmp_path: Path) -> None:
    """A question that the database cannot answer is one error, not a crash."""
    opened = OpenStore(tmp_path / "a.db")
    assert opened.store._writer is not None
    opened.store._writer.execute("DROP TABLE activity")
    with pytest.raises(StoreFailedError):
        opened.ids()
    opened.store.close()


async def test_another_store_replaces_one(tmp_path: Path) -> None:
    """Begun off the loop, it says which file it is; the one it follows answers its questions first."""
    captures = Captures(1 << 20, HeaderMask())
    stores = [Store(captures, path=str(tmp_path / f), warn=print) for f in ("a.db", "b.db")]
    for store in stores:
        await store.begin()
    first, second = stores
    first.record([a_row(first)], {})
    async with asyncio.TaskGroup() as tasks:
        asked = tasks.create_task(first.run_query(lambda: first.listing(Filter(), Page())))
        await asyncio.sleep(0)
        await asyncio.to_thread(first.close, is_hurried=False)
    assert asked.result()["total"] == 1
    assert (await second.run_query(lambda: second.listing(Filter(), Page())))["total"] == 0
    assert first.is_at(str(tmp_path / "." / "a.db"))
    assert not first.is_at(str(tmp_path / "b.db"))
    assert not first.is_at(None)
    second.close()
    assert Store(captures, warn=print).is_at(None)


async def test_the_warning_about_an_unusable_file_comes_on_the_loop(tmp_path: Path) -> None:
    """The warning about a file found unusable off the loop comes on it, and memory takes its place."""
    (tmp_path / "a.db").write_text("no database at all")
    warnings: list[str] = []
    store = Store(Captures(0, HeaderMask()), path=str(tmp_path / "a.db"), warn=warnings.append)
    await store.begin()
    await asyncio.sleep(0)
    assert "kept in memory only" in warnings[0]
    assert store.is_at(None)
    store.close()
