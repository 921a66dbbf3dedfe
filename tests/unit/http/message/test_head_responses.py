"""Odd responses of backends: each of `responses.toml` has one reading, or a refusal that says why."""

from __future__ import annotations

import asyncio
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from modelswap.http import EndReason
from support.sockets import connect, get, proxying, read_answer, read_request

if TYPE_CHECKING:
    from asyncio import StreamReader, StreamWriter
    from collections.abc import Awaitable, Callable

    Talk = Callable[[StreamReader, StreamWriter], Awaitable[None]]

READINGS: dict[str, dict[str, Any]] = tomllib.loads(
    (Path(__file__).parent / "responses.toml").read_text()
)
NEXT = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nnext"


def first(raw: bytes, *, step: int = 0, closes: bool = False) -> Talk:
    """Answer the first request of all connections with these bytes, every other one with `NEXT`."""
    answered = False

    async def talk(reader: StreamReader, writer: StreamWriter) -> None:
        nonlocal answered
        while True:
            await read_request(reader)
            if answered:
                writer.write(NEXT)
                continue
            answered = True
            for at in range(0, len(raw), step or len(raw)):
                writer.write(raw[at : at + (step or len(raw))])
                await writer.drain()
                if step:
                    await asyncio.sleep(0)
            if closes:
                return

    return talk


@pytest.mark.parametrize("pieces", ["whole", "bytes"])
@pytest.mark.parametrize("name", READINGS)
async def test_a_response_is_read_as_written_down(name: str, pieces: str) -> None:
    """The client gets a clean message and its connection goes on, or a reason, or a broken answer."""
    reading = READINGS[name]
    raw = reading["raw"].encode("latin-1")
    step = 1 if pieces == "bytes" else 0
    async with proxying(first(raw, step=step, closes=reading.get("closes", False))) as (
        front,
        port,
    ):
        reader, writer = await connect(port)
        writer.write(get())
        if "broken" in reading:
            await check_broken(await reader.read(), reading["broken"])
            assert (await front.notes[0].outcome()).reason is not EndReason.DONE
        elif "why" in reading:
            said = await check_refused(reader)
            outcome = await front.notes[0].outcome()
            assert reading["why"] in outcome.detail
            assert said == outcome.started
        else:
            await check_passed(reading, *await read_answer(reader))
            assert (await front.notes[0].outcome()).reason is EndReason.DONE
        if "broken" not in reading and not reader.at_eof():
            writer.write(get())
            assert (await read_answer(reader))[::2] == (200, b"next")
        writer.close()


async def check_refused(reader: StreamReader) -> bool:
    """A 502; True for an answer that breaks off, where the slip came after the head had gone out."""
    head = await reader.readuntil(b"\r\n\r\n")
    if head.startswith(b"HTTP/1.1 200"):
        assert b"0\r\n\r\n" not in await reader.read()
        return True
    assert head.startswith(b"HTTP/1.1 502")
    await reader.readexactly(len("BAD_RESPONSE"))
    return False


async def check_broken(answer: bytes, body: str) -> None:
    """The client got so much of the body, and neither a last chunk nor all that was announced."""
    head, _, rest = answer.partition(b"\r\n\r\n")
    if b"chunked" in head:
        pieces = rest.split(b"\r\n")
        assert b"0" not in pieces
        rest = b"".join(pieces[1::2])
    assert rest == body.encode("latin-1")


async def check_passed(reading: dict[str, Any], status: int, head: bytes, body: bytes) -> None:
    """The body is the backend's; the head is clean, and says once how long the body is."""
    assert (status, body) == (reading.get("status", 200), reading["body"].encode("latin-1"))
    assert head.count(b"\r\n") == head.count(b"\n") == head.count(b"\r")
    framing = head.lower().count(b"\r\ncontent-length:") + head.lower().count(b"\r\ntransfer-")
    assert framing == (status != 204) or (status == 304 and framing < 2)
    assert reading.get("has", "").encode("latin-1") in head
    assert "hasnt" not in reading or reading["hasnt"].encode("latin-1") not in head


