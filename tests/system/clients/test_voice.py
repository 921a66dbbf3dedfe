"""What a stream's dialect makes of keep-alives and errors."""

from __future__ import annotations

import json

import pytest

from modelswap.api.protocols.stream_dialect import StreamDialect, error_event, keep_alive
from modelswap.api.proxy.keep_alive_stream import announced_timeout, before

MESSAGE = "it broke\n\ndata: x"


def data_of(event: bytes) -> dict[str, object]:
    """The data of the one event that this is."""
    assert event.endswith(b"\n\n")
    assert event.count(b"\n\n") == 1
    (line,) = [line for line in event.split(b"\n") if line.startswith(b"data: ")]
    found = json.loads(line[6:])
    assert isinstance(found, dict)
    return found


@pytest.mark.parametrize("voice", [*StreamDialect, None])
def test_an_error_is_one_event(voice: StreamDialect | None) -> None:
    """Whatever the message holds, the error is one event, and names it."""
    error = data_of(error_event(voice, 503, MESSAGE))["error"]
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


def test_what_a_wait_does_not_mend_is_not_overload() -> None:
    """Claude Code tries again whatever calls itself overloaded, and shows nothing meanwhile."""
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
    for voice in StreamDialect:
        blocks = keep_alive(voice, model="a", created=1).split(b"\n\n")
        assert all(b"data: " in block for block in blocks[:-1])


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, None),
        ({b"x-stainless-read-timeout": b"600"}, 600.0),
        ({b"x-stainless-timeout": b"2.5"}, 2.5),
        ({b"x-stainless-read-timeout": b"oops", b"x-stainless-timeout": b"7"}, 7.0),
        ({b"x-stainless-read-timeout": b"None"}, None),
        ({b"x-stainless-read-timeout": b"0"}, None),
        ({b"x-stainless-read-timeout": b"nan"}, None),
        ({b"x-stainless-read-timeout": b"1e999"}, None),
    ],
)
def test_announced_timeouts(headers: dict[bytes, bytes], expected: float | None) -> None:
    """The first header that holds a number of seconds counts; what holds none is ignored."""
    assert announced_timeout(headers.get) == expected


def test_answers_come_before_the_patience_ends() -> None:
    """A second before, or a quarter where the patience is short."""
    assert before(600) == 599
    assert before(2) == 1.5
