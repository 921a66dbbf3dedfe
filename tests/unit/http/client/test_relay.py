"""Exchanges through a real proxy on real sockets, with upstreams that misbehave."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from modelswap.http import EndReason
from support.sockets import connect, get, post, proxying, read_answer, read_request

if TYPE_CHECKING:
    from asyncio import StreamReader, StreamWriter
    from collections.abc import Awaitable, Callable

    from modelswap.http import Exchange

    Talk = Callable[[StreamReader, StreamWriter], Awaitable[None]]

OK = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nok"
SSE = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


async def echo(reader: StreamReader, writer: StreamWriter) -> None:
    """Answer each request with its own head and body."""
    while True:
        head, body = await read_request(reader)
        whole = head + body
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(whole) + whole)


def once(answer: bytes, *, then: Callable[[StreamWriter], None] | None = None) -> Talk:
    """Answer one request with these bytes; then stay silent, or do `then`."""

    async def talk(reader: StreamReader, writer: StreamWriter) -> None:
        await read_request(reader)
        writer.write(answer)
        await writer.drain()
        if then is not None:
            then(writer)
        await reader.read()

    return talk


async def test_a_request_and_its_answer_pass() -> None:
    """Method, target, headers and body reach the upstream; the answer comes back."""
    async with proxying(echo) as (front, port):
        reader, writer = await connect(port)
        writer.write(post(b"hello", path="/a%2Fb?x=1&y", more="X-One: 1\r\nX-Empty:\r\n"))
        status, _, body = await read_answer(reader)
        assert status == 200
        assert body.startswith(
            b"POST /a%2Fb?x=1&y HTTP/1.1\r\nHost: h\r\nX-One: 1\r\nX-Empty: \r\n"
        )
        assert b"X-Forwarded-For: 127.0.0.1\r\n" in body
        assert body.endswith(b"\r\n\r\nhello")
        assert (await front.notes[0].outcome()).reason is EndReason.DONE
        writer.close()


async def test_connections_are_used_again() -> None:
    """Requests in a row share one upstream connection."""
    async with proxying(echo) as (front, port):
        reader, writer = await connect(port)
        for _ in range(5):
            writer.write(post(b"x"))
            assert (await read_answer(reader))[0] == 200
        assert front.upstream._idle == list(front.upstream._connections) != []
        writer.close()


async def test_bodies_of_changing_length_pass_on_one_connection() -> None:
    """Requests that differ in their length only, on kept connections, each have their own."""
    async with proxying(echo) as (_, port):
        reader, writer = await connect(port)
        for body in (b"one", b"twelve bytes", b"", b"three", b"x" * 100_000, b"x"):
            writer.write(post(body))
            status, _, answer = await read_answer(reader)
            assert status == 200
            assert b"\r\nContent-Length: %d\r\n" % len(body) in answer
            assert answer.partition(b"\r\n\r\n")[2] == body
        writer.close()


async def test_hop_by_hop_headers_stay() -> None:
    """Neither the client's nor the upstream's connection headers, nor those named by them, pass."""
    answer = b"HTTP/1.1 200 OK\r\nConnection: x-mine\r\nKeep-Alive: 5\r\nX-Mine: 1\r\nX-Kept: 1\r\nContent-Length: 0\r\n\r\n"
    seen: list[bytes] = []

    async def talk(reader: StreamReader, writer: StreamWriter) -> None:
        seen.append((await read_request(reader))[0])
        writer.write(answer)
        await reader.read()

    async with proxying(talk) as (_, port):
        reader, writer = await connect(port)
        writer.write(
            get(
                more="Connection: x-secret, host\r\nX-Secret: 1\r\nProxy-Authorization: p\r\nTE: gzip\r\nUpgrade: h2c\r\n"
            )
        )
        _, head, _ = await read_answer(reader)
        assert b"X-Kept" in head
        assert not any(name in head for name in (b"X-Mine", b"Keep-Alive", b"x-mine"))
        assert b"Host: h\r\n" in seen[0]
        assert not any(
            name in seen[0] for name in (b"X-Secret", b"Proxy-", b"TE:", b"Upgrade", b"Connection")
        )
        writer.close()


@pytest.mark.parametrize("size", [0, 1, 65535, 65536, 1 << 20, 20 << 20])
async def test_bodies_of_all_sizes_pass(size: int) -> None:
    """A body goes through whole in both directions."""
    body = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    async with proxying(echo) as (_, port):
        reader, writer = await connect(port)
        writer.write(post(body))
        status, _, answer = await read_answer(reader)
        assert status == 200
        assert answer.partition(b"\r\n\r\n")[2] == body
        writer.close()


async def test_a_chunked_request_is_sent_counted() -> None:
    """A body that was read whole goes out with its length."""
    async with proxying(echo) as (_, port):
        reader, writer = await connect(port)
        writer.write(
            b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"
        )
        writer.write(b"2;ext=1\r\nde\r\n0\r\nTrailer: x\r\n\r\n")
        _, _, body = await read_answer(reader)
        assert b"Content-Length: 5\r\n" in body
        assert body.endswith(b"abcde")
        writer.close()


async def test_event_streams_pass_event_by_event() -> None:
    """Each event is at the client before the next is made, marked against buffering."""
    go = asyncio.Queue[bytes]()

    async def talk(reader: StreamReader, writer: StreamWriter) -> None:
        await read_request(reader)
        writer.write(SSE)
        while data := await go.get():
            writer.write(b"%x\r\n%b\r\n" % (len(data), data))
        writer.write(b"0\r\n\r\n")
        await reader.read()

    async with proxying(talk) as (front, port):
        reader, writer = await connect(port)
        writer.write(post(b"{}"))
        head = await reader.readuntil(b"\r\n\r\n")
        assert b"X-Accel-Buffering: no\r\n" in head
        assert b"Cache-Control: no-cache\r\n" in head
        for count in range(3):
            event = b"data: %d\n\n" % count
            await go.put(event)
            assert await reader.readexactly(len(event) + 5) == b"%x\r\n%b\r\n" % (len(event), event)
        await go.put(b"")
        assert await reader.readexactly(5) == b"0\r\n\r\n"
        assert b"".join(front.notes[0].data) == b"data: 0\n\ndata: 1\n\ndata: 2\n\n"
        writer.close()


async def test_an_old_client_gets_a_stream_ended_by_the_close() -> None:
    """HTTP/1.0 knows no chunks: the body ends with the connection."""
    async with proxying(once(SSE + b"3\r\nabc\r\n0\r\n\r\n")) as (_, port):
        reader, writer = await connect(port)
        writer.write(b"GET / HTTP/1.0\r\n\r\n")
        _, head, body = await read_answer(reader)
        assert b"chunked" not in head
        assert body == b"abc"
        writer.close()


async def test_head_keeps_the_length_and_has_no_body() -> None:
    """HEAD passes, and the connection goes on."""
    async with proxying(once(b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n")) as (_, port):
        reader, writer = await connect(port)
        writer.write(b"HEAD / HTTP/1.1\r\nHost: h\r\n\r\n")
        status, head, _ = await read_answer(reader, "HEAD")
        assert status == 200
        assert b"Content-Length: 500\r\n" in head
        writer.close()


@pytest.mark.parametrize("status", [204, 304])
async def test_bodiless_statuses_have_no_body(status: int) -> None:
    """204 and 304 end with their headers on both sides."""
    async with proxying(once(b"HTTP/1.1 %d X\r\nETag: 1\r\n\r\n" % status)) as (front, port):
        reader, writer = await connect(port)
        for _ in range(1):
            writer.write(get())
            assert (await read_answer(reader))[0] == status
        assert (await front.notes[0].outcome()).reason is EndReason.DONE
        writer.close()


async def test_interim_answers_are_swallowed() -> None:
    """The client sees the final answer only."""
    async with proxying(
        once(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early\r\nLink: x\r\n\r\n" + OK)
    ) as (_, port):
        reader, writer = await connect(port)
        writer.write(get())
        assert (await reader.readuntil(b"\r\n")) == b"HTTP/1.1 200 OK\r\n"
        writer.close()


async def test_a_refused_connection_is_said() -> None:
    """Nobody listens: CONNECT_FAILED, nothing written, provably not run."""
    async with proxying(echo) as (front, port):
        front.upstream.address = type(front.address)("http", "127.0.0.1", 1)
        reader, writer = await connect(port)
        writer.write(post(b"x"))
        assert (await read_answer(reader))[2] == b"CONNECT_FAILED"
        outcome = await front.notes[0].outcome()
        assert (outcome.started, outcome.never_ran) == (False, True)
        writer.close()


async def test_a_deaf_upstream_is_given_up_in_time() -> None:
    """No answer within the response header deadline: HEADER_TIMEOUT."""
    async with proxying(once(b""), response_header=0.3) as (_, port):
        reader, writer = await connect(port)
        writer.write(post(b"x"))
        assert (await read_answer(reader))[2] == b"HEADER_TIMEOUT"
        writer.close()


async def test_an_upstream_that_closes_at_once_has_not_answered() -> None:
    """The first request of a connection is not repeated: it may have run."""
    requests: list[bytes] = []
    async with proxying(server_that_closes_after(0, requests)) as (_, port):
        reader, writer = await connect(port)
        writer.write(post(b"x"))
        assert (await read_answer(reader))[2] == b"NO_ANSWER"
        assert requests == [b"x"]
        writer.close()


@pytest.mark.parametrize(
    "answer",
    [
        b"garbage",
        b"garbage\r\n\r\n",
        b"HTTP/1.1 abc OK\r\n\r\n",
        b"HTTP/2.0 200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0x3\r\nabc\r\n",
        b"HTTP/1.1 200 OK\r\nX: a\0b\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n folded\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"a" * 70000,
        b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
    ],
)
async def test_a_malformed_answer_is_refused(answer: bytes) -> None:
    """What is not HTTP never reaches the client."""
    async with proxying(once(answer)) as (_, port):
        reader, writer = await connect(port)
        writer.write(post(b"x"))
        assert (await read_answer(reader))[2] == b"BAD_RESPONSE"
        writer.close()


@pytest.mark.parametrize(
    ("answer", "ending"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc", EndReason.TRUNCATED),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n", EndReason.TRUNCATED),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nzz\r\n",
            EndReason.BAD_RESPONSE,
        ),
    ],
)
async def test_a_broken_answer_looks_broken(answer: bytes, ending: EndReason) -> None:
    """The client's connection ends before the answer's end, whatever its framing."""
    async with proxying(once(answer, then=lambda writer: writer.close())) as (front, port):
        reader, writer = await connect(port)
        writer.write(post(b"x"))
        head = await reader.readuntil(b"\r\n\r\n")
        rest = await reader.read()
        assert not rest.endswith(b"0\r\n\r\n")
        assert b"Content-Length: 10" in head or b"chunked" in head
        assert len(rest) < 10
        outcome = await front.notes[0].outcome()
        assert (outcome.reason, outcome.started) == (ending, True)
        writer.close()


async def test_a_broken_stream_gets_its_error_event() -> None:
    """An event stream that breaks says so in its last event, and is then broken off."""
    async with proxying(once(SSE + b"3\r\nabc\r\n", then=lambda writer: writer.close())) as (
        front,
        port,
    ):
        front.event = b"data: error\n\n"
        reader, writer = await connect(port)
        writer.write(post(b"x"))
        await reader.readuntil(b"\r\n\r\n")
        assert await reader.read() == b"3\r\nabc\r\nd\r\ndata: error\n\n\r\n"
        writer.close()


async def test_a_broken_stream_is_reset_for_an_old_client() -> None:
    """Where the end of the connection ends the body, a broken body ends with a reset."""
    async with proxying(once(SSE + b"3\r\nabc\r\n", then=lambda writer: writer.close())) as (
        _,
        port,
    ):
        reader, writer = await connect(port)
        writer.write(b"GET / HTTP/1.0\r\n\r\n")
        with pytest.raises(ConnectionResetError):
            await reader.read()
        writer.close()


async def test_a_stalled_answer_is_broken_off() -> None:
    """Silence in the middle of an answer beyond the stall deadline: STALLED."""
    async with proxying(once(SSE + b"3\r\nabc\r\n"), stall=0.3) as (front, port):
        reader, writer = await connect(port)
        writer.write(post(b"x"))
        await reader.read()
        assert (await front.notes[0].outcome()).reason is EndReason.STALLED
        writer.close()


async def test_bytes_behind_an_answer_spoil_the_connection() -> None:
    """The answer passes, what follows it does not, and the connection is not used again."""
    async with proxying(once(OK + b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil")) as (
        front,
        port,
    ):
        reader, writer = await connect(port)
        writer.write(get())
        assert (await read_answer(reader))[2] == b"ok"
        assert not front.upstream._idle
        writer.close()


async def test_a_client_that_leaves_frees_the_upstream() -> None:
    """The upstream's connection is closed at once when the client closes its own."""
    closed = asyncio.Event()

    async def talk(reader: StreamReader, writer: StreamWriter) -> None:
        await read_request(reader)
        assert await reader.read() == b""
        closed.set()
        writer.close()

    async with proxying(talk) as (front, port):
        _, writer = await connect(port)
        writer.write(post(b"x"))
        await front.came.wait()
        writer.close()
        async with asyncio.timeout(30):
            await closed.wait()
        assert (await front.notes[0].outcome()).reason is EndReason.CLIENT_GONE


