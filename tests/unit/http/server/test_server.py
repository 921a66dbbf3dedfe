"""The listening side: limits, deadlines, order, endings; on real sockets."""

from __future__ import annotations

import asyncio
import socket
import ssl
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import trustme

from modelswap.config.schema.schema_root import Limits
from support.sockets import connect, get, post, read_answer, serving

if TYPE_CHECKING:
    from modelswap.http import Exchange

LIMITS = Limits()


def reader_of_bodies(exchange: Exchange) -> None:
    """Answer with the length of the body."""
    exchange.read_body(lambda body: exchange.reply(200, [], b"%d" % len(body)))


def short(**changes: float) -> Limits:
    return replace(LIMITS, **changes)  # type: ignore[arg-type]  # plain numbers


async def test_a_declared_body_over_the_limit_is_refused_unread() -> None:
    """413 comes before the body, and the handler never hears of the request."""
    seen: list[str] = []
    async with serving(lambda exchange: seen.append(exchange.request.path), short(body=10)) as (
        _,
        port,
    ):
        reader, writer = await connect(port)
        writer.write(
            b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 11\r\nExpect: 100-continue\r\n\r\n"
        )
        assert (await reader.read()).startswith(b"HTTP/1.1 413 ")
        assert seen == []
        writer.close()


async def test_a_large_refused_body_does_not_hide_the_answer() -> None:
    """A client in the middle of a large upload still reads its 413."""
    async with serving(reader_of_bodies, short(body=10)) as (_, port):
        reader, writer = await connect(port)
        writer.write(post(b"x" * (3 << 20)))
        assert (await read_answer(reader))[0] == 413
        writer.close()


async def test_a_chunked_body_is_counted() -> None:
    """413 as soon as the chunks exceed the limit."""
    async with serving(reader_of_bodies, short(body=10)) as (_, port):
        reader, writer = await connect(port)
        writer.write(
            b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n6\r\nabcdef\r\n"
        )
        await asyncio.sleep(0)
        writer.write(b"6\r\nabcdef\r\n")
        assert (await reader.read()).startswith(b"HTTP/1.1 413 ")
        writer.close()


@pytest.mark.parametrize("body", [b"x" * 11, b"x" * 300_000])
async def test_a_handler_may_lower_the_limit(body: bytes) -> None:
    """`read_body(limit=…)` refuses by itself and does not call back."""

    def handler(exchange: Exchange) -> None:
        exchange.read_body(lambda _: exchange.reply(200, []), limit=10)

    async with serving(handler) as (_, port):
        reader, writer = await connect(port)
        writer.write(post(body))
        assert (await read_answer(reader))[0] == 413
        writer.close()


async def test_slow_headers_get_408() -> None:
    """A head that does not end is given up after the deadline, however often a byte comes."""
    async with serving(reader_of_bodies, short(header_timeout=0.3)) as (_, port):
        reader, writer = await connect(port)
        writer.write(b"GET / HTTP/1.1\r\nHost: h\r\nX")
        assert (await reader.read()).startswith(b"HTTP/1.1 408 ")
        writer.close()


@pytest.mark.parametrize("framing", ["Content-Length: 100000", "Transfer-Encoding: chunked"])
async def test_a_body_that_stands_still_gets_408(framing: str) -> None:
    """The client's body deadline runs from the moment somebody asked for the body."""
    gone: list[bool] = []

    def handler(exchange: Exchange) -> None:
        exchange.on_gone = lambda: gone.append(True)
        exchange.read_body(lambda _: exchange.reply(200, []))

    async with serving(handler, short(body_timeout=0.3)) as (_, port):
        reader, writer = await connect(port)
        writer.write(f"POST / HTTP/1.1\r\nHost: h\r\n{framing}\r\n\r\n".encode())
        assert (await reader.read()).startswith(b"HTTP/1.1 408 ")
        assert gone == [True]
        writer.close()


