"""Bodies that are sent on while they come."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from modelswap.http import OpenedBody
from support.sockets import serving

if TYPE_CHECKING:
    from modelswap.http import Exchange

LENGTH = 32 << 20


class Slow:
    """An upstream that asks for a pause as soon as it gets anything."""

    def __init__(self, body: OpenedBody, ended: asyncio.Event) -> None:
        self.body = body
        self.ended = ended
        self.received = 0

    def on_data(self, data: bytes) -> None:
        self.received += len(data)
        self.body.pause()

    def on_end(self) -> None:
        self.ended.set()

    def on_fail(self, detail: str) -> None:
        raise AssertionError(detail)


async def test_an_upstream_that_is_full_at_once_is_given_no_more() -> None:
    """A pause that is asked for while the beginning is given holds: memory does not fill."""
    started: asyncio.Future[Slow] = asyncio.get_running_loop().create_future()

    def handler(exchange: Exchange) -> None:
        def known(_beginning: bytes, _whole: bool) -> None:  # noqa: FBT001 - the taker's signature
            taker = Slow(body, asyncio.Event())
            body.start(taker)
            started.set_result(taker)

        body = OpenedBody(exchange, most=64 << 10, known=known)
        body.begin()

    async with serving(handler) as (_, port):
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n" % LENGTH)
        writer.write(bytes(LENGTH))
        taker = await started
        before = taker.received
        for _ in range(200):  # turns in which it could read on
            await asyncio.sleep(0)
        assert taker.received == before
        while not taker.ended.is_set():
            taker.body.resume()
            await asyncio.sleep(0)
        assert taker.received == LENGTH
        writer.close()
