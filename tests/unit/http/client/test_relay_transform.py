"""A transform between upstream and client, on real sockets."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from modelswap.http import EndReason
from modelswap.http.message.head import BadResponseError
from support.sockets import connect, get, post, proxying, read_answer, read_request

if TYPE_CHECKING:
    from asyncio import StreamReader, StreamWriter
    from collections.abc import Awaitable, Callable, Sequence

    from modelswap.http import Exchange, Field, ResponseHead

    Talk = Callable[[StreamReader, StreamWriter], Awaitable[None]]

COUNTED = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n\r\nhello"
CHUNKED = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n"
EVENTS = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
END = b"0\r\n\r\n"


class Upper:
    """Writes the body in capitals with a full stop, and says so in the head."""

    def head(self, head: ResponseHead) -> Sequence[Field] | None:
        kept = [field for field in head.headers if field[0].lower() == b"content-type"]
        return [*kept, (b"X-Upper", b"1")]

    def data(self, data: bytes) -> bytes:
        return data.upper()

    def end(self) -> bytes:
        return b"."


class Collecting(Upper):
    """Holds everything until the end."""

    def __init__(self) -> None:
        self.held = b""

    def data(self, data: bytes) -> bytes:
        self.held += data
        return b""

    def end(self) -> bytes:
        return self.held[::-1]


class OnlySuccess(Upper):
    """Leaves errors as they are."""

    def head(self, head: ResponseHead) -> Sequence[Field] | None:
        return super().head(head) if head.status < 400 else None


class Confused(Upper):
    """Cannot read the body."""

    def data(self, data: bytes) -> bytes:
        raise BadResponseError(f"no sense in {len(data)} bytes")


class ConfusedAtTheEnd(Upper):
    """Misses the end."""

    def end(self) -> bytes:
        raise BadResponseError("no end")


class ConfusedByHead(Upper):
    """Cannot read the head."""

    def head(self, head: ResponseHead) -> Sequence[Field] | None:
        raise BadResponseError(f"no sense in {head.status}")


class Breaking(Upper):
    """Makes a field that would break out of its line."""

    def head(self, head: ResponseHead) -> Sequence[Field] | None:
        del head
        return [(b"X-Bad", b"1\r\nX-Worse: 2")]


def once(*parts: bytes, close: bool = False) -> Talk:
    """Respond to one request with these parts, one after the other; then stay, or close."""

    async def talk(reader: StreamReader, writer: StreamWriter) -> None:
        await read_request(reader)
        for part in parts:
            writer.write(part)
            await writer.drain()
            await asyncio.sleep(0.02)
        if not close:
            await reader.read()

    return talk


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


@pytest.mark.parametrize(
    "parts",
    [
        (COUNTED,),
        (COUNTED[:-5], b"hello"),
        (COUNTED[:-2], b"lo"),
        (CHUNKED + chunk(b"hello") + END,),
        (CHUNKED, chunk(b"hel"), chunk(b"lo"), END),
        (b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\nhel", b"lo"),
    ],
)
async def test_every_framing_is_transformed(parts: tuple[bytes, ...]) -> None:
    """However the body is framed and cut, the client gets the transform's bytes and fields."""
    until_close = b"Transfer" not in parts[0] and b"Length" not in parts[0]
    async with proxying(once(*parts, close=until_close)) as (front, port):
        front.transform = Upper
        reader, writer = await connect(port)
        writer.write(post(b"x"))
        status, head, body = await read_answer(reader)
        assert (status, body) == (200, b"HELLO.")
        assert b"\r\nX-Upper: 1\r\n" in head
        assert b"Content-Length" not in head
        notes = front.notes[0]
        result = await notes.outcome()
        assert (result.reason, result.bytes_sent, result.started) == (EndReason.DONE, 6, True)
        assert b"".join(notes.data) == b"hello"  # the record is of what the upstream sent
        writer.close()