async def test_a_client_that_leaves_in_mid_stream_frees_the_upstream() -> None:
    """The same after the answer began."""
    closed = asyncio.Event()

    async def talk(reader: StreamReader, writer: StreamWriter) -> None:
        await read_request(reader)
        writer.write(SSE + b"3\r\nabc\r\n")
        await reader.read()
        closed.set()

    async with proxying(talk) as (_, port):
        reader, writer = await connect(port)
        writer.write(post(b"x"))
        await reader.readuntil(b"abc")
        writer.close()
        async with asyncio.timeout(30):
            await closed.wait()


async def test_a_client_that_only_stops_sending_gets_its_answer() -> None:
    """Half-close after the request is not leaving."""
    go = asyncio.Event()

    async def talk(reader: StreamReader, writer: StreamWriter) -> None:
        await read_request(reader)
        await go.wait()
        writer.write(OK)
        await reader.read()

    async with proxying(talk) as (_, port):
        reader, writer = await connect(port)
        writer.write(post(b"x"))
        writer.write_eof()
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        go.set()
        assert (await read_answer(reader))[2] == b"ok"
        assert await reader.read() == b""
        writer.close()


async def test_cancel_ends_an_exchange() -> None:
    """A cancelled relay leaves the upstream and tells once."""
    async with proxying(once(b"")) as (front, port):
        reader, writer = await connect(port)
        writer.write(post(b"x"))
        await front.came.wait()
        front.relays[0].cancel()
        front.relays[0].cancel()
        assert (await read_answer(reader))[2] == b"CANCELLED"
        assert (await front.notes[0].outcome()).reason is EndReason.CANCELLED
        writer.close()