async def test_a_repaired_head_is_no_pattern_for_others() -> None:
    """Equal lengths, read before, do not let two different ones pass."""
    answers = [
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nok",
    ]

    async def talk(reader: StreamReader, writer: StreamWriter) -> None:
        while True:
            await read_request(reader)
            writer.write(answers.pop(0))

    async with proxying(talk) as (_, port):
        reader, writer = await connect(port)
        statuses = []
        for _ in range(3):
            writer.write(get())
            statuses.append((await read_answer(reader))[0])
        assert statuses == [200, 502, 200]
        writer.close()


HEADS_WITHOUT_BODY = [
    ("HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n"),
    ("HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
    ("HEAD", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"),
    ("HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n"),
    ("HEAD", b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\n"),
    ("HEAD", b"HTTP/1.1 404 Not Found\r\nContent-Length: 9\r\n\r\n"),
    ("HEAD", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n"),
    ("HEAD", b"HTTP/1.1 204 No Content\r\nContent-Length: 9\r\n\r\n"),
    ("HEAD", b"HTTP/1.0 200 OK\r\nContent-Length: 500\r\n\r\n"),
    ("GET", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 500\r\nETag: 1\r\n\r\n"),
    ("GET", b"HTTP/1.1 304 Not Modified\r\nTransfer-Encoding: chunked\r\n\r\n"),
    ("GET", b"HTTP/1.1 304 Not Modified\r\n\r\n"),
    ("GET", b"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n"),
    ("GET", b"HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n"),
    ("GET", b"HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n"),
    ("GET", b"HTTP/1.1 205 Reset Content\r\nContent-Length: 0\r\n\r\n"),
    ("GET", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
]


@pytest.mark.parametrize("origin", ["", "Origin: http://localhost:3000\r\n"])
@pytest.mark.parametrize("is_pipelined", [False, True])
@pytest.mark.parametrize("version", ["1.1", "1.0"])
@pytest.mark.parametrize(("method", "raw"), HEADS_WITHOUT_BODY)
async def test_an_answer_without_body_leaves_the_connection_usable(
    method: str, raw: bytes, version: str, origin: str, *, is_pipelined: bool
) -> None:
    """The next request on the connection is answered, whatever length the head announced."""
    async with proxying(first(raw)) as (front, port):
        reader, writer = await connect(port)
        keep = "Connection: keep-alive\r\n" if version == "1.0" else ""
        asked = f"{method} /x HTTP/{version}\r\nHost: h\r\n{origin}{keep}\r\n".encode()
        writer.write(asked + get() if is_pipelined else asked)
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.split(b" ")[1] == raw.split(b" ")[1]
        assert b"Connection: close" not in head
        if not is_pipelined:
            writer.write(get())
        assert (await read_answer(reader))[::2] == (200, b"next")
        assert (await front.notes[0].outcome()).reason is EndReason.DONE
        writer.close()


async def test_a_body_sent_with_head_reaches_nobody() -> None:
    """A backend that answers HEAD with a body, even late, does not spoil the next answer."""
    late = asyncio.Event()

    async def talk(reader: StreamReader, writer: StreamWriter) -> None:
        head, _ = await read_request(reader)
        if head.startswith(b"HEAD"):
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n")
            await late.wait()
            writer.write(b"body")
            await reader.read()
        else:
            writer.write(NEXT)

    async with proxying(talk) as (_, port):
        reader, writer = await connect(port)
        writer.write(b"HEAD /x HTTP/1.1\r\nHost: h\r\n\r\n" + get())
        assert (await read_answer(reader, "HEAD"))[0] == 200
        late.set()
        assert (await read_answer(reader))[::2] == (200, b"next")
        writer.close()


@pytest.mark.parametrize("raw", [head for method, head in HEADS_WITHOUT_BODY if method == "GET"])
async def test_an_answer_without_body_leaves_the_backend_connection_usable(raw: bytes) -> None:
    """The next request goes to the backend on the same connection."""
    async with proxying(first(raw)) as (front, port):
        reader, writer = await connect(port)
        writer.write(get())
        await reader.readuntil(b"\r\n\r\n")
        await front.notes[0].outcome()
        assert front.upstream._idle == list(front.upstream._connections) != []
        writer.close()
