"""Totals of all activity rows, or of one model's, added up block by block.

Guarantees: the rows of a block of `BLOCK` ids are added up once. Later questions read the first block,
which loses its oldest rows, and the newest one, which still grows; so they cost the same however many
rows there are. A block counts anew when old rows of it were deleted by their date.
Memory: some 200 bytes a block and model that was asked for, of at most `MODELS` models.
Does not: notice rows that another program deletes from the middle.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from modelswap.bounded_cache import BoundedCache

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    Rows = Callable[[str, Sequence[object]], list[tuple[Any, ...]]]

BLOCK: Final = 4096
"""Ids: two blocks are read in some milliseconds, and a million rows are 250 blocks."""
MODELS: Final = 16
"""Models whose blocks are kept; more are added up anew when they are asked for."""
MOST_BLOCKS: Final = 1 << 16
"""Blocks between the first and the last id; a file with larger gaps in its ids is read as a whole."""
_ENDS: Final = "SELECT (SELECT MIN(id) FROM activity), (SELECT MAX(id) FROM activity)"


class Sums(NamedTuple):
    """An unknown (negative) number of tokens counts as 0."""

    requests: int = 0
    prompt: float = 0.0
    generated: float = 0.0
    cached: float = 0.0
    oldest: int = 0
    """Seconds since the epoch."""


_NONE: Final = Sums()


def _blocks_sql(model: str | None, blocks: range) -> tuple[str, list[object]]:
    values: list[object] = [blocks.start * BLOCK, blocks.stop * BLOCK]
    condition = ""
    if model is not None:
        condition = " AND +model_id = ?"  # the sign: the ids select fewer rows than the model does
        values.append(model)
    sums = "TOTAL(input_tokens), TOTAL(output_tokens), TOTAL(MAX(cache_tokens, 0)), MIN(ts_created)"
    sql = f"SELECT id / {BLOCK}, COUNT(*), {sums} FROM activity WHERE id >= ? AND id < ?{condition}"  # noqa: S608 -- values are bound
    return f"{sql} GROUP BY 1", values


class BlockTotals:
    def __init__(self, rows: Rows) -> None:
        """*rows* runs a query. One thread asks at a time."""
        self._rows = rows
        self._known: BoundedCache[str | None, dict[int, Sums]] = BoundedCache(MODELS)
        self.unsettled: list[range] = []
        """Ids with which other processes may still write rows: their blocks are not kept."""
        self._deleted_before = 0

    def deleted_before(self, second: int) -> None:
        """Note that rows older than this were deleted. For the writer's thread."""
        self._deleted_before = second

    def of(self, model: str | None) -> Sums:
        """Add up the rows of a model; `None`: all rows."""
        first, last = self._rows(_ENDS, ())[0]
        if first is None:
            return _NONE
        low, high = first // BLOCK, last // BLOCK
        if high - low > MOST_BLOCKS:
            return _added(self._read(model, range(low, high + 1)).values())
        known = self._known.get(model, {})
        before = self._deleted_before
        kept = {n: sums for n, sums in known.items() if n > low and sums.oldest >= before}
        found: dict[int, Sums] = {}
        for run in _runs(n for n in range(low, high + 1) if n not in kept):
            found |= dict.fromkeys(run, _NONE._replace(oldest=before)) | self._read(model, run)
        total = _added((*kept.values(), *found.values()))
        self._known[model] = kept | {
            n: sums for n, sums in found.items() if low < n < high and self._is_settled(n)
        }
        return total

    def _is_settled(self, block: int) -> bool:
        first, stop = block * BLOCK, (block + 1) * BLOCK
        return all(ids.stop <= first or stop <= ids.start for ids in self.unsettled)

    def _read(self, model: str | None, blocks: range) -> dict[int, Sums]:
        return {row[0]: Sums(*row[1:]) for row in self._rows(*_blocks_sql(model, blocks))}


def _runs(blocks: Iterable[int]) -> Iterator[range]:
    """Join neighbours: each run is one query."""
    run = range(0)
    for block in blocks:
        if run and block == run.stop:
            run = range(run.start, block + 1)
            continue
        if run:
            yield run
        run = range(block, block + 1)
    if run:
        yield run


def _added(parts: Iterable[Sums]) -> Sums:
    columns = list(zip(*parts, strict=True))
    return Sums(*map(sum, columns[:4])) if columns else _NONE
