"""Bodies that are read straight into their own memory: whole, alone, and bounded."""

from __future__ import annotations

import asyncio
import hashlib
import socket
import ssl
import struct
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import trustme

from modelswap.config.schema.schema_root import Limits
from modelswap.http.body.body_buffer import MAX_SIZE, MIN_SIZE, BodyBuffer
from modelswap.http.server import intake
from modelswap.http.server.request_reader import RequestReader
from modelswap.units import Seconds
from support.sockets import (
    Front,
    connect,
    post,
    proxying,
    read_answer,
    read_request,
    serving,
    upstream_that,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from modelswap.http import Exchange

LIMITS = Limits()
MB = 1 << 20


def some(size: int, seed: int = 0) -> bytes:
    """Bytes in which every misplaced piece shows."""
    return hashlib.shake_128(b"%d" % seed).digest(size)


LARGE = some(3 * MB + 17)


def digest(data: bytes) -> bytes:
    return hashlib.sha256(data).hexdigest().encode()


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not holds():  # noqa: ASYNC110 - a server tells nobody
            await asyncio.sleep(0.01)


def by_digest(exchange: Exchange) -> None:
    """Answer with the body's digest."""
    exchange.read_body(lambda body: exchange.reply(200, [], digest(body)))


async def test_awkward_pieces_make_the_same_body() -> None:
    """Wherever a body is cut, head included, what arrives is what was sent."""
    message = post(LARGE)
    chance = [int.from_bytes(some(4, seed)) % len(message) for seed in range(72)]
    cuts: list[list[int]] = [
        [message.index(b"\r\n\r\n") + 2],
        [message.index(b"\r\n\r\n") + 4],
        [message.index(b"\r\n\r\n") + 5, len(message) - 1],
        *(sorted(chance[row::6]) for row in range(6)),
    ]
    async with serving(by_digest) as (_, port):
        reader, writer = await connect(port)
        for places in cuts:
            for start, end in zip([0, *places], [*places, len(message)], strict=True):
                writer.write(message[start:end])
                await writer.drain()
                await asyncio.sleep(0.005)  # so that the pieces are read apart
            assert (await read_answer(reader))[2] == digest(LARGE)
        writer.close()


@pytest.mark.parametrize(
    "size",
    [16 << 10, 255_900, 256_000, 300 << 10, MIN_SIZE - 1, MIN_SIZE, MIN_SIZE + 1, 5 * MB, 9 * MB],
)
async def test_sizes_around_every_bound(size: int) -> None:
    """Two bodies of one size on one connection come byte for byte, one after the other."""
    first, second = some(size, 1), some(size, 2)
    async with serving(by_digest) as (_, port):
        reader, writer = await connect(port)
        for body in (first, second):
            writer.write(post(body))
            assert (await read_answer(reader))[2] == digest(body)
        writer.close()


async def test_a_body_too_large_for_its_own_memory_is_gathered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Beyond the bound, and where the system gives no memory, a body arrives all the same."""
    async with serving(by_digest) as (_, port):
        reader, writer = await connect(port)
        monkeypatch.setattr(intake, "MAX_SIZE", 2 * MB)
        writer.write(post(LARGE))
        assert (await read_answer(reader))[2] == digest(LARGE)
        monkeypatch.setattr(intake, "MAX_SIZE", MAX_SIZE)
        monkeypatch.setattr(intake, "BodyBuffer", refusing)
        writer.write(post(LARGE))
        assert (await read_answer(reader))[2] == digest(LARGE)
        writer.close()


def refusing(length: int) -> BodyBuffer:
    raise MemoryError(length)


async def test_what_comes_behind_a_large_body_is_the_next_request() -> None:
    """Nothing behind the body is read into it: large and small requests, all sent at once."""
    bodies = [LARGE, b"small", LARGE[: 2 * MB], b"", LARGE[:MB]]
    async with serving(by_digest) as (_, port):
        reader, writer = await connect(port)
        writer.write(b"".join(post(body) for body in bodies))
        for body in bodies:
            assert (await read_answer(reader))[2] == digest(body)
        writer.close()


async def test_an_expected_body_comes_after_the_leave() -> None:
    """`100-continue` first, then the body, straight into its memory."""
    message = post(LARGE, more="Expect: 100-continue\r\n")
    async with serving(by_digest) as (_, port):
        reader, writer = await connect(port)
        head = message.index(b"\r\n\r\n") + 4
        writer.write(message[:head])
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(message[head:])
        assert (await read_answer(reader))[2] == digest(LARGE)
        writer.close()


async def test_a_body_asked_for_late() -> None:
    """A handler may ask a while after the head: what came meanwhile is not lost."""

    def later(exchange: Exchange) -> None:
        asyncio.get_running_loop().call_later(0.05, by_digest, exchange)

    async with serving(later) as (_, port):
        reader, writer = await connect(port)
        writer.write(post(LARGE) + post(b"x"))
        assert (await read_answer(reader))[2] == digest(LARGE)
        assert (await read_answer(reader))[2] == digest(b"x")
        writer.close()


async def test_a_handler_may_lower_the_limit_of_a_large_body() -> None:
    """413 when it asks, in the middle of the body."""
    async with serving(lambda exchange: exchange.read_body(lambda _: None, MB)) as (server, port):
        reader, writer = await connect(port)
        writer.write(post(LARGE)[: 2 * MB])
        assert (await read_answer(reader))[0] == 413
        writer.close()
        await until(lambda: server.held == 0)


@pytest.mark.parametrize("reset", [False, True])
async def test_a_client_that_leaves_in_the_middle(*, reset: bool) -> None:
    """Its body never arrives, and nothing stays accounted for."""
    gone = asyncio.Event()
    bodies: list[bytes] = []

    def handler(exchange: Exchange) -> None:
        exchange.on_gone = gone.set
        exchange.read_body(bodies.append)

    async with serving(handler) as (server, port):
        _, writer = await connect(port)
        writer.write(post(LARGE)[: 2 * MB])
        await writer.drain()
        await until(lambda: server.held >= MB)
        if reset:
            sock = writer.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()
        else:
            writer.close()
        await until(lambda: gone.is_set() and not server.connections)
        assert server.held == 0
        assert bodies == []


async def test_a_large_body_that_stands_still_gets_408() -> None:
    """The deadline sees a body that the loop did not read."""
    async with serving(by_digest, replace(LIMITS, body_timeout=Seconds(0.5))) as (server, port):
        reader, writer = await connect(port)
        writer.write(post(LARGE)[: 2 * MB])
        assert (await read_answer(reader))[0] == 408
        writer.close()
        await until(lambda: server.held == 0)


async def test_many_announced_bodies_take_no_memory() -> None:
    """A promised length costs address space, not memory: forty times 60 MB, of which 32 KB came."""
    start = b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n" % (60 * MB) + bytes(
        32 << 10
    )
    async with serving(by_digest) as (server, port):
        before = resident()
        clients = [await connect(port) for _ in range(40)]
        for _, writer in clients:
            writer.write(start)
        await until(lambda: server.connections == len(clients))
        await asyncio.sleep(0.2)
        assert resident() - before < 40 * MB
        for _, writer in clients:
            writer.close()


def resident() -> int:
    """Bytes of this process in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def contexts() -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """The server's and the client's of one authority."""
    authority = trustme.CA()
    trusted = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(trusted)
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    return trusted, trusting


async def test_a_large_body_reaches_the_upstream_again_when_it_never_ran() -> None:
    """A used connection that died takes no body with it: the whole is there for the second try."""
    seen: list[bytes] = []
    connections = 0

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        if connections == 1:
            await read_request(reader)
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi")
            await reader.read(1)  # the next request has begun
            return
        seen.append((await read_request(reader))[1])
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi")

    async with proxying(talk) as (_, port):
        reader, writer = await connect(port)
        writer.write(post(b"first"))
        assert (await read_answer(reader))[0] == 200
        writer.write(post(LARGE).replace(b"POST", b"PUT", 1))
        assert (await read_answer(reader))[0] == 200
        assert [digest(body) for body in seen] == [digest(LARGE)]
        writer.close()


def test_an_unfinished_buffer_gives_nothing() -> None:
    """What was not written is never seen."""
    buffer = BodyBuffer(10)
    buffer.take(b"12345")
    with pytest.raises(ValueError, match="5 of 10"):
        buffer.whole()
    buffer.take(memoryview(b"67890"))
    assert buffer.whole() == b"1234567890"


def test_a_buffer_takes_nothing_beyond_its_end() -> None:
    """What is read into it can only be the body's, and only so much at once."""
    buffer = BodyBuffer(6)
    buffer.take(b"ab")
    unfilled = buffer.unfilled()
    assert len(unfilled) == 4
    unfilled[:3] = b"cde"
    buffer.add(3)
    assert len(buffer.unfilled()) == 1
    buffer.take(b"f")
    assert len(buffer.unfilled()) == 0
    assert buffer.whole() == b"abcdef"
    assert len(BodyBuffer(32 * MB).unfilled()) < 32 * MB


@pytest.fixture
def filled(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Counts of bytes that came straight into a body's memory."""
    counts: list[int] = []
    on_filled = RequestReader.on_filled

    def counting(reader: RequestReader, count: int) -> None:
        counts.append(count)
        on_filled(reader, count)

    monkeypatch.setattr(RequestReader, "on_filled", counting)
    return counts


@pytest.mark.parametrize("secure", [False, True])
async def test_most_of_a_large_body_is_not_copied(filled: list[int], *, secure: bool) -> None:
    """Neither of the first on its connection nor of those behind, whether head and body come apart."""
    trusted, trusting = contexts() if secure else (None, None)
    async with serving(by_digest, ssl_context=trusted) as (_, port):
        reader, writer = await asyncio.open_connection("localhost", port, ssl=trusting)
        for is_apart in (True, False, True):
            filled.clear()
            head, mark, body = post(LARGE).partition(b"\r\n\r\n")
            writer.write(head + mark)
            if is_apart:
                await writer.drain()
                await asyncio.sleep(0.05)
            writer.write(body)
            assert (await read_answer(reader))[2] == digest(LARGE)
            assert sum(filled) > len(LARGE) - (512 << 10)
        writer.close()


async def test_a_tunnel_behind_a_large_body_loses_nothing_over_tls() -> None:
    """Also when the client ends it without a word of TLS, right behind its last byte."""
    got: asyncio.Queue[bytes] = asyncio.Queue()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi")
        await read_request(reader)
        writer.write(
            b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n"
        )
        got.put_nowait(digest(await reader.read()))

    def client(port: int, context: ssl.SSLContext) -> None:
        with (
            socket.create_connection(("localhost", port)) as plain,
            context.wrap_socket(plain, server_hostname="localhost") as secure,
        ):
            secure.sendall(post(LARGE))
            assert secure.recv(1000).endswith(b"hi")
            secure.sendall(
                b"GET /x HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n"
            )
            assert secure.recv(1000).startswith(b"HTTP/1.1 101")
            secure.sendall(LARGE)
            secure.shutdown(socket.SHUT_WR)  # the socket's end, not that of TLS
            plain.close()

    trusted, trusting = contexts()
    async with upstream_that(talk) as upstream:
        front = Front(upstream)
        async with serving(front, ssl_context=trusted) as (_, port):
            for _ in range(10):
                await asyncio.to_thread(client, port, trusting)
                assert await got.get() == digest(LARGE)
        front.upstream.close()


async def test_everything_else_works_behind_a_large_body() -> None:
    """The connection is read in another way from then on: chunks and a tunnel as well."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            head, body = await read_request(reader)
            if b"Upgrade: echo" in head:
                break
            answer = digest(body)
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(answer), answer))
        writer.write(
            b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n"
        )
        while data := await reader.read(1 << 16):
            writer.write(data)

    async with proxying(talk) as (front, port):
        reader, writer = await connect(port)
        writer.write(post(LARGE))
        assert (await read_answer(reader))[2] == digest(LARGE)
        reading = front.relays[0]._exchange._owner.reader
        assert isinstance(reading, RequestReader)
        assert reading.fills_bodies
        writer.write(b"POST /x HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n")
        for piece in (LARGE[: 2 * MB], b"little", LARGE[2 * MB :]):
            writer.write(b"%x\r\n%b\r\n" % (len(piece), piece))
        writer.write(b"0\r\n\r\n")
        expected = LARGE[: 2 * MB] + b"little" + LARGE[2 * MB :]
        assert (await read_answer(reader))[2] == digest(expected)
        writer.write(b"GET /x HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101")
        writer.write(LARGE)
        assert await reader.readexactly(len(LARGE)) == LARGE
        writer.write_eof()
        assert await reader.read() == b""
        writer.close()
