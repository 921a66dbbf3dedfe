"""The columns of an activity row, its SQL schema, and its JSON form.

Guarantees: a row holds facts in the order of `COLUMNS`. The first sixteen columns are llama-swap's, so
both programs can use one file. Pure.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

import msgspec

from modelswap.observe.logs.timestamps import rfc3339

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


class Row(NamedTuple):
    """One completed request; the store gives its id."""

    id: int
    ts_created: int
    """When it ended, in seconds since the epoch."""
    model_id: str
    req_path: str
    resp_content_type: str
    resp_status_code: int
    cache_tokens: int
    draft_tokens: int
    draft_acc_tokens: int
    input_tokens: int
    output_tokens: int
    prompt_per_second: float
    tokens_per_second: float
    duration_ms: int
    error_msg: str
    metadata_json: str
    requested: str = ""
    client: str = ""
    key_name: str = ""
    stream: int = 0
    ttft_ms: int = -1
    queue_ms: int = -1
    load_ms: int = -1
    started_ms: int = 0
    """When it began, in milliseconds since the epoch."""
    finish_reason: str = ""
    bytes_in: int = 0
    bytes_out: int = 0
    wall_per_second: float = -1.0
    ending: str = ""
    """`done`, or how it failed: `client_gone`, `truncated`, `cancelled` …"""

    def row(self) -> Row:
        """Return itself: a row is also a record."""
        return self


class ActivityRecord(Protocol):
    """What the store accepts. It makes a row on demand: most rows are never queried."""

    @property
    def id(self) -> int: ...
    def row(self) -> Row: ...


COLUMNS: Final = Row._fields
REFERENCE: Final = COLUMNS[:16]  # the columns of a file of llama-swap
EXTRA: Final = COLUMNS[16:]

_TYPES: Final = {int: "INTEGER", float: "REAL", str: "TEXT"}
_decode = msgspec.json.Decoder(dict[str, str]).decode


def column(name: str) -> str:
    """Write the SQL definition of one column that llama-swap lacks."""
    default = Row._field_defaults[name]
    literal = f"'{default}'" if isinstance(default, str) else repr(default)
    return f"{name} {_TYPES[type(default)]} NOT NULL DEFAULT {literal}"


SCHEMA: Final = (
    "CREATE TABLE IF NOT EXISTS activity ("
    "id INTEGER PRIMARY KEY AUTOINCREMENT, ts_created INTEGER NOT NULL DEFAULT 0, "
    + ", ".join(f"{name} TEXT NOT NULL DEFAULT ''" for name in COLUMNS[2:5])
    + ", "
    + ", ".join(f"{name} INTEGER NOT NULL DEFAULT 0" for name in COLUMNS[5:11])
    + ", prompt_per_second REAL NOT NULL DEFAULT 0, tokens_per_second REAL NOT NULL DEFAULT 0"
    ", duration_ms INTEGER NOT NULL DEFAULT 0"
    ", error_msg TEXT NOT NULL DEFAULT '', metadata_json TEXT NOT NULL DEFAULT '', "
    + ", ".join(map(column, EXTRA))
    + ")"
)
INDEXES: Final = (
    "CREATE INDEX IF NOT EXISTS idx_activity_ts_created ON activity (ts_created DESC, id DESC)",
    "CREATE INDEX IF NOT EXISTS idx_activity_model_ts ON activity (model_id, ts_created DESC, id DESC)",
)
INSERT: Final = (
    f"INSERT INTO activity ({', '.join(COLUMNS)}) VALUES ({', '.join('?' * len(COLUMNS))})"  # noqa: S608 -- names of this module
)


def shown(values: Sequence[Any], has_capture: Callable[[int], bool]) -> dict[str, object]:
    """Show a row as `/api/metrics/activity` lists it."""
    row = Row(*values)
    entry: dict[str, object] = {
        "id": row.id,
        "timestamp": rfc3339(row.ts_created * 1_000_000_000),
        "model": row.model_id,
        "req_path": row.req_path,
        "resp_content_type": row.resp_content_type,
        "resp_status_code": row.resp_status_code,
        "tokens": {
            "cache_tokens": row.cache_tokens,
            "draft_tokens": row.draft_tokens,
            "draft_acc_tokens": row.draft_acc_tokens,
            "input_tokens": row.input_tokens,
            "output_tokens": row.output_tokens,
            "prompt_per_second": row.prompt_per_second,
            "tokens_per_second": row.tokens_per_second,
        },
        "duration_ms": row.duration_ms,
        "has_capture": has_capture(row.id),
    }
    if row.error_msg:
        entry["error_msg"] = row.error_msg
    if metadata := metadata_of(row.metadata_json):
        entry["metadata"] = metadata
    entry.update(_extra(row))
    return entry


def _extra(row: Row) -> dict[str, object]:
    extra: dict[str, object] = {
        "requested": row.requested,
        "client": row.client,
        "key": row.key_name,
        "stream": bool(row.stream),
        "bytes_in": row.bytes_in,
        "bytes_out": row.bytes_out,
    }
    if row.started_ms:
        extra["started"] = rfc3339(row.started_ms * 1_000_000, 3)
    for name in ("ttft_ms", "queue_ms", "load_ms", "wall_per_second"):
        if (value := getattr(row, name)) >= 0:
            extra[name] = value
    if row.finish_reason:
        extra["finish_reason"] = row.finish_reason
    if row.ending:
        extra["ending"] = row.ending
    return extra


def metadata_of(text: str) -> dict[str, str]:
    """Read the metadata of a row; empty without any, or when it cannot be read."""
    if not text:
        return {}
    try:
        return _decode(text)
    except msgspec.DecodeError:
        return {}
