"""The dialect of an event stream: what may be said in it before and after the model speaks.

Law: only paths whose clients are known to expect events have a voice; in an
answer of any other path not one byte of ours appears. Which form a keep-alive
has was decided by running the clients (`docs/decisions/0006-keep-alive-form.md`,
`tests/clients`). It refuses to decide when something is said.
"""

from __future__ import annotations

import json
from enum import Enum
from typing import Final, assert_never

from modelswap.api.errors.error_responses import anthropic_type, openai_error
from modelswap.errors import fault_of


class StreamDialect(Enum):
    CHAT = "OpenAI chat completions"
    TEXT = "OpenAI text completions"
    RESPONSES = "OpenAI responses"
    MESSAGES = "Anthropic messages"
    NATIVE = "llama.cpp's own"


COMMENT: Final = b": keep-alive\n"
"""One line feed: two would dispatch an empty event in parsers that count blank lines."""
PING: Final = b'event: ping\ndata: {"type": "ping"}\n\n'


def keep_alive(stream_dialect: StreamDialect, *, model: str, created: int) -> bytes:
    """Write what keeps a client of a silent stream waiting.

    An empty piece of text where a parser is known that stumbles over comments
    or loses the event behind one. Its `id` is empty so that clients that hold
    all later chunks against the first one's take the model's.
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
    """Write one OpenAI chunk as an event."""
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
) -> bytes:
    """Write an error as the last event of a stream whose status cannot be changed any more."""
    kind, usual = fault_of(status)
    match stream_dialect:
        case StreamDialect.MESSAGES:
            kind = anthropic_type(status, should_retry=should_retry)
            return event(
                {"type": "error", "error": {"type": kind, "message": message}}, name="error"
            )
        case StreamDialect.RESPONSES:
            # The event's own members are the API's; `error` is what makes the clients raise.
            said = {"message": message, "type": kind, "param": None, "code": code or usual}
            return event(
                {
                    "type": "error",
                    "sequence_number": 0,
                    "code": code or usual,
                    "message": message,
                    "param": None,
                    "error": said,
                },
                name="error",
            )
        case StreamDialect.CHAT | StreamDialect.TEXT | StreamDialect.NATIVE | None:
            return b"data: " + openai_error(message, kind, code or usual) + b"\n\n"
        case _ as never:
            assert_never(never)


def event(value: object, *, name: str = "") -> bytes:
    """Write one event; JSON keeps it on one line."""
    head = f"event: {name}\n" if name else ""
    return f"{head}data: {json.dumps(value)}\n\n".encode()