async def test_closing_the_upstream_ends_its_exchanges() -> None:
    """`Upstream.close` tells every exchange."""
    async with proxying(once(b"")) as (front, port):
        reader, writer = await connect(port)
        writer.write(post(b"x"))
        await front.came.wait()
        front.upstream.close()
        assert (await read_answer(reader))[2] == b"UPSTREAM_LOST"
        writer.close()


async def test_closing_idle_connections_leaves_running_ones() -> None:
    """`close_idle` is seen by the upstream at once."""
    closed = asyncio.Event()

    async def talk(reader: StreamReader, writer: StreamWriter) -> None:
        await read_request(reader)
        writer.write(OK)
        await reader.read()
        closed.set()

    async with proxying(talk) as (front, port):
        reader, writer = await connect(port)
        writer.write(get())
        await read_answer(reader)
        front.upstream.close_idle()
        async with asyncio.timeout(30):
            await closed.wait()
        writer.close()


def server_that_closes_after(answers: int, requests: list[bytes]) -> Talk:
    """Answer so many requests per connection, read one more, and close without an answer."""

    async def talk(reader: StreamReader, writer: StreamWriter) -> None:
        for _ in range(answers):
            requests.append((await read_request(reader))[1])
            writer.write(OK)
        requests.append((await read_request(reader))[1])

    return talk


