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
    assert heads.known(HEAD % 12 + b"body") == (one, len(HEAD % 12))
    for size in (34_567, 8, 9_000):
        read = parse_response(HEAD % size)
        assert heads.known(HEAD % size + b"body") == (read, len(HEAD % size))
    assert heads.known((HEAD % 5).replace(b"s", b"t")) is None
    assert heads.known(b"HTTP/1.1 204 No Content\r\n\r\n") is None
    assert heads.known((HEAD % 12)[:-1]) is None


def test_heads_of_several_kinds_are_known_in_turn() -> None:
    """Whichever came last: the same, another length, or one without a length."""
    heads = ResponseHeads()
    chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    kinds = (HEAD, HEAD.replace(b"200 OK", b"404 Not Found"), chunked)
    for kind in kinds:
        head = kind % 7 if b"%d" in kind else kind
        heads.remember(head, parse_response(head))
    for size in (7, 11, 7):
        for kind in kinds:
            head = kind % size if b"%d" in kind else kind
            assert heads.known(head + b"more") == (parse_response(head), len(head))


def test_a_repaired_head_and_a_long_one_are_no_template() -> None:
    """A repaired one may hold its length twice; a long one takes too much memory."""
    heads = ResponseHeads()
    heads.remember(HEAD % 1, parse_response(HEAD % 1), was_repaired=True)
    assert heads.known(HEAD % 1) is not None
    assert heads.known(HEAD % 2) is None
    long = (HEAD % 1).replace(b"s", b"s" * 3000)
    heads.remember(long, parse_response(long))
    assert heads.known(long) is None
