"""Requests that are sent on an idle connection without a relay, and what may happen to them."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import pytest

from modelswap.http import EndReason
from support.sockets import connect, get, post, proxying, read_answer, read_request

if TYPE_CHECKING:
    from asyncio import StreamReader, StreamWriter
    from collections.abc import AsyncIterator, Awaitable, Callable

    from support.sockets import Front

    Talk = Callable[[StreamReader, StreamWriter], Awaitable[None]]

OK = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nok"


def second(talk: Talk) -> Talk:
    """Answer one request on each connection, then go on like this."""

    async def on_connection(reader: StreamReader, writer: StreamWriter) -> None:
        await read_request(reader)
        writer.write(OK)
        await talk(reader, writer)

    return on_connection


def answering(*pieces: bytes) -> Talk:
    async def talk(reader: StreamReader, writer: StreamWriter) -> None:
        while True:
            await read_request(reader)
            for piece in pieces:
                writer.write(piece)
                await asyncio.sleep(0.01)

    return second(talk)


async def silent(reader: StreamReader, writer: StreamWriter) -> None:
    """Read the request, and wait until the connection is closed."""
    del writer
    await read_request(reader)
    await reader.read()


@contextlib.asynccontextmanager
async def asking(
    talk: Talk, request: bytes, response_header: float = 60.0
) -> AsyncIterator[tuple[Front, StreamReader, StreamWriter]]:
    """Send a request that opens a connection, and another one that finds it idle."""
    async with proxying(talk, response_header=response_header) as (front, port):
        reader, writer = await connect(port)
        writer.write(post(b"one"))
        assert (await read_answer(reader))[2] == b"ok"
        front.came.clear()
        writer.write(request)
        async with asyncio.timeout(30):
            await front.came.wait()
        try:
            yield front, reader, writer
        finally:
            writer.close()


async def test_a_whole_response_needs_no_relay() -> None:
    async with asking(answering(OK), post(b"two")) as (front, reader, writer):
        for _ in range(3):
            assert (await read_answer(reader))[::2] == (200, b"ok")
            writer.write(post(b"more"))
        assert (await read_answer(reader))[::2] == (200, b"ok")
        assert front.asked == 4
        result = await front.notes[1].outcome()
        assert (result.reason, result.bytes_sent) == (EndReason.DONE, 2)
        assert [relay.ended for relay in front.relays[1:]] == [False] * 4


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"


@pytest.mark.parametrize(
    ("pieces", "status", "body"),
    [
        ((OK[:9], OK[9:]), 200, b"ok"),
        ((OK[:-2], b"ok"), 200, b"ok"),
        ((OK[:-1], b"k"), 200, b"ok"),
        ((CHUNKED,), 200, b"ok"),
        ((b"HTTP/1.1 100 Continue\r\n\r\n" + OK,), 200, b"ok"),
        ((OK.replace(b"200 OK", b"503 No"),), 503, b"ok"),
        ((b"HTTP/1.1 204 No Content\r\n\r\n",), 204, b""),
        ((OK.replace(b"2\r\n\r\nok", b"0\r\n\r\n"),), 200, b""),
        ((OK.replace(b"text/plain", b"text/html"),), 200, b"ok"),
        ((b"nonsense\r\n\r\n",), 502, b"BAD_RESPONSE"),
    ],
)  # fmt: skip
async def test_any_other_response_gets_its_relay(
    pieces: tuple[bytes, ...], status: int, body: bytes
) -> None:
    async with asking(answering(*pieces), post(b"two")) as (front, reader, _):
        assert (await read_answer(reader))[::2] == (status, body)
        assert front.asked == 1
        assert len(front.notes[1].ends) == 1


async def test_a_connection_that_ends_with_the_response_is_not_used_again() -> None:
    closing = OK.replace(b"Content-Type", b"Connection: close\r\nContent-Type")
    async with asking(answering(closing), post(b"two")) as (front, reader, writer):
        assert (await read_answer(reader))[2] == b"ok"
        writer.write(post(b"three"))
        assert (await read_answer(reader))[2] == b"ok"
        assert front.asked == 1


async def test_a_client_that_leaves_ends_it() -> None:
    gone = asyncio.Event()

    async def talk(reader: StreamReader, writer: StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            await silent(reader, writer)
        gone.set()

    async with asking(second(talk), post(b"two")) as (front, _, writer):
        writer.transport.abort()
        assert (await front.notes[1].outcome()).reason is EndReason.CLIENT_GONE
        async with asyncio.timeout(30):
            await gone.wait()
        assert front.asked == 1


async def test_no_response_in_time() -> None:
    async with asking(second(silent), post(b"two"), response_header=0.3) as (front, reader, _):
        assert (await read_answer(reader))[::2] == (502, b"HEADER_TIMEOUT")
        assert front.asked == 1


async def test_the_pool_is_closed() -> None:
    async with asking(second(silent), post(b"two")) as (front, reader, _):
        front.upstream.close()
        assert (await read_answer(reader))[::2] == (502, b"UPSTREAM_LOST")
        assert front.asked == 1


async def test_no_response_at_all() -> None:
    """The upstream has read it: it may have run, and is not sent again."""

    async def talk(reader: StreamReader, _writer: StreamWriter) -> None:
        await read_request(reader)

    async with asking(second(talk), post(b"two")) as (front, reader, _):
        assert (await read_answer(reader))[::2] == (502, b"NO_ANSWER")
        assert front.asked == 1


@pytest.mark.parametrize(
    "request_",
    [
        get(),
        post(b"").replace(b"POST", b"PUT"),
        post(b"x" * 70_000),
        post(b"two").replace(b"POST", b"HEAD"),
    ],
)
async def test_what_is_not_small_whole_and_plain_begins_with_a_relay(request_: bytes) -> None:
    async with asking(answering(OK), request_) as (front, reader, _):
        method = request_.partition(b" ")[0].decode()
        assert (await read_answer(reader, method))[0] == 200
        assert front.asked == 0
