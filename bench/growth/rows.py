"""What requests, the page's questions and a start cost with more activity rows."""

from __future__ import annotations

import contextlib
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from bench.growth.curve import Curve
from bench.growth.decisions import micros
from bench.growth.measure import asked, running, small_model, small_requests
from bench.growth.models import start
from modelswap.observe.activity.database import open_file
from modelswap.observe.activity.query import Filter, Page
from modelswap.observe.activity.rows import Row
from modelswap.observe.activity.store import Store
from modelswap.observe.captures import Captures
from modelswap.observe.logs.redaction import HeaderMask

if TYPE_CHECKING:
    from collections.abc import Iterator

AXIS = "activity rows"
SIZES = (1_000, 10_000, 100_000, 1_000_000)
PER_SECOND = 5
"""Requests in a second of the history."""
NEW = 25
"""Rows between two looks at the list."""
BATCHES = 1000
"""So many times that: enough for 40 rounds."""
INDEXES = "SELECT name FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL"
VALUES = {
    "id": "n",
    "ts_created": f"{{now}} - ({{count}} - n) / {PER_SECOND}",
    "model_id": "'model-' || (n % 20)",
    "req_path": "'/v1/chat/completions'",
    "resp_content_type": "'application/json'",
    "resp_status_code": "CASE n % 50 WHEN 0 THEN 500 ELSE 200 END",
    "input_tokens": "n % 3000",
    "output_tokens": "n % 700",
    "prompt_per_second": "100.0 + n % 2003",
    "tokens_per_second": "10.0 + n % 97",
    "duration_ms": "n % 20000",
    "client": "'127.0.0.1'",
}
"""SQL of the columns whose values differ; `n` counts the rows."""


def fill(path: Path, count: int) -> None:
    """Make a file of the program with so many rows: without its indexes, which are made at the end."""
    with contextlib.closing(open_file(path)) as link:
        for (name,) in link.execute(INDEXES).fetchall():
            link.execute(f"DROP INDEX {name}")
        values = ", ".join(VALUES.values()).format(now=int(time.time()), count=count)  # noqa: TID251 - rows have dates
        link.execute("BEGIN")
        link.execute(
            f"WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < {count}) "  # noqa: S608 - no value comes from outside
            f"INSERT INTO activity ({', '.join(VALUES)}) SELECT {values} FROM c"
        )
        link.execute("COMMIT")
    with contextlib.closing(open_file(path)):  # it makes the indexes
        return


PAGE = "/api/metrics/activity?limit=25&page=1"
QUESTIONS = {
    "the list": PAGE,
    "the list of one model": f"{PAGE}&model=model-7",
    "the list of failures": f"{PAGE}&status=5xx",
    "the totals": "/api/metrics/stats",
    "the totals of one model": "/api/metrics/stats?model=model-7",
}
"""As the page asks them; it asks again while requests end, at most once a second."""


def _memory(size: int) -> tuple[Store, Iterator[list[Row]]]:
    """A store in memory that is full, and the rows that come next, some at a time."""
    captures = Captures(0, HeaderMask(()), most=0)
    store = Store(captures, max_rows=size, warn=print)
    store.open()
    row = _row(0)
    store.record([row._replace(id=number) for number in range(1, size + 1)], {})
    store.next_ids(size)
    store.listing(Filter(), Page())
    batches = [
        [row._replace(id=size + at * NEW + number) for number in range(1, NEW + 1)]
        for at in range(BATCHES)
    ]
    return store, iter(batches)


def _row(number: int) -> Row:
    path, kind = "/v1/chat/completions", "application/json"
    return Row(number, 0, "small", path, kind, 200, 0, 0, 0, 9, 9, 90.0, 9.0, 100, "", "")


def _record(store: Store, coming: Iterator[list[Row]]) -> None:
    store.record(next(coming), {})


def _list(store: Store, coming: Iterator[list[Row]]) -> None:
    store.record(next(coming), {})
    store.listing(Filter(), Page())


def _in_memory(rounds: int, *, quick: bool) -> list[Curve]:
    """The store alone, in this process: its rows come sooner than by so many requests."""
    record = Curve(AXIS, "in memory: a row is recorded", "µs/row", flat=1.25)
    listing = Curve(AXIS, "in memory: the list, 25 new rows", "ms/question", flat=2)
    sizes = SIZES[:2] if quick else SIZES[:3]
    stores = {size: _memory(size) for size in sizes}
    try:
        for _ in range(rounds):
            for size, (store, coming) in stores.items():
                record.add(size, micros(partial(_record, store, coming), 20) / NEW)
                store.listing(Filter(), Page())
                listing.add(size, micros(partial(_list, store, coming), 5) / 1e3)
    finally:
        for store, _ in stores.values():
            store.close()
    return [record, listing]


def by_rows(rounds: int, *, quick: bool) -> list[Curve]:
    request = Curve(AXIS, "small request: CPU", "µs/request", flat=1.25)
    questions = {name: Curve(AXIS, f"{name}: CPU", "ms/question", most=100) for name in QUESTIONS}
    begun = Curve(AXIS, "start to first 200: CPU", "ms/start", flat=1.25)
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as stack:
        servers = {}
        texts = {}
        for size in SIZES[:-1] if quick else SIZES:
            directory = Path(name) / str(size)
            directory.mkdir()
            fill(directory / "rows.db", size)
            texts[size] = (
                f"store: {{path: {directory / 'rows.db'}}}\nmodels:\n{small_model(directory)}"
            )
            begun.add(size, start(directory, texts[size]))
            servers[size] = stack.enter_context(running(directory, texts[size]))
        for _ in range(rounds):
            for size, server in servers.items():
                request.add(size, small_requests(server, 1000 if quick else 2000))
            for label, path in QUESTIONS.items():
                for size, server in servers.items():
                    server.chat("small")
                    questions[label].add(size, asked(server, [path]))
    return [request, *questions.values(), begun, *_in_memory(rounds, quick=quick)]
