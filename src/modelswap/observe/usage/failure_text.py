"""Finds the one line that says why a request failed. Pure."""

from __future__ import annotations

import traceback
from http import HTTPStatus
from pathlib import Path
from typing import Final

import msgspec

from modelswap.units import Bytes

from .usage import member

LONGEST: Final = Bytes(500)  # of a reason in UTF-8: an error body may hold a whole page
_any = msgspec.json.Decoder()


def describe(status: int, body: bytes) -> str:
    """Find the reason in an error body, else name the status."""
    return _from_json(body) or _named(status)


def _from_json(body: bytes) -> str:
    try:
        value: object = _any.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return ""
    for path in (("error", "message"), ("error",), ("message",), ("detail",)):
        text = member(value, *path)
        if isinstance(text, str) and text.strip():
            return _cut(text.strip())
    return ""


def _cut(text: str) -> str:
    raw = text.encode("utf-8", "replace")
    return text if len(raw) <= LONGEST else raw[:LONGEST].decode("utf-8", "ignore") + "..."


def _named(status: int) -> str:
    try:
        return f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        return f"HTTP {status}"


def traced(bug: BaseException) -> str:
    """Write an exception and its newest four frames in one line."""
    frames = traceback.extract_tb(bug.__traceback__)[-4:]
    where = " < ".join(f"{Path(f.filename).name}:{f.lineno} {f.name}" for f in reversed(frames))
    return f"{bug!r} at {where}"
