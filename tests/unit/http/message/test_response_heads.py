"""Readings of response heads that are kept."""

from __future__ import annotations

from modelswap.http.message.head import parse_response
from modelswap.http.message.response_heads import ResponseHeads

HEAD = b"HTTP/1.1 200 OK\r\nServer: s\r\nContent-Length: %d\r\n\r\n"


def test_a_head_that_was_read_gives_those_that_differ_in_their_length() -> None:
    """Equal bytes are found as they are, other lengths by the template; nothing else is."""
    heads = ResponseHeads()
    one = parse_response(HEAD % 12)
    heads.remember(HEAD % 12, one)
    assert heads.by_bytes.get(HEAD % 12) is one
    assert heads.of_known_template(HEAD % 34_567) == parse_response(HEAD % 34_567)
    assert heads.of_known_template((HEAD % 5).replace(b"s", b"t")) is None
    assert heads.of_known_template(b"HTTP/1.1 204 No Content\r\n\r\n") is None


def test_a_repaired_head_and_a_long_one_are_no_template() -> None:
    """A repaired one may hold its length twice; a long one takes too much memory."""
    heads = ResponseHeads()
    heads.remember(HEAD % 1, parse_response(HEAD % 1), was_repaired=True)
    assert heads.of_known_template(HEAD % 2) is None
    long = (HEAD % 1).replace(b"s", b"s" * 3000)
    heads.remember(long, parse_response(long))
    assert long not in heads.by_bytes
