"""Activity rows as JSON lines and CSV. Pure; not for the loop's thread."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping
from typing import Final, cast

import msgspec

COLUMNS: Final = (
    "id", "timestamp", "started", "model", "requested", "req_path", "resp_status_code",
    "resp_content_type", "cache_tokens", "input_tokens", "output_tokens", "draft_tokens",
    "draft_acc_tokens", "prompt_per_second", "tokens_per_second", "wall_per_second",
    "duration_ms", "ttft_ms", "queue_ms", "load_ms", "stream", "finish_reason", "ending",
    "client", "key", "bytes_in", "bytes_out", "error_msg", "metadata",
)  # fmt: skip

Entries = Iterable[Mapping[str, object]]


def as_lines(entries: Entries) -> bytes:
    return b"".join(msgspec.json.encode(entry) + b"\n" for entry in entries)


def as_csv(entries: Entries) -> bytes:
    """A table with a header line; no cell is read as a formula."""
    text = io.StringIO()
    table = csv.DictWriter(text, list[str](COLUMNS), restval="", extrasaction="ignore")
    table.writeheader()
    for entry in entries:
        flat = dict(entry) | cast("dict[str, object]", entry["tokens"])
        if "metadata" in flat:
            flat["metadata"] = msgspec.json.encode(flat["metadata"]).decode()
        table.writerow({name: _cell(value) for name, value in flat.items()})
    return text.getvalue().encode()


def _cell(value: object) -> object:
    """Quote what a spreadsheet would run as a formula: names come from clients."""
    if isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r")):
        return "'" + value
    return value
