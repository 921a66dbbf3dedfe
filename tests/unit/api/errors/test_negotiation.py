"""The format of an error, by `Accept`."""

from __future__ import annotations

import pytest

from modelswap.api.errors.negotiation import ErrorFormat, preferred_format

BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8"


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        (None, ErrorFormat.JSON),
        ("", ErrorFormat.JSON),
        ("*/*", ErrorFormat.JSON),
        ("application/json, text/plain, */*", ErrorFormat.JSON),
        ("text/plain", ErrorFormat.TEXT),
        ("TEXT/PLAIN; charset=utf-8", ErrorFormat.TEXT),
        ("text/html", ErrorFormat.HTML),
        (BROWSER, ErrorFormat.HTML),
        ("text/*", ErrorFormat.TEXT),
        ("text/plain;q=0.5, application/json;q=0.9", ErrorFormat.JSON),
        ("text/plain;q=0.9, application/json;q=0.5", ErrorFormat.TEXT),
        ("text/html;q=0.5, text/plain;q=0.9", ErrorFormat.TEXT),
        ("text/html, text/plain;q=0.9", ErrorFormat.HTML),
        ("application/*;q=0.1, text/html;q=0.2", ErrorFormat.HTML),
        ("*/*;q=0.5, text/plain;q=0", ErrorFormat.JSON),
        ("text/event-stream", ErrorFormat.JSON),
        ("text/html;q=nonsense", ErrorFormat.JSON),
        ("text/html;q=nan", ErrorFormat.JSON),
        ("text/html;level=1;q=7", ErrorFormat.HTML),
        (",;,", ErrorFormat.JSON),
    ],
)
def test_negotiation(accept: str | None, expected: ErrorFormat) -> None:
    """JSON, unless HTML or plain text is preferred by quality and specificity."""
    assert preferred_format(accept) is expected