async def test_a_request_that_was_read_is_not_sent_twice() -> None:
    """A POST on a used connection that closes after reading it has perhaps run: no second try."""
    requests: list[bytes] = []
    async with proxying(server_that_closes_after(1, requests)) as (_, port):
        reader, writer = await connect(port)
        writer.write(post(b"1"))
        assert (await read_answer(reader))[2] == b"ok"
        writer.write(post(b"2"))
        assert (await read_answer(reader))[2] == b"NO_ANSWER"
        assert requests == [b"1", b"2"]
        writer.close()


async def test_an_idempotent_request_is_sent_again() -> None:
    """A GET on a used connection that closes without an answer is repeated on a fresh one, once."""
    requests: list[bytes] = []
    async with proxying(server_that_closes_after(1, requests)) as (_, port):
        reader, writer = await connect(port)
        writer.write(get())
        assert (await read_answer(reader))[2] == b"ok"
        writer.write(get())
        assert (await read_answer(reader))[2] == b"ok"
        assert len(requests) == 3
        writer.close()


async def test_a_request_to_a_connection_that_was_closed_goes_to_a_fresh_one() -> None:
    """A POST that meets a server's idle close was never read: it is sent again."""
    requests: list[bytes] = []

    async def talk(reader: StreamReader, writer: StreamWriter) -> None:
        requests.append((await read_request(reader))[1])
        writer.write(OK)
        await writer.drain()
        writer.close()

    async with proxying(talk) as (front, port):
        reader, writer = await connect(port)
        for count in range(20):
            writer.write(post(b"%d" % count))
            assert (await read_answer(reader))[2] == b"ok"
        assert requests == [b"%d" % count for count in range(20)]
        assert all(notes.ends[0].reason is EndReason.DONE for notes in front.notes)
        writer.close()


