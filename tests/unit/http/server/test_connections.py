"""How many connections there may be, and which one makes room for another."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import pytest

from modelswap.config.schema.schema_root import Limits
from modelswap.http import is_local
from support.sockets import connect, get, read_answer, serving

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from modelswap.http import Exchange, Server

    Client = tuple[asyncio.StreamReader, asyncio.StreamWriter]

MOST = 3


def answer_now(exchange: Exchange) -> None:
    if exchange.request.path == "/hold":  # never answered
        return
    exchange.reply(200, [], exchange.request.path.encode())


def nobody(address: str) -> bool:
    del address
    return False


class Crowd:
    """Connections of one test."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._open: list[Client] = []

    async def come(self, path: str = "") -> Client:
        """Connect, and have a request answered."""
        client = await connect(self._port)
        self._open.append(client)
        if path:
            assert await self.ask(client, path) == 200
        return client

    async def ask(self, client: Client, path: str = "/x") -> int:
        client[1].write(get(path))
        return (await read_answer(client[0]))[0]

    def leave(self) -> None:
        for _, writer in self._open:
            writer.close()


@contextlib.asynccontextmanager
async def crowd(
    limits: Limits, is_unbounded: Callable[[str], bool]
) -> AsyncIterator[tuple[Server, Crowd]]:
    async with serving(answer_now, limits, is_unbounded=is_unbounded) as (server, port):
        people = Crowd(port)
        async with asyncio.timeout(30):
            yield server, people
            people.leave()


BOTH = pytest.mark.parametrize(
    "limits", [Limits(connections=MOST), Limits(connections_per_address=MOST)]
)


async def is_closed(client: Client) -> bool:
    with contextlib.suppress(ConnectionError):
        return await client[0].read() == b""
    return True


@BOTH
async def test_the_longest_idle_makes_room(limits: Limits) -> None:
    """By the end of its last request, however the others came in; the others go on."""
    async with crowd(limits, nobody) as (_, people):
        one, two, three = [await people.come("/x") for _ in range(MOST)]
        assert await people.ask(one) == 200
        four = await people.come("/y")
        assert await is_closed(two)
        for client in (three, one, four):
            assert await people.ask(client) == 200
        await people.come("/z")
        assert await is_closed(three)
        assert await people.ask(one) == 200


@BOTH
async def test_silent_connections_make_room(limits: Limits) -> None:
    """One that never asked anything is idle, too; many new ones are all served."""
    async with crowd(limits, nobody) as (server, people):
        silent = [await people.come() for _ in range(MOST)]
        while server.connections < MOST:  # noqa: ASYNC110 - the server's turn
            await asyncio.sleep(0)
        for _ in range(5 * MOST):
            await people.come("/x")
        for client in silent:
            assert await is_closed(client)


@BOTH
async def test_without_an_idle_one_the_new_one_is_refused(limits: Limits) -> None:
    """503, `Retry-After`, close; who is at work, in any way, is left alone."""
    async with crowd(limits, nobody) as (server, people):
        busy = await people.come("/x")
        busy[1].write(get("/hold"))
        begun = await people.come("/x")
        begun[1].write(get()[:10])
        sending = await people.come("/x")
        sending[1].write(b"POST /hold HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nab")
        while sum(not one.is_between_requests for one in server._context.connections) < MOST:  # noqa: ASYNC110 - the server's turn
            await asyncio.sleep(0)
        for _ in range(3):
            refused = await people.come()
            said = (await refused[0].read()).lower()
            assert said.startswith(b"http/1.1 503 ")
            assert b"retry-after: 1\r\n" in said
            names = [
                line.partition(b":")[0] for line in said.partition(b"\r\n\r\n")[0].split(b"\r\n")
            ]
            assert len(names) == len(set(names))  # no header twice
            assert b"connection: close\r\n" in said
        begun[1].write(get()[10:])
        assert (await read_answer(begun[0]))[0] == 200
        assert await people.ask(await people.come("/y")) == 200
        assert await is_closed(begun)


async def test_many_at_once_get_an_answer() -> None:
    """A burst beyond the limit: each is served or refused with 503, none is cut without a word."""
    async with crowd(Limits(connections=MOST), nobody) as (_, people):
        clients = [await people.come() for _ in range(MOST)]
        for client in clients:
            client[1].write(get())
        for client in clients:
            assert (await read_answer(client[0]))[0] == 200


async def test_this_machine_and_proxies_have_no_bound_of_their_own() -> None:
    """What counts per address would count everybody behind a reverse proxy as one; the total counts."""
    async with crowd(Limits(connections_per_address=1, connections=MOST), is_local) as (_, people):
        clients = [await people.come("/x") for _ in range(MOST)]
        for client in clients:
            assert await people.ask(client) == 200
        await people.come("/x")
        assert await is_closed(clients[0])


@pytest.mark.parametrize(
    ("address", "local"),
    [
        ("127.0.0.1", True),
        ("127.8.9.1", True),
        ("::1", True),
        ("::ffff:127.0.0.1", True),
        ("", True),
        ("10.0.0.1", False),
        ("::ffff:10.0.0.1", False),
        ("1127.0.0.1", False),
    ],
)
def test_what_is_this_machine(address: str, *, local: bool) -> None:
    """The loopback in every spelling, and Unix sockets, which have no address."""
    assert is_local(address) is local


async def test_the_counts_come_back_to_nothing() -> None:
    """Refused, evicted or left: nothing of a connection is kept."""
    async with crowd(Limits(connections=2, connections_per_address=2), nobody) as (server, people):
        for _ in range(6):
            await people.come("/x")
        held = [await people.come() for _ in range(2)]
        for client in held:
            client[1].write(get("/hold"))
        while sum(one.is_busy for one in server._context.connections) < 2:  # noqa: ASYNC110 - the server's turn
            await asyncio.sleep(0)
        assert (await (await people.come())[0].read()).startswith(b"HTTP/1.1 503 ")
        people.leave()
        while server.connections:  # noqa: ASYNC110 - the server's turn
            await asyncio.sleep(0)
        table = server._context.connections
        assert (table._leaving, table._per_address) == (set(), {})
