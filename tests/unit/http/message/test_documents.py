"""Which responses a browser could run."""

from __future__ import annotations

import pytest

from modelswap.http.message.documents import is_active
from modelswap.http.message.head import parse_response


@pytest.mark.parametrize(
    ("types", "active"),
    [
        ([b"application/json"], False),
        ([b"application/json; charset=utf-8"], False),
        ([b"Application/JSON ;charset=utf-8"], False),
        ([b"application/problem+json"], False),
        ([b"text/event-stream"], False),
        ([b"text/plain; charset=utf-8"], False),
        ([b"text/css"], False),
        ([b"text/javascript"], False),
        ([b"application/octet-stream"], False),
        ([b"audio/mpeg"], False),
        ([b"image/png"], False),
        ([b"image/x-icon"], False),
        ([b"font/woff2"], False),
        ([b"text/html"], True),
        ([b"TEXT/HTML; charset=utf-8"], True),
        ([b"application/xhtml+xml"], True),
        ([b"application/xml"], True),
        ([b"text/xml"], True),
        ([b"application/rss+xml"], True),
        ([b"application/pdf"], True),
        ([b"image/svg+xml"], True),
        ([b"image/SVG+xml"], True),
        ([b"multipart/x-mixed-replace; boundary=a"], True),
        ([b"application/json, text/html"], True),
        ([b"application/json; charset=utf-8, text/html"], True),
        ([b"application/json", b"text/html"], True),
        ([b"text/html", b"application/json"], True),
        ([b"something/new"], True),
        ([b"*/*"], True),
        ([b""], True),
        ([], True),
    ],
)
def test_types(types: list[bytes], active: bool) -> None:  # noqa: FBT001 -- it is the expectation
    """Known inert types are; all else, no type and several types count as a page."""
    values = {b"content-type": types} if types else {}
    assert is_active(values, has_body=True) is active
    assert not is_active(values, has_body=False)


@pytest.mark.parametrize("name", ["Clear-Site-Data", "service-worker-allowed", "Alt-Svc", "NEL"])
def test_fields_of_the_origin(name: str) -> None:
    """What a browser applies to the whole origin makes any response active."""
    raw = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n{name}: x\r\nContent-Length: 2\r\n\r\n"
    assert parse_response(raw.encode()).is_active
    assert not parse_response(raw.replace(f"{name}: x\r\n", "").encode()).is_active


@pytest.mark.parametrize(
    "name",
    ["Link", "Refresh", "Location", "Speculation-Rules", "Content-Security-Policy-Report-Only"],
)
@pytest.mark.parametrize("body", ["", "hi"])
def test_fields_that_ask(name: str, body: str) -> None:
    """What makes a browser send requests makes any response active, an empty one too."""
    raw = (
        f"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n{name}: x\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    assert parse_response(raw.encode()).is_active
    assert not parse_response(raw.replace(f"{name}: x\r\n", "").encode()).is_active


def test_what_changes_a_page_in_the_cache() -> None:
    """The fields of a 304 replace those of the page that the browser has kept."""
    assert parse_response(b"HTTP/1.1 304 Not Modified\r\n\r\n").is_active
    assert not parse_response(b"HTTP/1.1 204 No Content\r\n\r\n").is_active
