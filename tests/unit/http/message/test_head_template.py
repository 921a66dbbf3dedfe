"""Heads that differ in their length only, read from one another."""

from __future__ import annotations

import dataclasses

import pytest

from modelswap.http.message.head import of_length, parse_request, parse_response
from modelswap.http.message.head_template import cut, head_template
from modelswap.http.message.request import Request

HEAD = (
    b"POST /v1/x?q=1 HTTP/1.1\r\nHost: here\r\nX-A: 1\r\nContent-Length: %b\r\n"
    b"Connection: keep-alive, x-a\r\nX-A: 2\r\n\r\n"
)
ANSWER = (
    b"HTTP/1.1 %b\r\nServer: s\r\nContent-Length: %b\r\nContent-Type: application/json\r\n"
    b"Content-Encoding: gzip\r\n\r\n"
)


@pytest.mark.parametrize("digits", [b"1", b"9", b"10", b"4711", b"9" * 18])
def test_another_length_reads_as_if_parsed(digits: bytes) -> None:
    """A request made from one of another length is, field by field, the one that parsing makes."""
    head = HEAD % digits
    shape = head_template(HEAD % b"160")
    assert shape is not None
    assert shape.digits(head + b"body") == digits
    assert shape.size + len(digits) == len(head)
    made = Request(parse_request(HEAD % b"160"), "10.0.0.1", "http").of_length(digits)
    read = Request(parse_request(head), "10.0.0.1", "http")
    for name in ("headers", "index", *sorted(set(Request.__slots__) - {"_digits"})):
        assert getattr(made, name) == getattr(read, name), name
    again = made.of_length(b"7")
    assert again.headers == parse_request(HEAD % b"7").headers


@pytest.mark.parametrize(
    "value",
    [
        b"0", b"", b"00", b"01", b"+1", b"-1", b" 1", b"1 ", b"1 1", b"1,1", b"0x1", b"1_0", b"\xb2",
        b"9" * 19, b"1\r\nContent-Length: 1", b"1\n", b"1\rX", b"1\r\nTransfer-Encoding: chunked",
    ],
)  # fmt: skip
def test_no_other_value_is_taken_for_a_length(value: bytes) -> None:
    """What is not a plain number above zero, or adds a line, goes to the parser."""
    shape = head_template(HEAD % b"160")
    assert shape is not None
    assert not shape.digits(HEAD % value)


def test_any_other_difference_goes_to_the_parser() -> None:
    """A head with any single byte outside the digits changed, or cut short, does not have the shape."""
    head = HEAD % b"160"
    shape = head_template(head)
    assert shape is not None
    start, end = head.index(b"160"), head.index(b"160") + 3
    for at in [*range(start), *range(end, len(head))]:
        assert not shape.digits(head[:at] + bytes([head[at] ^ 1]) + head[at + 1 :])
    for size in range(len(head)):
        assert not shape.digits(head[:size])


@pytest.mark.parametrize(
    "head",
    [
        HEAD % b"0",
        HEAD % b"007",
        b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nX-Content-Length: 7\r\n\r\n",
        HEAD.replace(b"X-A: 2", b"X-A: " + b"x" * 5000) % b"7",
    ],
)
def test_only_ordinary_heads_have_a_shape(head: bytes) -> None:
    """No length, an odd one, or a large head: every such request is parsed."""
    assert head_template(head) is None


@pytest.mark.parametrize("status", [b"200 OK", b"204 No Content", b"304 Not Modified", b"500 Oh"])
@pytest.mark.parametrize("digits", [b"1", b"4711"])
def test_another_length_of_an_answer_reads_as_if_parsed(status: bytes, digits: bytes) -> None:
    """An answer's head made from one of another length is the one that parsing makes."""
    raw = ANSWER % (status, digits)
    made = of_length(parse_response(ANSWER % (status, b"160")), digits, len(raw))
    assert dataclasses.asdict(made) == dataclasses.asdict(parse_response(raw))


def test_the_cut_is_at_the_digits() -> None:
    """What is cut out is the length and nothing else."""
    head = HEAD % b"4711"
    where = cut(head)
    assert where is not None
    assert head[slice(*where)] == b"4711"
