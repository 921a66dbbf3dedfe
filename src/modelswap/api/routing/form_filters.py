"""Translates a model's filters into edits of a multipart form.

A form has fields where JSON has members. A key of the configuration is a field name; a text goes in
as it is, anything else as JSON. A dotted path into an object is taken as a field of that literal
name, as servers that read forms spell nested parameters.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, assert_never

import msgspec

from modelswap.core.naming.jsonpath import Delete, Set

if TYPE_CHECKING:
    from .filters import RequestEdits


@dataclass(frozen=True, slots=True)
class FormEdits:
    """Fields to set (text as it goes out) and fields to leave out."""

    values: dict[str, bytes]
    remove: frozenset[str]


NO_EDITS = FormEdits({}, frozenset())


def form_edits(edit: RequestEdits | None, *, requested: str, rename: str | None) -> FormEdits:
    """Return what a form for `requested` needs; `rename` is the name that pin or selector gave it."""
    if edit is None:
        return NO_EDITS if rename is None else FormEdits({"model": rename.encode()}, frozenset())
    name = edit.model or rename
    values: dict[str, bytes] = {} if name is None else {"model": name.encode()}
    remove: set[str] = set()
    for step in (*edit.steps, *edit.by_id.get(requested, ())):
        field = edit.labels.get(step, "").replace("\\.", ".")
        match step:
            case Set(_, raw):
                remove.discard(field)
                values[field] = _as_text(raw)
            case Delete(_):
                remove.add(field)
            case _ as never:
                assert_never(never)
    return FormEdits(values, frozenset(remove))


def _as_text(raw: bytes) -> bytes:
    value: Any = msgspec.json.decode(raw)
    return value.encode() if isinstance(value, str) else raw
