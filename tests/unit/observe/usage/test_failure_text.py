"""The one line that says why a request failed."""

from __future__ import annotations

import pytest

from modelswap.observe.usage.failure_text import LONGEST, describe, traced


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b'{"error":{"message":" m "}}', "m"),
        (b'{"error":"e"}', "e"),
        (b'{"message":"m"}', "m"),
        (b'{"detail":"d"}', "d"),
        (b'{"error":{"message":""}}', "503 Service Unavailable"),
        (b"<html>", "503 Service Unavailable"),
        (b"\xff", "503 Service Unavailable"),
    ],
)
def test_a_reason_is_found_in_any_usual_shape(body: bytes, text: str) -> None:
    """Without a reason the status is named."""
    assert describe(503, body) == text


def test_an_unknown_status_and_a_long_reason() -> None:
    """A status without a name is a number; a long reason is cut at a whole character."""
    assert describe(799, b"") == "HTTP 799"
    cut = describe(400, b'{"error":"' + "€".encode() * 300 + b'"}')
    assert cut == "€" * (LONGEST // 3) + "..."


def test_an_exception_is_one_line() -> None:
    """The line names the exception and the function that raised it."""
    with pytest.raises(ZeroDivisionError) as raised:
        1 / 0  # noqa: B018 -- raises
    line = traced(raised.value)
    assert "at test_failure_text.py:" in line
    assert "ZeroDivisionError" in line
    assert "\n" not in line
