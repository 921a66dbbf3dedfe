"""Bounds inside one process: all bodies together, slow readers, invented identities, guessed keys."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from typing import TYPE_CHECKING, Any

import pytest
import trustme

from modelswap.config.schema.schema_root import Limits
from modelswap.http.server import body_memory
from modelswap.units import Bytes, Seconds
from support.raw_http import bearer, status_of, statuses
from support.sockets import connect, get, read_answer, serving

if TYPE_CHECKING:
    from modelswap.http import Exchange
    from support.streams import Serve

MIB = 1 << 20


async def test_all_bodies_in_memory_have_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """One address may hold half of it; beyond: 503, and again room when others are done."""
    monkeypatch.setattr(body_memory, "_MAX_HELD", 4 * MIB)
    monkeypatch.setattr(body_memory, "_LARGEST_BODIES", 1)
    limits = Limits(body=Bytes(MIB))

    def handler(exchange: Exchange) -> None:
        exchange.read_body(lambda body: exchange.reply(200, [], b"%d" % len(body)))

    head = b"POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n" % MIB
    part = b"x" * (900 << 10)
    async with serving(handler, limits) as (server, port), asyncio.timeout(20):
        held = [await connect(port) for _ in range(2)]
        for _, writer in held:
            writer.write(head + part)
            await writer.drain()
        while server.held < 2 * len(part) - 2 * (128 << 10):  # noqa: ASYNC110 - there is no event for it
            await asyncio.sleep(0.01)
        reader, writer = await connect(port)
        writer.write(head + part)
        status, _, _ = await read_answer(reader)
        assert status == 503
        writer.close()
        held[0][1].write(b"x" * (MIB - len(part)))
        status, _, _ = await read_answer(held[0][0])
        assert status == 200
        held[1][1].close()
        while server.held:  # noqa: ASYNC110 - as above
            await asyncio.sleep(0.01)
        reader, writer = await connect(port)
        writer.write(head + b"x" * MIB)
        status, _, body = await read_answer(reader)
        assert (status, body) == (200, b"%d" % MIB)
        writer.close()
        for _, one in held:
            one.close()


@pytest.mark.parametrize(("piece", "is_kept"), [(16, False), (1024, False), (256 << 10, True)])
async def test_a_client_that_reads_too_slowly_is_disconnected(piece: int, *, is_kept: bool) -> None:
    """A client that reads less than `bodyMinRate` of a waiting response does not keep its model."""
    limits = Limits(body_timeout=Seconds(0.5), body_min_rate=Bytes(128 << 10))
    gone = asyncio.Event()

    def handler(exchange: Exchange) -> None:
        exchange.on_gone = gone.set
        exchange.start(200, [], length=64 * MIB)
        exchange.write(b"x" * (32 * MIB))

    async with serving(handler, limits) as (_, port), asyncio.timeout(50):
        with socket.socket() as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, max(4096, piece))
            sock.setblocking(False)  # noqa: FBT003 - the library's name
            loop = asyncio.get_running_loop()
            await loop.sock_connect(sock, ("127.0.0.1", port))
            await loop.sock_sendall(sock, get())
            for _ in range(60 if is_kept else 600):
                if gone.is_set():
                    break
                with contextlib.suppress(ConnectionError):
                    await loop.sock_recv(sock, piece)
                await asyncio.sleep(0.05)
            assert gone.is_set() is not is_kept


async def test_an_endless_handshake_ends() -> None:
    """A client that never finishes its TLS handshake is gone after `headerTimeout`."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("localhost").configure_cert(context)
    limits = Limits(header_timeout=Seconds(0.5))

    def handler(exchange: Exchange) -> None:
        exchange.reply(200, [])

    async with serving(handler, limits, context) as (_, port), asyncio.timeout(10):
        reader, writer = await connect(port)
        with contextlib.suppress(ConnectionError):
            assert await reader.read() == b""
        writer.close()


def test_a_forged_address_is_not_in_the_log(serve: Serve) -> None:
    """The line of a request names the peer, whatever `X-Forwarded-For` says; wrong keys count for it."""
    server = serve("apiKeys: [right-key]\nmodels: {}\n")
    found = [
        status_of(
            server, "GET", "/v1/models",
            headers={**bearer("wrong"), "X-Forwarded-For": f"6.6.6.{n}", "X-Real-IP": f"6.6.6.{n}"},
        )
        for n in range(14)
    ]  # fmt: skip
    assert found[-1] == 429
    assert "6.6.6." not in server.ask("GET", "/logs", headers=bearer("right-key")).body.decode()


def test_a_control_route_takes_no_large_body(serve: Serve) -> None:
    """A body of a hundred kilobytes for a control route is 413."""
    body = b'{"name":"' + b"x" * 100_000 + b'"}'
    assert _kept(serve).ask("PUT", "/api/profiles/active", body).status == 413


@pytest.mark.parametrize("path", ["/api/events", "/logs/stream", "/logs/stream/proxy"])
def test_the_head_of_an_endless_stream_ends(serve: Serve, path: str) -> None:
    """`HEAD` of a live stream is answered, and leaves no reader behind."""
    head = f"HEAD {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
    last = b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    raw = _kept(serve).raw(head * 5 + last)
    assert statuses(raw) == [200] * 6
    assert raw.endswith(b"\r\n\r\nOK")


_KEPT: dict[str, Any] = {}


def _kept(serve: Serve) -> Any:
    if "one" not in _KEPT:
        _KEPT["one"] = serve("models: {}\n")
    return _KEPT["one"]
