"""Event streams whose chunks pass by themselves, through a real proxy on real sockets."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from modelswap.http import EndReason
from modelswap.http.client.passthrough import BATCH, Passthrough
from support.sockets import PATIENCE, connect, get, proxying, read_answer, read_request

if TYPE_CHECKING:
    from asyncio import StreamReader, StreamWriter
    from collections.abc import Awaitable, Callable

    Talk = Callable[[StreamReader, StreamWriter], Awaitable[None]]

SSE = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
END = b"0\r\n\r\n"


def event(number: int) -> bytes:
    return b"data: {number: %d}\n\n" % number


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


EVENTS = [event(number) for number in range(60)]
CHUNKS = [chunk(data) for data in EVENTS]


def in_pieces(pieces: list[bytes], *, then: Callable[[StreamWriter], None] | None = None) -> Talk:
    """Answer each request with every piece in a read of its own; then do `then`."""

    async def talk(reader: StreamReader, writer: StreamWriter) -> None:
        while True:
            await read_request(reader)
            for piece in pieces:
                writer.write(piece)
                await asyncio.sleep(0.001)  # so that each is read alone
            if then is not None:
                then(writer)

    return talk


async def read_to_end(reader: StreamReader) -> bytes:
    async with asyncio.timeout(PATIENCE):
        return await reader.read()


async def test_lone_events_pass_and_are_observed_together() -> None:
    """The client gets each chunk as it came; the observer all bytes, in two calls."""
    async with proxying(in_pieces([SSE, *CHUNKS, END])) as (front, port):
        reader, writer = await connect(port)
        writer.write(get())
        async with asyncio.timeout(PATIENCE):
            raw = await reader.readuntil(END)
        assert raw.endswith(b"\r\n\r\n" + b"".join(CHUNKS) + END)
        result = await front.notes[0].outcome()
        assert result.reason is EndReason.DONE
        assert result.bytes_sent == len(b"".join(EVENTS))
        assert front.notes[0].data == [EVENTS[0], b"".join(EVENTS[1:])]
        writer.write(get())  # the client's connection is as good as before
        assert (await read_answer(reader))[0] == 200
        writer.close()


def split(data: bytes) -> list[bytes]:
    return [data[:at] for at in (1,)] + [data[1:4], data[4:-1], data[-1:]]


@pytest.mark.parametrize(
    "odd",
    [
        pytest.param([chunk(b"data: a\n\n") + chunk(b"data: b\n\n")], id="two in one read"),
        pytest.param(split(chunk(b"data: a\n\n")), id="one in four reads"),
        pytest.param([b"9;name=value\r\ndata: a\n\n\r\n"], id="with an extension"),
        pytest.param([b"0009\r\ndata: a\n\n\r\n"], id="with zeros in front"),
        pytest.param([b"9\ndata: a\n\n\r\n"], id="a bare LF behind the size"),
        pytest.param([chunk(b"0\r\n\r\n")], id="a body that looks like the end"),
        pytest.param([chunk(b"\r\n5\r\nhello\r\n")], id="a body that looks like a chunk"),
        pytest.param([chunk(b"x" * 100_000)], id="large"),
        pytest.param([chunk(b"data: a\n\n") + b"5\r\nhe", b"llo\r\n"], id="one and a half"),
    ],
)
async def test_other_reads_between_lone_events(odd: list[bytes]) -> None:
    """What is not one plain chunk is read with care, keeps its place, and lone chunks pass again."""
    pieces = [SSE, *CHUNKS[:5], *odd, *CHUNKS[5:10], *odd, *CHUNKS[10:], END]
    expected = await body_through(in_pieces([SSE, *odd, END]))
    body = b"".join(EVENTS[:5]) + expected + b"".join(EVENTS[5:10]) + expected
    body += b"".join(EVENTS[10:])
    async with proxying(in_pieces(pieces)) as (front, port):
        reader, writer = await connect(port)
        writer.write(get())
        assert (await read_answer(reader))[2] == body
        result = await front.notes[0].outcome()
        assert (result.reason, result.bytes_sent) == (EndReason.DONE, len(body))
        assert b"".join(front.notes[0].data) == body
        writer.close()


async def body_through(talk: Talk) -> bytes:
    async with proxying(talk) as (_, port):
        reader, writer = await connect(port)
        writer.write(get())
        _, _, body = await read_answer(reader)
        writer.close()
        return body


@pytest.mark.parametrize(
    ("last", "reason"),
    [
        pytest.param(b"5\r\nhelloXY", EndReason.BAD_RESPONSE, id="no line end behind the body"),
        pytest.param(b"5\r\nhello world\r\n", EndReason.BAD_RESPONSE, id="longer than it says"),
        pytest.param(b"zz\r\nhello\r\n", EndReason.BAD_RESPONSE, id="no size"),
        pytest.param(b"-5\r\nhello\r\n", EndReason.BAD_RESPONSE, id="a negative size"),
        pytest.param(b"5\r\nhel", EndReason.TRUNCATED, id="cut"),
        pytest.param(b"", EndReason.TRUNCATED, id="closed between two chunks"),
    ],
)
async def test_a_stream_that_breaks_looks_broken(last: bytes, reason: EndReason) -> None:
    """The events before it arrived and were observed, and the client sees that it is no end."""
    talk = in_pieces([SSE, *CHUNKS, last], then=lambda writer: writer.close())
    async with proxying(talk) as (front, port):
        reader, writer = await connect(port)
        writer.write(get())
        raw = await read_to_end(reader)
        assert b"".join(CHUNKS) in raw
        assert not raw.endswith(END)
        result = await front.notes[0].outcome()
        assert result.reason is reason
        assert b"".join(front.notes[0].data).startswith(b"".join(EVENTS))
        assert result.bytes_sent == len(b"".join(front.notes[0].data))
        writer.close()


async def test_bytes_behind_the_end_never_reach_the_client() -> None:
    """A second response that nobody asked for, in the read that ends the first, is dropped."""
    pieces = [SSE, *CHUNKS, chunk(b"last") + END + b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"]
    async with proxying(in_pieces(pieces)) as (front, port):
        reader, writer = await connect(port)
        writer.write(get(more="Connection: close\r\n"))
        raw = await read_to_end(reader)
        assert raw.count(b"HTTP/1.1") == 1
        assert raw.endswith(END)
        assert (await front.notes[0].outcome()).reason is EndReason.DONE
        assert not front.upstream._idle
        writer.close()


async def test_a_client_that_leaves_is_noticed_with_what_it_got() -> None:
    """The upstream's connection ends, and the record knows the bytes that were sent."""
    gone = asyncio.Event()

    async def talk(reader: StreamReader, writer: StreamWriter) -> None:
        await read_request(reader)
        writer.write(SSE)
        try:
            for number in range(10_000):
                writer.write(chunk(event(number)))
                await asyncio.sleep(0.001)
                await writer.drain()
        except ConnectionError:
            gone.set()

    async with proxying(talk) as (front, port):
        reader, writer = await connect(port)
        writer.write(get())
        await reader.readuntil(chunk(event(20)))
        writer.close()
        result = await front.notes[0].outcome()
        assert result.reason is EndReason.CLIENT_GONE
        data = b"".join(front.notes[0].data)
        assert data.startswith(b"".join(EVENTS[:20]))
        assert result.bytes_sent == len(data)
        async with asyncio.timeout(PATIENCE):
            await gone.wait()


