"""An upstream's error after the client's stream began."""

from __future__ import annotations

from modelswap.http.client.late_error import LateError
from modelswap.http.message.head import parse_response
from support.sockets import Notes

HEAD = parse_response(b"HTTP/1.1 500 E\r\nContent-Type: text/plain\r\n\r\n")


def test_the_body_becomes_one_event() -> None:
    """Nothing of the body goes on; at its end the owner makes an event of it."""
    late = LateError(Notes(), HEAD)
    assert (late.data(b"bro"), late.data(b"ken")) == (b"", b"")
    assert late.end() == b"late 500 text/plain broken"


def test_a_large_body_is_kept_in_part() -> None:
    """What is kept has a bound."""
    late = LateError(Notes(), HEAD)
    for _ in range(100):
        late.data(b"x" * 1000)
    assert len(late.end()) == len(b"late 500 text/plain ") + (64 << 10)