async def test_the_connections_are_kept() -> None:
    """After a transformed response both connections serve the next request."""
    async with proxying(once(COUNTED)) as (front, port):
        front.transform = Collecting
        reader, writer = await connect(port)
        writer.write(post(b"x"))
        assert (await read_answer(reader))[2] == b"olleh"
        assert front.upstream._idle == list(front.upstream._connections) != []
        writer.write(post(b"y"))
        await asyncio.sleep(0.05)
        assert len(front.notes) == 2
        writer.close()


async def test_an_event_stream_passes_event_by_event() -> None:
    """A transformed event is at the client before the next is made."""
    gate = asyncio.Event()

    async def talk(reader: StreamReader, writer: StreamWriter) -> None:
        await read_request(reader)
        writer.write(EVENTS + chunk(b"data: a\n\n"))
        await gate.wait()
        writer.write(chunk(b"data: b\n\n") + END)
        await reader.read()

    async with proxying(talk) as (front, port):
        front.transform = Upper
        reader, writer = await connect(port)
        writer.write(post(b"x"))
        head = await reader.readuntil(b"\r\n\r\n")
        assert b"X-Accel-Buffering: no" in head
        assert await reader.readexactly(14) == chunk(b"DATA: A\n\n")
        gate.set()
        assert await reader.readuntil(END) == chunk(b"DATA: B\n\n.") + END
        writer.close()


async def test_an_error_may_pass_unchanged() -> None:
    """A transform that wants no part in a response leaves it as it is, its framing too."""
    answer = b"HTTP/1.1 404 Not Found\r\nContent-Type: text/plain\r\nContent-Length: 4\r\n\r\ngone"
    async with proxying(once(answer)) as (front, port):
        front.transform = OnlySuccess
        reader, writer = await connect(port)
        writer.write(post(b"x"))
        status, head, body = await read_answer(reader)
        assert (status, body) == (404, b"gone")
        assert b"Content-Length: 4" in head
        assert b"X-Upper" not in head
        writer.close()


@pytest.mark.parametrize(
    ("method", "answer"),
    [("HEAD", COUNTED[:-5]), ("GET", b"HTTP/1.1 204 No Content\r\n\r\n")],
)
async def test_a_response_without_a_body_stays_without(method: str, answer: bytes) -> None:
    """The fields change, and neither the upstream's length nor the transform's end is sent."""
    async with proxying(once(answer)) as (front, port):
        front.transform = Upper
        reader, writer = await connect(port)
        writer.write(get().replace(b"GET", method.encode()))
        _, head, _ = await read_answer(reader, method)
        assert b"X-Upper: 1" in head
        assert b"Content-Length" not in head
        assert (await front.notes[0].outcome()).bytes_sent == 0
        writer.write(b"GET")
        await asyncio.sleep(0.02)
        assert not reader._buffer  # type: ignore[attr-defined]  # nothing came behind the head
        writer.close()


async def test_a_page_gets_its_guard_by_the_fields_that_the_client_reads() -> None:
    """What a transform makes of a response decides whether a browser could run it."""

    class Page(Upper):
        def head(self, head: ResponseHead) -> Sequence[Field] | None:
            del head
            return [(b"Content-Type", b"text/html")]

    async with proxying(once(COUNTED)) as (front, port):
        front.transform = Page
        front.page_guard = [(b"Content-Security-Policy", b"sandbox")]
        reader, writer = await connect(port)
        writer.write(get())
        assert b"Content-Security-Policy: sandbox" in (await read_answer(reader))[1]
        writer.close()


@pytest.mark.parametrize("transform", [Confused, ConfusedByHead, Breaking])
async def test_what_makes_no_sense_is_a_bad_response(transform: type[Upper]) -> None:
    """A transform that gives up ends the relay; before a byte has gone out the owner responds."""
    async with proxying(once(COUNTED)) as (front, port):
        front.transform = transform
        reader, writer = await connect(port)
        writer.write(post(b"x"))
        status, _, body = await read_answer(reader)
        assert (status, body) == (502, b"BAD_RESPONSE")
        result = await front.notes[0].outcome()
        assert (result.reason, result.started) == (EndReason.BAD_RESPONSE, False)
        writer.close()