async def test_a_client_that_does_not_read_stops_the_upstream() -> None:
    """Chunks that pass by themselves are bounded by the client's buffers; all arrive in the end."""
    written = 0
    body = b"y" * 8000
    count = 4000

    async def talk(reader: StreamReader, writer: StreamWriter) -> None:
        nonlocal written
        await read_request(reader)
        writer.write(SSE)
        for _ in range(count):
            writer.write(chunk(body))
            await writer.drain()
            written += 1
            await asyncio.sleep(0)
        writer.write(END)
        await reader.read()

    async with proxying(talk) as (front, port):
        reader, writer = await connect(port)
        writer.transport.pause_reading()  # type: ignore[attr-defined]  # uvloop transports go both ways
        writer.write(get())
        before = -1
        while before != written:  # until nothing moves any more
            before = written
            await asyncio.sleep(0.3)
        assert 0 < written < count
        writer.transport.resume_reading()  # type: ignore[attr-defined]
        assert (await read_answer(reader))[2] == body * count
        assert (await front.notes[0].outcome()).bytes_sent == len(body) * count
        writer.close()


async def test_passing_chunks_are_signs_of_life() -> None:
    """A stream is not stalled while its chunks pass, and is when they stop."""
    pieces: list[bytes] = [SSE]

    async def talk(reader: StreamReader, writer: StreamWriter) -> None:
        await read_request(reader)
        for piece in pieces + CHUNKS[:24]:
            writer.write(piece)
            await asyncio.sleep(0.1)
        await reader.read()

    async with proxying(talk, stall=1.0) as (front, port):
        reader, writer = await connect(port)
        writer.write(get())
        raw = await read_to_end(reader)
        assert b"".join(CHUNKS[:24]) in raw
        assert (await front.notes[0].outcome()).reason is EndReason.STALLED
        assert len(front.notes[0].data) > 2  # and was observed in between
        writer.close()


async def test_the_batch_is_bounded() -> None:
    """The observer gets what there is when it is much, whatever the time."""
    batches: list[tuple[bytes, float]] = []

    async with proxying(in_pieces([SSE, CHUNKS[0]])) as (front, port):
        reader, writer = await connect(port)
        writer.write(get())
        await reader.readuntil(CHUNKS[0])
        client = front.relays[0]._exchange.writer
        passing = Passthrough(client, lambda data, now: batches.append((data, now)), 1.0)
        for number in range(5):
            passing.add(b"x" * (BATCH // 4), 2.0 + number)
        assert batches == [(b"x" * (BATCH // 4) * 5, 6.0)]
        passing.add(b"rest", 6.1)
        assert passing.sweep()
        assert len(batches) == 1
        passing.add(b"!", 7.0)
        assert passing.sweep()
        assert batches[1:] == [(b"rest!", 7.0)]
        passing.add(b"more", 7.1)
        assert passing.sweep()
        assert not passing.sweep()  # nothing came since
        assert batches[2:] == [(b"more", 7.1)]
        writer.close()
