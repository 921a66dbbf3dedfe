"""Writes that are alone go out at once; those that come together wait for each other."""

from __future__ import annotations

import asyncio
from typing import cast

from modelswap.http.transport.write_coalescer import LARGE, WriteCoalescer


class Wire:
    """A transport that notes what is written, and when: by the number of loop iterations."""

    def __init__(self, log: list[bytes]) -> None:
        self.log = log
        self.closing = False

    def write(self, data: bytes) -> None:
        self.log.append(data)

    def is_closing(self) -> bool:
        return self.closing


def setup() -> tuple[WriteCoalescer, asyncio.Transport, list[bytes]]:
    log: list[bytes] = []
    coalescer = WriteCoalescer(asyncio.get_running_loop())
    return coalescer, cast("asyncio.Transport", Wire(log)), log


async def write_alone(coalescer: WriteCoalescer, wire: asyncio.Transport, count: int) -> None:
    for _ in range(count):
        coalescer.write(wire, b"x")
        await asyncio.sleep(0)


async def test_a_write_waits_for_the_iteration_to_end() -> None:
    """What is written together goes out together, in order."""
    coalescer, wire, log = setup()
    coalescer.write(wire, b"a")
    coalescer.write(wire, b"b")
    assert log == []
    await asyncio.sleep(0)
    assert log == [b"a", b"b"]


async def test_writes_that_are_alone_soon_go_out_at_once() -> None:
    """Holding back costs an iteration of the loop, which pays only where others come along."""
    coalescer, wire, log = setup()
    await write_alone(coalescer, wire, 20)
    assert coalescer.at_once
    log.clear()
    coalescer.write(wire, b"now")
    assert log == [b"now"]


async def test_it_looks_again_and_holds_back_once_more() -> None:
    """After a number of writes one is held; where others come in that iteration, all wait again."""
    coalescer, wire, log = setup()
    await write_alone(coalescer, wire, 20)
    while coalescer.at_once:
        coalescer.write(wire, b"x")
    log.clear()
    for data in (b"a", b"b", b"c"):
        coalescer.write(wire, data)
    assert log == []
    await asyncio.sleep(0)
    assert log == [b"a", b"b", b"c"]
    coalescer.write(wire, b"d")
    assert log == [b"a", b"b", b"c"]
    assert not coalescer.at_once


async def test_the_order_stays_whichever_way_is_taken() -> None:
    """Held, at once, large and flushed: the bytes leave as they were written."""
    coalescer, wire, log = setup()
    written = []
    for number in range(400):
        data = b"%d" % number if number % 7 else b"%d" % number + bytes(LARGE)
        written.append(data)
        coalescer.write(wire, data)
        if number % 3 == 0 or number > 200:
            await asyncio.sleep(0)
        if number % 50 == 0:
            coalescer.flush()
    await asyncio.sleep(0)
    assert log == written


async def test_nothing_is_written_to_what_closes() -> None:
    """Held or at once: a transport that is closing takes no bytes, and raises when it gets some."""
    coalescer, wire, log = setup()
    await write_alone(coalescer, wire, 20)
    log.clear()
    cast("Wire", wire).closing = True
    await write_alone(coalescer, wire, 100)
    assert log == []
