"""The queue of bytes in front of one live reader."""

from __future__ import annotations

import asyncio

from modelswap.observe.bounded_stream import BoundedStream
from modelswap.units import Bytes, Seconds


def a_stream() -> BoundedStream:
    return BoundedStream(Bytes(10), lambda missing: b"<%d missing>" % missing)


async def test_what_waits_is_taken_at_once() -> None:
    """A reader gets everything that waits in one piece, and the end after it."""
    stream = a_stream()
    stream.put(b"abc")
    stream.put(b"def")
    stream.close()
    assert await stream.take() == b"abcdef"
    assert await stream.take() is None


async def test_what_does_not_fit_is_counted_and_noted() -> None:
    """The note stands where bytes are missing; later bytes follow it."""
    stream = a_stream()
    stream.put(b"12345678")
    stream.put(b"too long")
    assert stream.dropped == 8
    assert await stream.take() == b"12345678<8 missing>"
    stream.put(b"next")
    assert await stream.take() == b"next"


async def test_a_reader_waits_for_the_next_bytes() -> None:
    """Without bytes in time it gets an empty piece; new bytes wake it."""
    stream = a_stream()
    assert await stream.take(Seconds(0.0)) == b""
    asyncio.get_running_loop().call_soon(stream.put, b"late")
    assert await stream.take(Seconds(5.0)) == b"late"