async def test_a_client_that_never_reads_stops_the_upstream() -> None:
    """The proxy holds a bounded part of an endless answer."""
    sent = 0

    async def talk(reader: StreamReader, writer: StreamWriter) -> None:
        nonlocal sent
        await read_request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n")
        while True:
            writer.write(b"z" * 65536)
            await writer.drain()
            sent += 65536

    async with proxying(talk) as (front, port):
        reader, writer = await connect(port)
        writer.transport.pause_reading()  # type: ignore[attr-defined]  # uvloop transports go both ways
        writer.write(get())
        before = -1
        while before != sent or not sent:
            before = sent
            await asyncio.sleep(0.3)
        passed = sum(map(len, front.notes[0].data))
        assert sent < 64 << 20
        assert passed < 64 << 20
        writer.close()
        del reader
        assert (await front.notes[0].outcome()).reason is EndReason.CLIENT_GONE


async def test_a_late_error_becomes_the_last_event() -> None:
    """A stream begun before the upstream answered ends with what the owner says of the error."""
    answer = b"HTTP/1.1 500 E\r\nContent-Type: application/json\r\nContent-Length: 4\r\n\r\noops"
    async with proxying(once(answer)) as (front, port):

        def start(exchange: Exchange) -> None:
            exchange.start(200, [(b"Content-Type", b"text/event-stream")])
            exchange.write(b": loading\n\n")

        front.before = start
        reader, writer = await connect(port)
        writer.write(post(b"x"))
        status, _, body = await read_answer(reader)
        assert (status, body) == (200, b": loading\n\nlate 500 application/json oops")
        writer.close()


async def test_a_tunnel_carries_bytes_both_ways() -> None:
    """After 101 every byte passes, also those that came early, until either side ends."""

    async def talk(reader: StreamReader, writer: StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        assert b"Upgrade: websocket\r\n" in head
        assert b"Connection: Upgrade\r\n" in head
        writer.write(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nX-A: 1\r\n\r\nfirst"
        )
        while data := await reader.read(1000):
            writer.write(data.upper())
        writer.write(b"bye")
        writer.close()

    async with proxying(talk) as (front, port):
        reader, writer = await connect(port)
        writer.write(
            get(more="Connection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n") + b"early"
        )
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 101 ")
        assert b"X-A: 1\r\n" in head
        assert await reader.readexactly(10) == b"firstEARLY"
        writer.write(b"more")
        assert await reader.readexactly(4) == b"MORE"
        writer.write_eof()
        assert await reader.read() == b"bye"
        assert (await front.notes[0].outcome()).reason is EndReason.DONE
        writer.close()
