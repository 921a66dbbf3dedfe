"""Which form of a keep-alive each client's parser accepts: the evidence for decision 0006.

Each candidate form stands before a plain stream and goes through each kind of parser.
The parsers that fail are listed; all parsers accept the form in use.
"""

from __future__ import annotations

import json

import pytest

from modelswap.api.protocols.stream_dialect import COMMENT, StreamDialect, keep_alive
from support.event_parsers import PARSERS

TEXT = "one two three"
BASE = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "a"}


def event(value: object) -> bytes:
    return b"data: " + json.dumps(value).encode() + b"\n\n"


def chunk(delta: dict[str, str], **fields: object) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": None}
    return event({**BASE, "choices": [choice], **fields})


# This engine's first chunk has text in it already.
STREAM = (
    chunk({"role": "assistant", "content": "one "})
    + chunk({"content": "two "})
    + chunk({"content": "three"})
    + event({**BASE, "choices": [], "usage": {}})
    + b"data: [DONE]\n\n"
)
IN_USE = keep_alive(StreamDialect.CHAT, model="a", created=5)
ALL_PARSERS = frozenset(PARSERS)
STUMBLE: dict[str, tuple[bytes, frozenset[str]]] = {
    "comment and empty line": (
        b": keep-alive\n\n",
        frozenset({"openai-go", "openai-go accumulator", "every line"}),
    ),
    "comment": (COMMENT, frozenset({"blocks", "every line"})),
    "bare colon": (b":\n", frozenset({"blocks", "every line"})),
    "empty line": (b"\n", frozenset({"openai-go", "openai-go accumulator", "blocks"})),
    "comment as data": (b"data: : keep-alive\n\n", ALL_PARSERS),
    "ping event": (b'event: ping\ndata: {"type": "ping"}\n\n', ALL_PARSERS - {"blocks"}),
    "chunk with an id of its own": (
        chunk({"content": ""}, id="chatcmpl-2"),
        frozenset({"openai-go accumulator"}),
    ),
    "chunk without an id": (IN_USE, frozenset()),
}


def is_read_by(parser: str, stream: bytes) -> bool:
    try:
        return PARSERS[parser](stream) == TEXT
    except (ValueError, KeyError):
        return False


@pytest.mark.parametrize("parser", PARSERS)
def test_every_parser_reads_a_plain_stream(parser: str) -> None:
    """Without a keep-alive the parsers agree, so what fails below is the keep-alive's doing."""
    assert is_read_by(parser, STREAM)


@pytest.mark.parametrize("form", STUMBLE)
def test_which_form_breaks_which_parser(form: str) -> None:
    """Each form fails exactly the parsers that are listed for it."""
    keeps, broken = STUMBLE[form]
    assert {p for p in PARSERS if not is_read_by(p, keeps * 3 + STREAM)} == broken
