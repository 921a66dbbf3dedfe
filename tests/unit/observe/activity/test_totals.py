"""Totals are those of the rows, and a question reads few of them; counted, not timed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from modelswap.observe.activity.database import open_memory
from modelswap.observe.activity.totals import BLOCK, MOST_BLOCKS, BlockTotals, Sums

if TYPE_CHECKING:
    from collections.abc import Sequence

BLOCKS = 6
DIRECT = "SELECT COUNT(*), TOTAL(input_tokens), TOTAL(output_tokens), TOTAL(MAX(cache_tokens, 0)) FROM activity"


class Counted:
    """Totals of a database in memory; it notes the ids that each question reads."""

    def __init__(self, first: int = 1, last: int = BLOCKS * BLOCK) -> None:
        self.link = open_memory()
        self.read = 0
        self.totals = BlockTotals(self._rows)
        self.add(first, last)

    def add(self, first: int, last: int) -> None:
        """Rows of one second each, of two models."""
        self.link.execute(
            "WITH RECURSIVE c(n) AS (SELECT ? UNION ALL SELECT n + 1 FROM c WHERE n < ?) "
            "INSERT INTO activity (id, ts_created, model_id, input_tokens, output_tokens, cache_tokens)"
            " SELECT n, n, 'm' || (n % 2), n % 7, n % 5, n % 3 - 1 FROM c",
            (first, last),
        )

    def _rows(self, sql: str, values: Sequence[object]) -> list[tuple[Any, ...]]:
        if "id >= ? AND id < ?" in sql:
            count = "SELECT COUNT(*) FROM activity WHERE id >= ? AND id < ?"
            self.read += self.link.execute(count, values[:2]).fetchone()[0]
        return self.link.execute(sql, values).fetchall()

    def ask(self, model: str | None = None) -> int:
        """Check the totals; return how many rows were read for them."""
        self.read = 0
        where, values = ("", ()) if model is None else (" WHERE model_id = ?", (model,))
        expected = self.link.execute(DIRECT + where, values).fetchone()
        assert tuple(self.totals.of(model))[:4] == expected
        return self.read


def test_rows_are_added_up_once() -> None:
    """The first question reads all, the next ones the two ends, as new rows come."""
    counted = Counted()
    rows = BLOCKS * BLOCK
    assert counted.ask() == rows
    assert counted.ask("m1") == rows
    assert counted.ask() == BLOCK
    counted.add(rows + 1, rows + 25)
    for model in (None, "m1"):
        assert counted.ask(model) <= 2 * BLOCK + 25
        assert counted.ask(model) <= BLOCK + 25


def test_old_rows_leave() -> None:
    """By their number or their date, within a block or whole ones."""
    counted = Counted()
    counted.ask()
    counted.link.execute("DELETE FROM activity WHERE id <= ?", (BLOCK + 10,))
    assert counted.ask() <= 2 * BLOCK
    counted.link.execute("UPDATE activity SET ts_created = 5 WHERE id = ?", (4 * BLOCK + 7,))
    counted.totals = BlockTotals(counted._rows)
    counted.ask()
    counted.link.execute("DELETE FROM activity WHERE ts_created < 6")  # a clock that was set back
    counted.totals.deleted_before(6)
    assert counted.ask() <= 3 * BLOCK


def test_rows_of_another_process_may_still_come() -> None:
    """Until a hand-over is over the old front writes rows with the ids that were left to it."""
    counted = Counted()
    first = range(BLOCKS * BLOCK + 1, BLOCKS * BLOCK + 50)
    second = range(first.stop + 3 * BLOCK, first.stop + 3 * BLOCK + 50)
    counted.totals.unsettled = [first, second]
    counted.add(first.stop, second.start - 1)
    counted.add(second.stop, second.stop + 3 * BLOCK)
    counted.ask()
    assert counted.ask() <= 4 * BLOCK, "their blocks, the first and the last"
    for gap in (first, second):
        counted.add(gap.start, gap.stop - 1)
        counted.ask()


def test_there_may_be_no_rows_or_large_gaps() -> None:
    """Nothing adds up to nothing; ids far apart are read at once."""
    counted = Counted(1, 1)
    counted.link.execute("DELETE FROM activity")
    assert counted.totals.of(None) == Sums()
    counted.add(1, 3)
    counted.add((MOST_BLOCKS + 2) * BLOCK, (MOST_BLOCKS + 2) * BLOCK + 2)
    assert counted.ask() == 6
    assert counted.ask() == 6
