"""Event-stream parsers that work as those of existing clients.

Guarantees: each takes the bytes of a chat completion stream as they came from the
wire and returns the text that its user would see, or raises as its client would.
The faults of the real parsers are kept on purpose: the tests are about them.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


def _text(chunk: Any) -> str:
    if "error" in chunk:
        raise RuntimeError(chunk["error"]["message"])
    found: str = "".join(choice["delta"]["content"] for choice in chunk["choices"]
                         if "content" in choice["delta"])  # fmt: skip
    return found


def _lines(stream: bytes) -> list[str]:
    return stream.decode().split("\n")


def _blank_line_events(stream: bytes) -> Iterator[Any]:
    """Openai-go until 2026: every blank line dispatches, also when there is no data."""
    data: list[str] = []
    for line in _lines(stream)[:-1]:
        if not line:
            text, data = "\n".join(data), []
            if text.startswith("[DONE]"):
                return
            yield json.loads(text)
            continue
        name, _, value = line.partition(":")
        if name == "data":
            data.append(value.removeprefix(" "))


def go_stream(stream: bytes) -> str:
    """The text that a loop over openai-go's stream adds up."""
    return "".join(map(_text, _blank_line_events(stream)))


def go_accumulator(stream: bytes) -> str:
    """Openai-go's accumulator: chunks whose id is not that of the first are dropped."""
    ident, text = "", ""
    for chunk in _blank_line_events(stream):
        if not ident:
            ident = chunk["id"]
        elif chunk["id"] != ident:
            continue
        text += _text(chunk)
    return text


def blocks(stream: bytes) -> str:
    """Web pages: split at empty lines, keep what starts with `data:`, drop the rest."""
    text = ""
    for block in stream.decode().split("\n\n"):
        if block.startswith("data:") and "[DONE]" not in block:
            text += _text(json.loads(block[5:]))
    return text


def data_lines(stream: bytes) -> str:
    """Scripts: look at each line that starts with `data:`."""
    text = ""
    for line in _lines(stream):
        if line.startswith("data: ") and line != "data: [DONE]":
            text += _text(json.loads(line[6:]))
    return text


def every_line(stream: bytes) -> str:
    """Scripts of less care: every line that is not empty is data."""
    text = ""
    for line in _lines(stream):
        if line.strip() and "[DONE]" not in line:
            text += _text(json.loads(line.replace("data: ", "")))
    return text


def by_the_book(stream: bytes) -> str:
    """The standard's algorithm, as httpx-sse and browsers have it: no data, no event."""
    text, data, event, ident = "", [], "", ""
    for line in stream.decode().splitlines():
        if line:
            name, _, value = line.partition(":")
            value = value.removeprefix(" ")
            if name == "data":
                data.append(value)
            event = value if name == "event" else event
            ident = value if name == "id" else ident
        elif data:
            joined, data = "\n".join(data), []
            if joined != "[DONE]":
                text += _text(json.loads(joined))
    return text


def first_chunk_counts(stream: bytes) -> str:
    """LangChain's way: needs `choices` and `delta` in each chunk, merges text by concatenation."""
    merged: dict[str, Any] = {}
    for line in _lines(stream):
        if not line.startswith("data:") or "[DONE]" in line:
            continue
        chunk = json.loads(line[5:])
        _text(chunk)
        if not chunk["choices"]:
            continue
        delta = chunk["choices"][0]["delta"]
        merged.setdefault("role", delta.get("role"))
        merged["content"] = merged.get("content", "") + (delta.get("content") or "")
    return str(merged["content"])


PARSERS: dict[str, Callable[[bytes], str]] = {
    "openai-go": go_stream,
    "openai-go accumulator": go_accumulator,
    "blocks": blocks,
    "data lines": data_lines,
    "every line": every_line,
    "by the book": by_the_book,
    "LangChain-like": first_chunk_counts,
}
