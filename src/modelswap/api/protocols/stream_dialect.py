"""Writes our own events of a stream in the form that the clients of its protocol read.

Only endpoints whose clients are known to expect events have a dialect. The form of a keep-alive was
decided by running the clients (`docs/decisions/0006-keep-alive-form.md`, `tests/system/clients`).
"""

from __future__ import annotations

import json
from enum import Enum
from typing import TYPE_CHECKING, Final, assert_never

from modelswap.api.errors.error_objects import anthropic_type, details_of, fault_of, openai_error
from modelswap.observe.usage.failure_text import describe

if TYPE_CHECKING:
    from collections.abc import Sequence


class StreamDialect(Enum):
    CHAT = "OpenAI chat completions"
    TEXT = "OpenAI text completions"
    RESPONSES = "OpenAI responses"
    MESSAGES = "Anthropic messages"
    NATIVE = "llama.cpp's own"


COMMENT: Final = b": keep-alive\n"
"""One line feed: two would dispatch an empty event in parsers that count blank lines."""
PING: Final = b'event: ping\ndata: {"type": "ping"}\n\n'
_BAD_REQUEST: Final = 400
"""The first status that is an error."""


def keep_alive(stream_dialect: StreamDialect, *, model: str, created: int) -> bytes:
    """Write an event without meaning.

    It is an empty piece of text where a known parser fails at comments or loses the event behind
    one. Its `id` is empty: clients that compare the `id` of all chunks then take the model's.
    """
    match stream_dialect:
        case StreamDialect.CHAT:
            choice = {"index": 0, "delta": {"content": ""}, "finish_reason": None}
            return chunk("chat.completion.chunk", choice, model=model, created=created)
        case StreamDialect.TEXT:
            choice = {"index": 0, "text": "", "logprobs": None, "finish_reason": None}
            return chunk("text_completion", choice, model=model, created=created)
        case StreamDialect.MESSAGES:
            return PING
        case StreamDialect.RESPONSES | StreamDialect.NATIVE:
            return COMMENT
        case _ as never:
            assert_never(never)


def chunk(kind: str, choice: object, *, model: str, created: int, ident: str = "") -> bytes:
    return event(
        {"id": ident, "object": kind, "created": created, "model": model, "choices": [choice]}
    )


def error_event(
    stream_dialect: StreamDialect | None,
    status: int,
    message: str,
    code: str | None = None,
    *,
    should_retry: bool | None = None,
    log: Sequence[str] = (),
) -> bytes:
    """Write an error as the last event of a stream whose status cannot be changed any more.

    *log*: the last lines of a model server's output.
    """
    kind, usual = fault_of(status)
    match stream_dialect:
        case StreamDialect.MESSAGES:
            kind = anthropic_type(status, should_retry=should_retry)
            said = {"type": kind, "message": message, **details_of(log)}
            return event({"type": "error", "error": said}, name="error")
        case StreamDialect.RESPONSES:
            # The event's own members are the API's; `error` is what makes the clients raise.
            fault = {"code": code or usual, "message": message, "param": None}
            error = {"message": message, "type": kind, "param": None, "code": code or usual}
            beside = {"type": "error", "sequence_number": 0, **fault}
            return event({**beside, "error": {**error, **details_of(log)}}, name="error")
        case StreamDialect.CHAT | StreamDialect.TEXT | StreamDialect.NATIVE | None:
            return b"data: " + openai_error(message, kind, code or usual, log) + b"\n\n"
        case _ as never:
            assert_never(never)


def late_error_event(
    dialect: StreamDialect | None, status: int, content_type: bytes, body: bytes
) -> bytes:
    """Write a response that is no event stream as the last event of one that was already open."""
    if status < _BAD_REQUEST:
        kind = content_type.decode("latin-1") or "no content type"
        return error_event(dialect, 502, f"the upstream answered {status} with {kind}, not events")
    return error_event(dialect, status, describe(status, body))


def event(value: object, *, name: str = "") -> bytes:
    """Write one event; JSON keeps it on one line."""
    head = f"event: {name}\n" if name else ""
    return f"{head}data: {json.dumps(value)}\n\n".encode()
