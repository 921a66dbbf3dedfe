"""A server, a raw client and scripted upstreams, on real sockets of 127.0.0.1."""

from __future__ import annotations

import asyncio
import contextlib
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from modelswap.api.errors.error_responses import retry_fields
from modelswap.config.plan import Timeouts
from modelswap.config.schema.schema_root import Limits
from modelswap.http import (
    Address,
    EndReason,
    Exchange,
    ListenAddress,
    Refused,
    Relay,
    RelayResult,
    ResponseHead,
    Server,
    UpstreamPool,
    UpstreamRequest,
    forward_headers,
    is_local,
)

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Awaitable, Callable

    from modelswap.http import Field
    from modelswap.http.client.connection import UpstreamConnection
    from modelswap.http.client.protocols import ResponseTransform, UpstreamReader

    Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

PATIENCE = 30.0


def error(refused: Refused) -> tuple[list[Field], bytes]:
    fields = [(b"Content-Type", b"text/plain")]
    for name, value in retry_fields(refused.status, refused.retry_after):
        fields.append((name.encode(), value.encode()))
    return fields, refused.text.encode()


@dataclass
class Notes:
    """A relay's owner and observer that remembers."""

    heads: list[int] = field(default_factory=list)
    data: list[bytes] = field(default_factory=list)
    ends: list[RelayResult] = field(default_factory=list)
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    event: bytes | None = None

    def on_head(self, head: ResponseHead) -> None:
        self.heads.append(head.status)

    def on_data(self, data: bytes, now: float = 0.0) -> None:
        del now
        self.data.append(data)

    def on_whole(self, head: ResponseHead, data: bytes) -> None:
        self.on_head(head)
        self.on_data(data)
        self.on_end(
            RelayResult(EndReason.DONE, head.status, len(data), "", started=True, never_ran=False)
        )

    def on_end(self, result: RelayResult) -> None:
        self.ends.append(result)
        self.ended.set()

    def error_event(self, result: RelayResult) -> bytes | None:
        del result
        return self.event

    def on_late_error(self, status: int, content_type: bytes, body: bytes) -> bytes:
        return b"late %d %b %b" % (status, content_type, body)

    async def outcome(self) -> RelayResult:
        async with asyncio.timeout(PATIENCE):
            await self.ended.wait()
        assert len(self.ends) == 1
        return self.ends[0]


@contextlib.asynccontextmanager
async def serving(
    handler: Callable[[Exchange], None],
    limits: Limits | None = None,
    ssl_context: ssl.SSLContext | None = None,
    is_unbounded: Callable[[str], bool] = is_local,
) -> AsyncIterator[tuple[Server, int]]:
    """Run the server; the test fails when the handler raises."""
    crashes: list[BaseException] = []
    server = Server(
        handler,
        limits=limits or Limits(),
        error=error,
        ssl_context=ssl_context,
        crashed=crashes.append,
        is_unbounded=is_unbounded,
    )
    _, port = await server.bind(ListenAddress("127.0.0.1", 0))
    await server.accept()
    try:
        yield server, port
    finally:
        await server.close()
    assert crashes == []


