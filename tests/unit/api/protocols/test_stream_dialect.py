"""Keep-alives and errors in each dialect of an event stream."""

from __future__ import annotations

import json

import pytest

from modelswap.api.protocols.stream_dialect import (
    StreamDialect,
    error_event,
    keep_alive,
    late_error_event,
)

MESSAGE = "it broke\n\ndata: x"


def data_of(event: bytes) -> dict[str, object]:
    """The data of the one event that this is."""
    assert event.endswith(b"\n\n")
    assert event.count(b"\n\n") == 1
    (line,) = [line for line in event.split(b"\n") if line.startswith(b"data: ")]
    found = json.loads(line[6:])
    assert isinstance(found, dict)
    return found


@pytest.mark.parametrize("dialect", [*StreamDialect, None])
def test_an_error_is_one_event(dialect: StreamDialect | None) -> None:
    """Whatever the message holds, the error is one event, and names it."""
    error = data_of(error_event(dialect, 503, MESSAGE))["error"]
    assert isinstance(error, dict)
    assert error["message"] == MESSAGE


def test_an_anthropic_error_has_its_own_form() -> None:
    """An event named `error`, with a type of Anthropic's list."""
    event = error_event(StreamDialect.MESSAGES, 503, "m")
    assert event.startswith(b"event: error\n")
    expected = {"type": "error", "error": {"type": "overloaded_error", "message": "m"}}
    assert data_of(event) == expected
    other = data_of(error_event(StreamDialect.MESSAGES, 502, "m"))["error"]
    assert other == {"type": "api_error", "message": "m"}


def test_an_error_that_stays_is_not_called_overload() -> None:
    """Claude Code tries again what is called overloaded, and shows nothing meanwhile."""
    event = error_event(StreamDialect.MESSAGES, 503, "m", should_retry=False)
    assert data_of(event)["error"] == {"type": "api_error", "message": "m"}
    event = error_event(StreamDialect.MESSAGES, 503, "m", should_retry=True)
    assert data_of(event)["error"] == {"type": "overloaded_error", "message": "m"}


def test_a_responses_error_has_its_own_form() -> None:
    """The API's members at the top, and `error`, at which the clients raise."""
    event = error_event(StreamDialect.RESPONSES, 503, "m", "model_load_failed")
    assert event.startswith(b"event: error\n")
    found = data_of(event)
    assert (found["type"], found["code"], found["message"]) == ("error", "model_load_failed", "m")


def test_an_openai_error_is_the_envelope() -> None:
    """Data without a name, as the body of an error reply would be."""
    event = error_event(StreamDialect.CHAT, 504, "m")
    assert event.startswith(b"data: ")
    expected = {"message": "m", "type": "server_error", "param": None, "code": "gateway_timeout"}
    assert data_of(event)["error"] == expected


def test_keep_alives_dispatch_nothing_empty() -> None:
    """An empty line follows data only: parsers that count empty lines find an event there."""
    for dialect in StreamDialect:
        blocks = keep_alive(dialect, model="a", created=1).split(b"\n\n")
        assert all(b"data: " in block for block in blocks[:-1])


@pytest.mark.parametrize(
    ("status", "content_type", "body", "said"),
    [
        (200, b"text/html", b"", "the upstream answered 200 with text/html, not events"),
        (204, b"", b"", "the upstream answered 204 with no content type, not events"),
        (500, b"application/json", b'{"error":{"message":"no room"}}', "no room"),
    ],
)
def test_a_late_response_becomes_the_last_event(
    status: int, content_type: bytes, body: bytes, said: str
) -> None:
    event = late_error_event(StreamDialect.CHAT, status, content_type, body)
    error = data_of(event)["error"]
    assert isinstance(error, dict)
    assert said in error["message"]
