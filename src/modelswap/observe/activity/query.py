"""SQL queries of the activity store.

Guarantees: every value is bound; every name comes from a table in this module. Pure.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from modelswap.deferred import dataclass

from .rows import COLUMNS

if TYPE_CHECKING:
    from collections.abc import Sequence

SORTS: Final = {
    "id": "id",
    "time": "ts_created",
    "model": "model_id",
    "req_path": "req_path",
    "resp_status_code": "resp_status_code",
    "resp_content_type": "resp_content_type",
    "cached": "cache_tokens",
    "prompt": "input_tokens",
    "generated": "output_tokens",
    "drafted": "draft_tokens",
    "prompt_speed": "prompt_per_second",
    "gen_speed": "tokens_per_second",
    "duration": "duration_ms",
    "ttft": "ttft_ms",
}
SPEEDS: Final = 10_000
"""Requests whose speeds are shown: their percentiles are as good as those of all, and take some 10 ms."""
LIKE: Final = " LIKE ? ESCAPE '\\'"


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """Selects rows: all conditions hold together, the values of one condition are alternatives."""

    models: Sequence[str] = ()
    start: int | None = None
    """Seconds since the epoch, inclusive."""
    end: int | None = None
    min_id: int | None = None
    max_id: int | None = None
    statuses: Sequence[tuple[int, int]] = ()
    """Ranges, inclusive: `(404, 404)`, `(500, 599)`."""
    paths: Sequence[str] = ()
    keys: Sequence[str] = ()
    clients: Sequence[str] = ()
    text: str = ""
    """Found in model, requested name, path or error message."""

    def where(self) -> tuple[str, list[object]]:
        parts: list[str] = []
        values: list[object] = []
        for name, choices in (
            ("model_id", self.models),
            ("req_path", self.paths),
            ("key_name", self.keys),
            ("client", self.clients),
        ):
            if choices:
                parts.append(f"{name} IN ({', '.join('?' * len(choices))})")
                values.extend(choices)
        for condition, bound in (
            ("ts_created >= ?", self.start),
            ("ts_created <= ?", self.end),
            ("id >= ?", self.min_id),
            ("id <= ?", self.max_id),
        ):
            if bound is not None:
                parts.append(condition)
                values.append(bound)
        if self.statuses:
            parts.append(
                f"({' OR '.join(['resp_status_code BETWEEN ? AND ?'] * len(self.statuses))})"
            )
            values.extend(bound for pair in self.statuses for bound in pair)
        if self.text:
            columns = ("model_id", "requested", "req_path", "error_msg")
            parts.append(f"({' OR '.join(column + LIKE for column in columns)})")
            values.extend([_like(self.text)] * len(columns))
        return (f" WHERE {' AND '.join(parts)}" if parts else ""), values


def _like(text: str) -> str:
    for special in "\\%_":
        text = text.replace(special, "\\" + special)
    return f"%{text}%"


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """A part of the rows and its order. A cursor selects the ids beyond it and replaces `number`."""

    limit: int = 25
    number: int = 1
    sort: str = "id"
    ascending: bool = False
    cursor: int | None = None


def count_sql(of: Filter) -> tuple[str, list[object]]:
    where, values = of.where()
    return f"SELECT COUNT(*) FROM activity{where}", values  # noqa: S608 -- values are bound


def page_sql(of: Filter, page: Page) -> tuple[str, list[object]]:
    where, values = of.where()
    direction = "ASC" if page.ascending else "DESC"
    if page.cursor is not None:
        sign = ">" if page.ascending else "<"
        where += f"{' AND' if where else ' WHERE'} id {sign} ?"
        values.append(page.cursor)
    column = SORTS[page.sort]
    order = f"id {direction}" if column == "id" else f"{column} {direction}, id {direction}"
    offset = 0 if page.cursor is not None else (page.number - 1) * page.limit
    sql = f"SELECT {', '.join(COLUMNS)} FROM activity{where} ORDER BY {order} LIMIT ? OFFSET ?"  # noqa: S608 -- values are bound
    return sql, [*values, page.limit, offset]


def totals_sql(of: Filter) -> tuple[str, list[object]]:
    """Count the rows and sum their tokens; an unknown (negative) number counts as 0."""
    where, values = of.where()
    sums = "COUNT(*), TOTAL(input_tokens), TOTAL(output_tokens), TOTAL(MAX(cache_tokens, 0))"
    return f"SELECT {sums} FROM activity{where}", values  # noqa: S608 -- values are bound


def speeds_sql(of: Filter) -> tuple[str, list[object]]:
    """Select both speeds of the newest rows: how fast the models are now."""
    where, values = of.where()
    order = "ts_created DESC, id DESC" if where else "id DESC"  # as an index has it
    sql = (
        f"SELECT prompt_per_second, tokens_per_second FROM activity{where} ORDER BY {order} LIMIT ?"  # noqa: S608 -- values are bound
    )
    return sql, [*values, SPEEDS]


def histogram(values: list[float]) -> dict[str, object] | None:
    """Bins and percentiles of speeds; `None` without values."""
    if not values:
        return None
    values = sorted(values)
    low, high = values[0], values[-1]
    if low == high:
        bins, width = [len(values)], 0.0
    else:
        count = max(5, min(20, math.ceil(math.log2(len(values))) + 1))
        width = (high - low) / count
        bins = [0] * count
        for value in values:
            bins[min(int((value - low) / width), count - 1)] += 1
    return {
        "bins": bins,
        "min": low,
        "max": high,
        "binSize": width,
        "p50": percentile(values, 50),
        "p95": percentile(values, 95),
        "p99": percentile(values, 99),
    }


def percentile(ordered: Sequence[float], percent: float) -> float:
    """Linear interpolation at rank `percent / 100 * (n - 1)`."""
    rank = percent / 100 * (len(ordered) - 1)
    low = math.floor(rank)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (rank - low)
