"""The reader of requests, fed with bytes: no socket, no loop."""

from __future__ import annotations

import pytest

from support.request_reading import ReadRequests

HEAD = b"POST /x?q HTTP/1.1\r\nHost: h\r\n"
COUNTED = HEAD + b"Content-Length: 5\r\n\r\nhello"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n"
GET = b"GET /y HTTP/1.1\r\nHost: h\r\n\r\n"


@pytest.mark.parametrize("raw", [COUNTED, CHUNKED])
@pytest.mark.parametrize("step", [1, 2, 7, 1000])
def test_a_request_is_the_same_in_whatever_pieces_it_comes(raw: bytes, step: int) -> None:
    """Head and body are found byte by byte as well as at once."""
    read = ReadRequests()
    read.feed(*(raw[at : at + step] for at in range(0, len(raw), step)))
    assert [(one.method, one.path, one.query) for one in read.requests] == [("POST", "/x", "q")]
    assert read.bodies == [b"hello"]
    assert read.refused is None


@pytest.mark.parametrize("first", [COUNTED, CHUNKED, GET])
def test_what_comes_behind_a_request_waits(first: bytes) -> None:
    """A pipelined request begins when its owner asks for it, with the bytes that it has."""
    read = ReadRequests()
    read.feed(first + GET[:10], GET[10:])
    assert len(read.requests) == 1
    read.next_request()
    assert [one.path for one in read.requests][1:] == ["/y"]


def test_many_waiting_bytes_pause_reading() -> None:
    """Pipelined requests are held up to a bound."""
    read = ReadRequests()
    read.feed(GET, GET * 4000)
    assert read.reading == ["pause"]


def test_equal_heads_are_one_request_object() -> None:
    """The same bytes on one connection cost no second parsing, and another length only a copy."""
    read = ReadRequests()
    for raw in (COUNTED, COUNTED, COUNTED.replace(b"5", b"2")[:-3]):
        read.feed(raw)
        read.next_request()
    one, same, other = read.requests
    assert one is same
    assert (other.content_length, other.headers[0]) == (2, one.headers[0])
    assert read.bodies == [b"hello", b"hello", b"he"]


@pytest.mark.parametrize(
    ("pieces", "status"),
    [
        ((b"GET / HTTP/1.1\r\n\r\n",), 400),
        ((b"nonsense", b"\r\n"), 400),
        ((b"GET /" + b"a" * 200, b"a"), 414),
        ((b"GET / HTTP/1.1\r\nHost: h\r\nA: " + b"a" * 300,), 431),
        ((b"GET / HTTP/1.1\r\nHost: h\r\nA: " + b"a" * 300 + b"\r\n\r\n",), 431),
        ((b"GET / HTTP/1.1\r\nHost: h\r\n" + b"A: b\r\n" * 20 + b"\r\n",), 431),
        ((HEAD + b"Content-Length: 99\r\n\r\n",), 413),
        ((HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"40\r\n" + b"x" * 64), 413),
        ((HEAD + b"Transfer-Encoding: chunked\r\n\r\nxyz\r\n",), 400),
        ((HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"xyz\r\n"), 400),
    ],
)
def test_what_is_refused_ends_the_reading(pieces: tuple[bytes, ...], status: int) -> None:
    """Too long, too large or malformed: one refusal, and nothing behind it is read."""
    read = ReadRequests(body=50, request_line=200, headers=300, header_count=10)
    read.feed(*pieces, GET)
    assert read.refused is not None
    assert read.refused[0] == status
    assert read.bodies == []
    assert all(one.path == "/x" for one in read.requests)


def test_a_body_that_is_not_asked_for_is_held_up_to_a_bound() -> None:
    """Then reading pauses until it is taken."""
    read = ReadRequests(takes_bodies=False)
    read.feed(HEAD + b"Content-Length: 200000\r\n\r\n", b"x" * 70_000)
    assert read.reading == ["pause"]
    read.reader.read_body(read.bodies.append, None)
    assert read.reading == ["pause", "resume"]
    read.feed(b"x" * 130_000)
    assert read.bodies == [b"x" * 200_000]


def test_a_limit_of_the_one_who_asks_counts_too() -> None:
    """A control route takes less than the server does."""
    read = ReadRequests(takes_bodies=False)
    read.feed(COUNTED[:-1])
    read.reader.read_body(read.bodies.append, 4)
    assert read.refused == (413, "the request's body is too large")


def test_a_client_that_waits_for_100_gets_it_when_the_body_is_taken() -> None:
    """Not before: a refused body need not be sent."""
    read = ReadRequests(takes_bodies=False)
    read.feed(HEAD + b"Expect: 100-continue\r\nContent-Length: 5\r\n\r\n")
    assert read.written == b""
    read.reader.read_body(read.bodies.append, None)
    assert read.written == b"HTTP/1.1 100 Continue\r\n\r\n"
    read.feed(b"hello")
    assert read.bodies == [b"hello"]


def test_a_large_body_is_read_into_its_own_memory() -> None:
    """Once enough of it has come, the owner is asked to read that way, and told where to."""
    size = 1 << 20
    read = ReadRequests()
    read.feed(HEAD + b"Content-Length: %d\r\n\r\n" % size, b"a" * 20_000)
    assert read.fills_bodies
    filled = 20_000
    while (place := read.reader.unfilled()) is not None:
        count = min(len(place), 100_000)
        place[:count] = b"b" * count
        read.reader.on_filled(count)
        filled += count
    assert filled == size
    assert read.bodies == [b"a" * 20_000 + b"b" * (size - 20_000)]


def test_a_body_that_memory_has_no_place_for_is_refused() -> None:
    """What the owner cannot account for is 503."""
    read = ReadRequests()
    read.may_hold = False
    read.feed(HEAD + b"Content-Length: 1000000\r\n\r\n", b"x" * 200_000)
    assert read.refused == (503, "too many large requests at once")


def test_a_tunnel_takes_over_with_what_waits() -> None:
    """Early bytes are handed over, and all further ones go to the tunnel."""
    read = ReadRequests()
    read.feed(GET + b"early")
    taken: list[bytes] = []
    assert read.reader.hand_over(taken.append) == b"early"
    read.feed(b"more")
    assert taken == [b"more"]
