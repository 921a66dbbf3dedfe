"""Keep-alives of one client; `test_queue_wait.py` has them in a wait."""

from __future__ import annotations

from typing import Any

import pytest

from modelswap.api.protocols.stream_dialect import PING, StreamDialect
from modelswap.api.proxy.keep_alive_stream import KeepAliveStream, announced_timeout, before
from support.proxy_units import FakeExchange, FakeLoop, request_of


def test_a_client_that_does_not_read_gets_no_pile_of_keep_alives() -> None:
    exchange: Any = FakeExchange(request_of(length=9))
    fake = FakeLoop()
    loop: Any = fake
    stream = KeepAliveStream(exchange, loop, StreamDialect.MESSAGES, "m", grace=1, interval=2)
    fake.advance(1)
    assert exchange.sent == PING
    exchange.paused = True
    fake.advance(60)
    assert exchange.sent == PING
    exchange.paused = False
    fake.advance(2)
    assert exchange.sent == PING * 2
    stream.finish()
    assert fake.waiting == []


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


def test_responses_come_before_the_timeout_ends() -> None:
    """A second before, or a quarter where the timeout is short."""
    assert before(600) == 599
    assert before(2) == 1.5
