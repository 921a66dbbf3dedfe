"""Which fields of a response give way to those that the proxy adds."""

from __future__ import annotations

from modelswap.http import UpstreamRequest
from modelswap.http.client.upstream_request import block_with_fields
from modelswap.http.message.head import parse_response

PAGE = parse_response(
    b"HTTP/1.1 302 Found\r\nContent-Type: text/html\r\nClear-Site-Data: *\r\nLocation: /away\r\n"
    b"Access-Control-Allow-Origin: *\r\nAccess-Control-Expose-Headers: X-One\r\nContent-Length: 1\r\n\r\n"
)
JSON = parse_response(
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 1\r\n\r\n"
)


def test_without_additions_the_head_stays() -> None:
    """None means that what was read may be sent as it is."""
    assert block_with_fields(PAGE, UpstreamRequest("GET", b"/", [])) is None


def test_a_guard_is_for_pages_only() -> None:
    """It takes the place of fields that concern the whole origin."""
    request = UpstreamRequest("GET", b"/", [], page_guard=[(b"X-Guard", b"1")])
    block = block_with_fields(PAGE, request)
    assert block is not None
    assert b"Clear-Site-Data" not in block
    assert block.endswith(b"\r\nX-Guard: 1\r\n")
    assert block_with_fields(JSON, request) is None


def test_a_redirect_may_be_refused() -> None:
    """Its `Location` goes; the rest of the head stays."""
    for allowed in (True, False):
        rule = b"/away".__eq__ if allowed else b"/home".__eq__
        request = UpstreamRequest("GET", b"/", [], may_redirect=rule)
        block = block_with_fields(PAGE, request)
        assert block is not None
        assert (b"Location: /away" in block) is allowed
        assert b"Content-Type: text/html" in block


def test_our_access_control_replaces_the_upstreams() -> None:
    """But for the list of exposed headers, which is joined."""
    ours = [
        (b"Access-Control-Allow-Origin", b"https://a"),
        (b"Access-Control-Expose-Headers", b"X-Two"),
    ]
    block = block_with_fields(PAGE, UpstreamRequest("GET", b"/", [], None, ours))
    assert block is not None
    assert b"Access-Control-Allow-Origin: *" not in block
    assert b"Access-Control-Allow-Origin: https://a\r\n" in block
    assert b"Access-Control-Expose-Headers: X-One, X-Two\r\n" in block
