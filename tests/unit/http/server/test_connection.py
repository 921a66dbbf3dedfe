"""One client's connection in the sweeps: which of them look at it, driven by hand."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

from modelswap.config.schema.schema_root import Limits
from support.sockets import connect, get, read_answer, serving

if TYPE_CHECKING:
    from modelswap.http import Exchange, Server

LATER = 3.0
"""Seconds: an idle connection rests by then."""


def respond(exchange: Exchange) -> None:
    exchange.reply(200, [], b"here")


def looked_at(server: Server, after: float) -> int:
    """Sweep as if so many seconds had passed; how many connections the sweep looked at."""
    context = server._context
    now = context.sweeper.now + after
    count = len(context.connections.swept.due(now))
    context._sweep(now)
    return count


async def test_a_connection_that_rests_is_swept_again_with_its_next_request() -> None:
    """Between requests no sweep looks at it; a request is served, and is looked at."""
    async with serving(respond) as (server, port):
        reader, writer = await connect(port)
        for _ in range(2):
            writer.write(get())
            assert (await read_answer(reader))[0] == 200
            assert looked_at(server, LATER) == 1
            assert looked_at(server, LATER) == 0
        writer.write(get()[:10])
        while not looked_at(server, 0):  # noqa: ASYNC110 - the server's turn
            await asyncio.sleep(0)
        writer.write(get()[10:])
        assert (await read_answer(reader))[0] == 200
        writer.close()


async def test_a_connection_that_rests_is_closed_at_its_time() -> None:
    """The sweep after the idle timeout finds it."""
    async with serving(respond) as (server, port):
        reader, writer = await connect(port)
        writer.write(get())
        await read_answer(reader)
        looked_at(server, LATER)
        assert looked_at(server, LATER) == 0
        assert looked_at(server, Limits().idle_timeout + 2) == 1
        assert await reader.read() == b""
        writer.close()


async def test_a_shorter_idle_timeout_holds_for_those_that_rest() -> None:
    """New limits have each of them looked at again."""
    async with serving(respond) as (server, port):
        reader, writer = await connect(port)
        writer.write(get())
        await read_answer(reader)
        looked_at(server, LATER)
        server.set_limits(replace(Limits(), idle_timeout=1.0))  # type: ignore[arg-type]  # a plain number
        assert looked_at(server, LATER) == 1
        assert await reader.read() == b""
        writer.close()


async def test_a_drain_closes_connections_that_rest() -> None:
    """They have no request, so nothing is waited for."""
    async with serving(respond) as (server, port):
        reader, writer = await connect(port)
        writer.write(get())
        await read_answer(reader)
        looked_at(server, LATER)
        assert await server.drain(30) is True
        assert await reader.read() == b""
        assert server._context.connections.swept.due(0) == []
        writer.close()