async def test_a_dripping_body_gets_408() -> None:
    """A body may not come slower than the minimum rate, although it never stands still."""
    async with serving(reader_of_bodies, short(body_timeout=0.5, body_min_rate=1000)) as (_, port):
        reader, writer = await connect(port)
        writer.write(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 100000\r\n\r\n")
        answer = asyncio.Event()

        async def drip() -> None:
            while not answer.is_set():
                if not writer.is_closing():
                    writer.write(b"x")
                await asyncio.sleep(0.05)

        async with asyncio.TaskGroup() as group:
            group.create_task(drip())
            status = (await read_answer(reader))[0]
            answer.set()
        assert status == 408
        writer.close()


async def test_an_idle_connection_is_closed() -> None:
    """Quietly, without an answer."""
    async with serving(reader_of_bodies, short(idle_timeout=0.3)) as (_, port):
        reader, writer = await connect(port)
        assert await reader.read() == b""
        writer.close()


async def test_pipelined_requests_are_answered_in_order() -> None:
    """The second begins when the first is answered, also when the first takes longer."""
    waiting: list[Exchange] = []

    def handler(exchange: Exchange) -> None:
        waiting.append(exchange)

    async with serving(handler) as (_, port):
        reader, writer = await connect(port)
        writer.write(get("/1") + get("/2") + get("/3"))
        for count in range(3):
            while len(waiting) <= count:  # noqa: ASYNC110 - the server's turn
                await asyncio.sleep(0)
            assert len(waiting) == count + 1
            waiting[count].reply(200, [], waiting[count].request.path.encode())
            assert (await read_answer(reader))[2] == b"/%d" % (count + 1)
        writer.close()


async def test_expect_is_answered_once_when_the_body_is_wanted() -> None:
    """100 comes when the handler asks for the body, and the answer after it."""
    async with serving(reader_of_bodies) as (_, port):
        reader, writer = await connect(port)
        writer.write(
            b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n"
        )
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(b"abc")
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 ")
        writer.close()


async def test_an_unwanted_expected_body_ends_the_connection() -> None:
    """A refusal without 100: nobody knows whether the body follows, so the connection closes."""
    async with serving(lambda exchange: exchange.reply(403, [])) as (_, port):
        reader, writer = await connect(port)
        writer.write(
            b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n"
        )
        answer = await reader.read()
        assert answer.startswith(b"HTTP/1.1 403 ")
        assert b"Connection: close" in answer
        writer.close()


async def test_a_small_unread_body_is_thrown_away() -> None:
    """The connection stays usable when a handler did not want a small body."""
    async with serving(
        lambda exchange: exchange.reply(200, [], exchange.request.path.encode())
    ) as (_, port):
        reader, writer = await connect(port)
        writer.write(b"POST /1 HTTP/1.1\r\nHost: h\r\nContent-Length: 6\r\n\r\nab")
        assert (await read_answer(reader))[2] == b"/1"
        writer.write(b"cdef" + get("/2"))
        assert (await read_answer(reader))[2] == b"/2"
        writer.close()


@pytest.mark.parametrize(("status", "method"), [(200, "HEAD"), (204, "GET"), (304, "GET")])
async def test_answers_without_body(status: int, method: str) -> None:
    """The next answer follows the head directly."""
    async with serving(lambda exchange: exchange.reply(status, [], b"body")) as (_, port):
        reader, writer = await connect(port)
        writer.write(f"{method} / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n".encode())
        head, _, rest = (await reader.read()).partition(b"\r\n\r\n")
        assert rest == b""
        assert (b"Content-Length: 4" in head) == (status == 200)
        writer.close()


@pytest.mark.parametrize(("more", "kept"), [("", False), ("Connection: keep-alive\r\n", True)])
async def test_old_clients_close_unless_they_ask(more: str, *, kept: bool) -> None:
    """HTTP/1.0 keeps the connection only on request, and is told so."""
    async with serving(reader_of_bodies) as (_, port):
        reader, writer = await connect(port)
        writer.write(f"GET / HTTP/1.0\r\n{more}\r\n".encode())
        _, head, _ = await read_answer(reader)
        assert (b"Connection: keep-alive" in head) == kept
        writer.write(get())
        assert bool(await reader.read(1)) == kept
        writer.close()


@pytest.mark.parametrize("piece", [b"abc", b""])
async def test_a_short_answer_is_broken_off(piece: bytes) -> None:
    """An answer that ends before its promised length never ends cleanly."""

    def handler(exchange: Exchange) -> None:
        exchange.start(200, [], length=10)
        exchange.write(piece)
        exchange.end()

    async with serving(handler) as (_, port):
        reader, writer = await connect(port)
        writer.write(get())
        assert (await reader.read()).endswith(b"\r\n\r\n" + piece)
        assert reader.at_eof()
        writer.close()


async def test_a_header_cannot_carry_another_line() -> None:
    """A line end in a header's value is an error of the program, not a second header."""
    failures: list[str] = []

    def handler(exchange: Exchange) -> None:
        with pytest.raises(ValueError, match="line ends"):
            exchange.reply(200, [(b"X", b"a\r\nEvil: 1")])
        failures.append("raised")
        exchange.abort()

    async with serving(handler) as (_, port):
        reader, writer = await connect(port)
        writer.write(get())
        with pytest.raises(ConnectionResetError):
            await reader.read()
        assert failures == ["raised"]
        writer.close()


async def test_a_task_is_cancelled_when_its_client_leaves() -> None:
    """`spawn` ties a slow handler to its client."""
    started, cancelled = asyncio.Event(), asyncio.Event()

    async def slow() -> None:
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    async with serving(lambda exchange: exchange.spawn(slow())) as (_, port):
        _, writer = await connect(port)
        writer.write(get())
        async with asyncio.timeout(30):
            await started.wait()
            writer.close()
            await cancelled.wait()


async def test_drain_lets_running_requests_end() -> None:
    """A running request gets its answer, then idle connections close, and drain says True."""
    running = asyncio.Queue["Exchange"]()

    async with serving(running.put_nowait) as (server, port):
        idle_reader, idle_writer = await connect(port)
        silent_reader, silent_writer = await connect(port)
        reader, writer = await connect(port)
        writer.write(get())
        exchange = await running.get()
        async with asyncio.TaskGroup() as group:
            drained = group.create_task(server.drain(30))
            while not server._context.draining:  # noqa: ASYNC110 - the server's turn
                await asyncio.sleep(0)
            idle_writer.write(get())
            second = await running.get()
            second.reply(503, [], b"leaving")
            status, head, _ = await read_answer(idle_reader)
            assert (status, b"Connection: close" in head) == (503, True)
            assert not drained.done()
            exchange.reply(200, [], b"done")
            _, head, body = await read_answer(reader)
            assert body == b"done"
            assert b"Connection: close" in head
            assert await silent_reader.read() == b""
        assert drained.result() is True
        silent_writer.close()
        idle_writer.close()
        writer.close()


async def test_a_connection_that_was_to_stay_outlives_its_response() -> None:
    """The response began before the drain and kept the connection: the next request is answered."""
    running: list[Exchange] = []

    def handler(exchange: Exchange) -> None:
        if exchange.request.path == "/long":
            exchange.start(200, [])
            running.append(exchange)
        else:
            exchange.reply(200, [], b"last")

    async with serving(handler) as (server, port), asyncio.TaskGroup() as group:
        reader, writer = await connect(port)
        writer.write(get("/long"))
        head = await reader.readuntil(b"\r\n\r\n")
        assert b"Connection: close" not in head
        drained = group.create_task(server.drain(5, 1))
        while not server._context.draining:  # noqa: ASYNC110 - the server's turn
            await asyncio.sleep(0)
        running[0].end()
        assert await reader.readuntil(b"0\r\n\r\n")
        writer.write(get("/"))
        rest = await reader.read()
        assert rest.startswith(b"HTTP/1.1 200 ")
        assert b"Connection: close" in rest
        assert rest.endswith(b"last")
        writer.close()
        assert await drained is True


async def test_a_request_that_was_not_read_yet_is_answered() -> None:
    """It lies in the socket when the drain finds the connection idle."""
    async with serving(lambda exchange: exchange.reply(200, [], b"one")) as (server, port):
        with socket.create_connection(("127.0.0.1", port)) as client:
            client.sendall(get("/"))
            while not (await asyncio.to_thread(client.recv, 65536)).endswith(b"one"):
                pass
            client.sendall(get("/"))  # the loop has no turn before the drain looks
            assert await server.drain(30) is True
            client.settimeout(30)
            assert (await asyncio.to_thread(client.recv, 65536)).endswith(b"one")


async def test_a_drain_lets_a_response_go_out_that_was_still_in_the_buffer() -> None:
    """The exchange is over and the connection was to stay, but its client has not read all."""
    body = bytes(200_000)  # below the high-water mark

    def handler(exchange: Exchange) -> None:
        transport = exchange.writer.transport
        assert transport is not None
        connection = transport.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        exchange.reply(200, [], body)

    async with serving(handler) as (server, port), asyncio.TaskGroup() as group:
        with socket.socket() as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.settimeout(0)
            loop = asyncio.get_running_loop()
            await loop.sock_connect(client, ("127.0.0.1", port))
            await loop.sock_sendall(client, get("/"))
            received = await loop.sock_recv(client, 1024)
            drained = group.create_task(server.drain(5))
            await asyncio.sleep(0.1)
            assert not drained.done()
            while piece := await loop.sock_recv(client, 65536):
                received += piece
            assert received.endswith(body)
            assert received.index(b"\r\n\r\n") + 4 + len(body) == len(received)
            assert await drained is True


async def test_drain_says_when_time_ran_out() -> None:
    """False when a request is still running; `close` ends it."""
    async with serving(lambda _: None) as (server, port):
        _, writer = await connect(port)
        writer.write(get())
        while not server.connections:  # noqa: ASYNC110 - the server's turn
            await asyncio.sleep(0)
        await asyncio.sleep(0.05)
        assert await server.drain(0.1) is False
        writer.close()


async def test_two_thousand_idle_connections_are_cheap() -> None:
    """A flood of silent connections leaves the others served."""
    async with serving(reader_of_bodies, short(connections_per_address=4000)) as (server, port):
        flood = [await connect(port) for _ in range(500)]
        reader, writer = await connect(port)
        writer.write(get())
        assert (await read_answer(reader))[0] == 200
        assert server.connections == 501
        for _, other in [*flood, (reader, writer)]:
            other.close()


async def test_tls_serves_the_same() -> None:
    """Requests over TLS are https to the handler, and a new certificate is taken without a restart."""
    authority = trustme.CA()
    server_context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(server_context)
    client_context = ssl.create_default_context()
    authority.configure_trust(client_context)

    def handler(exchange: Exchange) -> None:
        exchange.read_body(
            lambda body: exchange.reply(200, [], exchange.request.scheme.encode() + body)
        )

    async with serving(handler, ssl_context=server_context) as (_, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=client_context)
        writer.write(post(b"!" * 100_000))
        assert (await read_answer(reader))[2] == b"https" + b"!" * 100_000
        writer.close()
        await writer.wait_closed()