async def test_a_body_until_the_connections_end_may_make_no_sense() -> None:
    """Its end is told by the end of the connection, and what was sent looks broken."""
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\nhello"
    async with proxying(once(head, close=True)) as (front, port):
        front.transform = ConfusedAtTheEnd
        reader, writer = await connect(port)
        writer.write(post(b"x"))
        await reader.readuntil(b"\r\n\r\n")
        assert await reader.read() == chunk(b"HELLO")
        assert (await front.notes[0].outcome()).reason is EndReason.BAD_RESPONSE
        writer.close()


async def test_a_stream_that_makes_no_sense_breaks_with_an_event() -> None:
    """Once events have gone out, the client gets the owner's last event and no clean end."""

    class ConfusedLater(Upper):
        def data(self, data: bytes) -> bytes:
            if b"b" in data:
                raise BadResponseError("no sense")
            return data

    async with proxying(once(EVENTS + chunk(b"a"), chunk(b"b"))) as (front, port):
        front.transform = ConfusedLater
        front.event = b"last"
        reader, writer = await connect(port)
        writer.write(post(b"x"))
        await reader.readuntil(b"\r\n\r\n")
        assert await reader.read() == chunk(b"a") + chunk(b"last")
        assert (await front.notes[0].outcome()).reason is EndReason.BAD_RESPONSE
        writer.close()


async def test_an_upstream_that_breaks_off_looks_broken() -> None:
    """A truncated body gets no end from the transform."""
    async with proxying(once(CHUNKED + chunk(b"hel"), close=True)) as (front, port):
        front.transform = Upper
        reader, writer = await connect(port)
        writer.write(post(b"x"))
        await reader.readuntil(b"\r\n\r\n")
        assert await reader.read() == chunk(b"HEL")
        assert (await front.notes[0].outcome()).reason is EndReason.TRUNCATED
        writer.close()


@pytest.mark.parametrize(
    ("answer", "rest"),
    [
        (COUNTED, b"late 200 text/plain hello"),
        (EVENTS + chunk(b"a") + END, b"A."),
    ],
)
async def test_a_stream_that_began_without_the_upstream_goes_on(answer: bytes, rest: bytes) -> None:
    """Events go on transformed; what are no events becomes the owner's event, untransformed."""

    def start(exchange: Exchange) -> None:
        exchange.start(200, [(b"Content-Type", b"text/event-stream")])
        exchange.write(b": loading\n\n")

    async with proxying(once(answer)) as (front, port):
        front.transform = Upper
        front.before = start
        reader, writer = await connect(port)
        writer.write(post(b"x"))
        assert (await read_answer(reader))[2] == b": loading\n\n" + rest
        writer.close()


async def test_a_client_that_leaves_ends_the_relay() -> None:
    """The upstream's connection is closed when the client closes in the middle."""
    async with proxying(once(EVENTS + chunk(b"a"))) as (front, port):
        front.transform = Upper
        reader, writer = await connect(port)
        writer.write(post(b"x"))
        await reader.readuntil(b"A\r\n")
        writer.close()
        assert (await front.notes[0].outcome()).reason is EndReason.CLIENT_GONE
        assert not front.upstream._connections


async def test_a_client_that_does_not_read_holds_the_upstream() -> None:
    """Also a transformed body is read no faster than the client takes it."""
    sent = 0

    async def talk(reader: StreamReader, writer: StreamWriter) -> None:
        nonlocal sent
        await read_request(reader)
        writer.write(CHUNKED)
        while True:
            writer.write(chunk(b"x" * 65536))
            await writer.drain()
            sent += 65536

    async with proxying(talk) as (front, port):
        front.transform = Upper
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(post(b"x"))
        await reader.readuntil(b"\r\n\r\n")
        before = -1
        while before != sent:
            before = sent
            await asyncio.sleep(0.3)
        assert sent < 64 << 20
        writer.transport.abort()
