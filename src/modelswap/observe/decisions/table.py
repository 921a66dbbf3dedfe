"""The table of decisions in the store's file, beside the activity rows.

Guarantees: every value is bound. Pure.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from .decision import Decision

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from modelswap.units import Seconds

    Statement = tuple[str, tuple[object, ...]]

TABLE: Final = (
    "CREATE TABLE IF NOT EXISTS decisions (id INTEGER PRIMARY KEY, model TEXT NOT NULL,"
    " decision TEXT NOT NULL)"
)
MICROSECONDS: Final = 1_000_000
"""In a second: ids count them since the epoch."""

_decode = msgspec.json.Decoder(Decision).decode


def writing(decision: Decision, *, retention: Seconds | None, rows: int | None) -> list[Statement]:
    """Return the statements that keep a decision that has ended, and delete what is too old.

    *retention*: older ones than that are deleted; *rows*: how many are kept. `None`: no bound.
    """
    text = msgspec.json.encode(decision).decode()
    statements: list[Statement] = [
        (TABLE, ()),
        ("INSERT OR REPLACE INTO decisions VALUES (?, ?, ?)", (decision.id, decision.model, text)),
    ]
    if retention is not None:
        oldest = decision.id - int(retention * MICROSECONDS)
        statements.append(("DELETE FROM decisions WHERE id < ?", (oldest,)))
    if rows is not None:
        beyond = "(SELECT id FROM decisions ORDER BY id DESC LIMIT 1 OFFSET ?)"
        statements.append((f"DELETE FROM decisions WHERE id <= {beyond}", (rows,)))  # noqa: S608 -- constant text
    return statements


EXISTS: Final = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'decisions'"


def question(limit: int, model: str) -> Statement:
    """Ask for the newest decisions, of one model where one is named."""
    where, values = ("WHERE model = ? ", (model,)) if model else ("", ())
    return (
        f"SELECT decision FROM decisions {where}ORDER BY id DESC LIMIT ?",  # noqa: S608 -- constant text
        (*values, limit),
    )


def decisions_in(rows: Iterable[Sequence[str]]) -> list[Decision]:
    """Read the rows of an answer; one that another version wrote and this one cannot read is left out."""
    found: list[Decision] = []
    for row in rows:
        try:
            found.append(_decode(row[0]))
        except (msgspec.DecodeError, msgspec.ValidationError):
            continue
    return found