@contextlib.asynccontextmanager
async def upstream_that(
    talk: Talk, ssl_context: ssl.SSLContext | None = None
) -> AsyncIterator[int]:
    """Run an upstream that talks like this on each connection."""
    tasks: set[asyncio.Task[None]] = set()

    async def on_connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            await talk(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            tasks.discard(task)
            writer.close()

    server = await asyncio.start_server(
        on_connection, "127.0.0.1", 0, ssl=ssl_context, limit=1 << 24
    )
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.sleep(0)


async def read_request(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    """Read one request with a counted or chunked body."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = re.search(rb"\r\ncontent-length: (\d+)", head.lower())
    if b"transfer-encoding: chunked" in head.lower():
        return head, await read_chunks(reader)
    return head, await reader.readexactly(int(length[1])) if length else b""


async def read_chunks(reader: asyncio.StreamReader) -> bytes:
    parts = []
    while size := int(await reader.readuntil(b"\r\n"), 16):
        parts.append(await reader.readexactly(size))
        assert await reader.readexactly(2) == b"\r\n"
    assert await reader.readexactly(2) == b"\r\n"
    return b"".join(parts)


async def read_answer(
    reader: asyncio.StreamReader, method: str = "GET"
) -> tuple[int, bytes, bytes]:
    """Read one response: status, head, body."""
    async with asyncio.timeout(PATIENCE):
        head = await reader.readuntil(b"\r\n\r\n")
        status = int(head.split(b" ", 2)[1])
        if status == 100:
            return await read_answer(reader, method)
        lower = head.lower()
        if method == "HEAD" or status in (204, 304):
            return status, head, b""
        if b"transfer-encoding: chunked" in lower:
            return status, head, await read_chunks(reader)
        length = re.search(rb"\r\ncontent-length: (\d+)", lower)
        if length:
            return status, head, await reader.readexactly(int(length[1]))
        return status, head, await reader.read()


class Front:
    """A server that relays everything to one upstream."""

    def __init__(self, port: int, **timeouts: float) -> None:
        self.address = Address.parse(f"http://127.0.0.1:{port}")
        self.upstream = UpstreamPool(self.address, Timeouts(**timeouts))  # type: ignore[arg-type]  # plain floats
        self.notes: list[Notes] = []
        self.relays: list[Relay] = []
        self.event: bytes | None = None
        self.before: Callable[[Exchange], None] | None = None
        """Called before a relay is made."""
        self.page_guard: list[Field] = []
        self.transform: Callable[[], ResponseTransform] | None = None
        self.came = asyncio.Event()
        self.asked = 0
        """Requests that were sent without beginning a relay."""

    def __call__(self, exchange: Exchange) -> None:
        exchange.read_body(lambda body: self.send(exchange, body))

    def send(self, exchange: Exchange, body: object) -> None:
        if self.before is not None:
            self.before(exchange)
        request = exchange.request
        notes = Notes(event=self.event)
        self.notes.append(notes)
        upgrade = request.header(b"upgrade") if request.upgrade else None
        outbound = UpstreamRequest(
            request.method,
            self.address.join(request.path, request.query),
            forward_headers(request, trust_forwarded=True),
            upgrade=upgrade,
            page_guard=self.page_guard,
        )
        owner = Responding(exchange, notes)
        transform = self.transform() if self.transform is not None else None
        relay = Relay(exchange, self.upstream, outbound, body, owner, notes, transform)  # type: ignore[arg-type]  # bytes or a source
        self.relays.append(relay)
        owner.relay = relay
        connection = None
        if isinstance(body, bytes) and transform is None:
            connection = self.upstream.ask(owner, outbound, body)
        if connection is None:
            relay.begin()
        else:
            self.asked += 1
            exchange.on_gone = lambda asked=connection: owner.on_gone(asked)
        self.came.set()


class Responding:
    """Owns a request as the api does: responds with 502 when nothing went to the client."""

    relay: Relay

    def __init__(self, exchange: Exchange, notes: Notes) -> None:
        self.exchange = exchange
        self.notes = notes
        self.on_whole = notes.on_whole
        self.error_event = notes.error_event
        self.on_late_error = notes.on_late_error

    def on_response(self, head: ResponseHead, data: bytes) -> None:
        exchange = self.exchange
        if head.is_active or not exchange.send_whole(head.status, head.length_block, data):
            self.relay.take_over(None)
            self.relay.on_whole(head, data)
        else:
            self.notes.on_whole(head, data)

    def observer_on(self, connection: UpstreamReader) -> Relay:
        self.relay.take_over(connection)
        return self.relay

    def on_gone(self, connection: UpstreamConnection) -> None:
        connection.observer()
        self.relay.on_client_gone()

    def on_end(self, result: RelayResult) -> None:
        vars(self).pop("relay", None)  # as the api's owner forgets it
        self.notes.on_end(result)
        if not result.started and not self.exchange.finished:
            self.exchange.reply(502, [], result.reason.name.encode())


@contextlib.asynccontextmanager
async def proxying(
    talk: Talk, limits: Limits | None = None, **timeouts: float
) -> AsyncIterator[tuple[Front, int]]:
    """Run upstream and proxy; gives the front and its port."""
    async with upstream_that(talk) as upstream_port:
        front = Front(upstream_port, **timeouts)
        try:
            async with serving(front, limits) as (_, port):
                yield front, port
        finally:
            front.upstream.close()


async def connect(port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection("127.0.0.1", port, limit=1 << 25)


def post(body: bytes, *, path: str = "/x", more: str = "") -> bytes:
    return (
        f"POST {path} HTTP/1.1\r\nHost: h\r\n{more}Content-Length: {len(body)}\r\n\r\n".encode()
        + body
    )


def get(path: str = "/x", *, more: str = "") -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: h\r\n{more}\r\n".encode()
