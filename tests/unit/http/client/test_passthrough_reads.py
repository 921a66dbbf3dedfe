"""Whatever the reads, pauses and ends of a chunked response: client and observer get its bytes, once, in order.

The whole way is real, from the upstream's connection to the client's; only the two transports are not.
The client's takes a few bytes, so that it pauses often; each action below is one thing that the loop may do.
"""

from __future__ import annotations

import asyncio
import gc
import itertools
import re
import weakref
from dataclasses import dataclass
from typing import cast

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelswap.config.schema.schema_root import Limits
from modelswap.http import EndReason
from modelswap.http.client.connection import UpstreamConnection
from modelswap.http.server.connection import ServerConnection
from modelswap.http.server.context import ServerContext
from support.sockets import Front, error, get

FEW = 300
"""Bytes that the client's transport holds before it pauses."""
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
END = b"0\r\n\r\n"
LAST = {"complete": END, "late byte": END + b"X", "garbage": b"zz\r\n"}
"""What comes behind the chunks."""


class UpstreamSide(asyncio.Transport):
    """Delivers nothing while it is paused; takes every request."""

    def __init__(self) -> None:
        super().__init__()
        self.is_paused = False
        self.closed = False

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None: ...

    def write(self, data: object) -> None: ...

    def pause_reading(self) -> None:
        assert not self.is_paused
        self.is_paused = True

    def resume_reading(self) -> None:
        assert self.is_paused
        self.is_paused = False

    def can_write_eof(self) -> bool:
        return False

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.closed = True


class ClientSide(UpstreamSide):
    """Holds what is written until the client takes it."""

    def __init__(self) -> None:
        super().__init__()
        self.held = bytearray()
        self.taken = bytearray()
        self.most_held = 0
        self.has_paused_writing = False
        self.protocol: ServerConnection | None = None

    def write(self, data: object) -> None:
        assert not self.closed
        self.held += cast("bytes", data)
        self.most_held = max(self.most_held, len(self.held))
        if len(self.held) > FEW and not self.has_paused_writing:
            self.has_paused_writing = True
            assert self.protocol is not None
            self.protocol.pause_writing()

    def writelines(self, list_of_data: object) -> None:
        self.write(b"".join(cast("list[bytes]", list_of_data)))

    def take(self) -> None:
        self.taken += self.held
        self.held.clear()
        if self.has_paused_writing:
            self.has_paused_writing = False
            assert self.protocol is not None
            self.protocol.resume_writing()

    def get_write_buffer_size(self) -> int:
        return len(self.held)


class Proxied:
    """One request on its way back; made and used within a running loop."""

    def __init__(self, request: bytes) -> None:
        self.front = Front(1)
        loop = asyncio.get_running_loop()
        context = ServerContext(
            loop,
            self.front,
            limits=Limits(),
            error=error,
            crashed=None,
            is_unbounded=lambda _: True,
        )
        self.upstream = UpstreamSide()
        self.connection = UpstreamConnection(self.front.upstream)
        self.connection.connection_made(self.upstream)
        self.front.upstream.put_idle(self.connection)
        self.client = ClientSide()
        self.server = self.client.protocol = ServerConnection(context)
        self.server.connection_made(self.client)
        self._sweepers = context.sweeper, self.front.upstream.sweeper
        self.server.data_received(request)
        self.notes = self.front.notes[0]

    async def deliver(self, read: bytes) -> None:
        """Give one read, as soon as the connection reads at all."""
        while self.upstream.is_paused and not self.upstream.closed:
            await asyncio.sleep(0)
            self.client.take()
        if not self.upstream.closed:
            self.connection.data_received(read)

    def sweep(self) -> None:
        self.connection.sweep(self.front.upstream.sweeper.now)

    async def close(self) -> None:
        await asyncio.sleep(0)
        self.client.take()
        for sweeper in self._sweepers:
            sweeper.stop()

    @property
    def observed(self) -> bytes:
        return b"".join(self.notes.data)


def body_of(raw: bytes, *, closed: bool) -> tuple[bytes, bool]:
    """Read a response with h11; its body, and whether it came to its end."""
    reader = h11.Connection(h11.CLIENT)
    reader.send(h11.Request(method="GET", target="/", headers=[("Host", "h")]))
    reader.send(h11.EndOfMessage())
    reader.receive_data(raw)
    if closed:
        reader.receive_data(b"")
    body = b""
    while True:
        event = reader.next_event()
        if isinstance(event, h11.Data):
            body += event.data
        elif isinstance(event, h11.EndOfMessage):
            assert not reader.trailing_data[0]
            return body, True
        elif event is h11.NEED_DATA:
            return body, False
        else:
            assert isinstance(event, h11.Response), event


NESTED = b"5\r\nhello\r\n"
"""Comes as one read, within a chunk."""
PLAIN = "%x\r\n"
SIZES = st.sampled_from([PLAIN] * 8 + ["%X\r\n", "0%x\r\n", "%x;a=b\r\n", "%x\n", "00000000%x\r\n"])
BODIES = st.one_of(
    st.binary(min_size=1, max_size=40),
    st.sampled_from([b"data: {}\n\n", b"\r\n", b"0\r\n\r\n", NESTED, b"ab" + NESTED * 2 + b"cd"]),
    st.integers(200, 20_000).map(lambda size: b"z" * size),
)
CHUNKS = st.lists(st.tuples(SIZES, BODIES), min_size=1, max_size=40)
BETWEEN = st.lists(
    st.lists(st.sampled_from(["iterate", "sweep", "take"]), max_size=2), min_size=1, max_size=10
)
"""What the loop does after each read, over and over."""
ENDS = ["complete", "cut", "garbage", "client leaves", "cancelled", "stalled", "late byte"]


def framed(chunks: list[tuple[str, bytes]]) -> list[bytes]:
    return [(size % len(body)).encode() + body + b"\r\n" for size, body in chunks]


def read_at(data: bytes, cuts: set[int]) -> list[bytes]:
    places = sorted({0, *(cut for cut in cuts if cut < len(data)), len(data)})
    return [data[a:b] for a, b in itertools.pairwise(places)]


@dataclass(frozen=True)
class Case:
    chunks: list[tuple[str, bytes]]
    cuts: set[int]
    """Where a read ends, whatever is there."""
    joined: set[int]
    """The numbers of chunks that come in one read with the one before."""
    between: list[list[str]]
    end: str
    version: str


CASES = st.builds(
    Case,
    CHUNKS,
    st.sets(st.integers(0, 2000), max_size=8),
    st.sets(st.integers(0, 40), max_size=8),
    BETWEEN,
    st.sampled_from(ENDS),
    st.sampled_from(["HTTP/1.1"] * 4 + ["HTTP/1.0"]),
)


def reads_of(case: Case) -> list[bytes]:
    """Each chunk in a read of its own but for `cuts` and `joined`."""
    data = HEAD
    ends = {len(HEAD)}
    for number, piece in enumerate(framed(case.chunks)):
        if number not in case.joined:
            ends.add(len(data))
        if len(piece) < 100:
            ends |= {len(data) + found.start() for found in re.finditer(NESTED, piece)}
        data += piece
    ends.add(len(data))
    return read_at(data + LAST.get(case.end, b""), ends | case.cuts)


def end_now(proxied: Proxied, end: str) -> None:
    if end == "cut":
        proxied.connection.connection_lost(None)
    elif end == "client leaves":
        proxied.server.connection_lost(None)
    elif end == "cancelled":
        proxied.front.relays[0].cancel()
    elif end == "stalled":
        proxied.connection.fail(EndReason.STALLED, "")


async def run(case: Case) -> Proxied:
    """Pass a response on to its end."""
    proxied = Proxied(get().replace(b"HTTP/1.1", case.version.encode()))
    reads = reads_of(case)
    for number, (read, actions) in enumerate(
        zip(reads, itertools.cycle(case.between), strict=False)
    ):
        await proxied.deliver(read)
        for action in [*actions, *["iterate"] * (number % 2)]:
            if action == "iterate":
                await asyncio.sleep(0)
            elif action == "sweep":
                proxied.sweep()
            else:
                proxied.client.take()
    end_now(proxied, case.end)
    await proxied.close()
    longest = len(max(reads, key=len)) + len(HEAD)  # a head is written anew with its first bytes
    assert proxied.client.most_held <= FEW + 4 * longest  # two reads in one iteration, and one more
    return proxied


async def check(case: Case) -> None:
    proxied, end = await run(case), case.end
    result = await proxied.notes.outcome()
    whole = b"".join(body for _, body in case.chunks)
    assert proxied.observed == whole
    assert result.bytes_sent == len(whole)
    assert (result.reason is EndReason.DONE) == (end in {"complete", "late byte"})
    if end != "client leaves":
        is_old = case.version == "HTTP/1.0"
        is_closed = proxied.client.closed and is_old
        got, ended = body_of(bytes(proxied.client.taken), closed=is_closed)
        assert got == whole
        assert ended == (result.reason is EndReason.DONE) or is_old
    assert proxied.upstream.closed == (end not in {"complete", "cut"})
    assert not proxied.upstream.is_paused or proxied.upstream.closed or end == "cut"


@given(CASES)
def test_every_byte_arrives_once_and_is_observed(case: Case) -> None:
    """The client's body, the observer's bytes and the upstream's body are equal; a broken end looks broken."""
    asyncio.run(check(case))


async def test_a_client_that_takes_nothing_stops_the_upstream() -> None:
    """Lone chunks do not go on when the client's transport is full, and do when it is not any more."""
    proxied = Proxied(get())
    await proxied.deliver(HEAD)
    chunk = framed([(PLAIN, b"x" * 50)])[0]
    for _ in range(3):
        count = 0
        while not proxied.upstream.is_paused:
            await proxied.deliver(chunk)
            await asyncio.sleep(0)
            count += 1
            assert len(proxied.client.held) <= FEW + 2 * len(chunk) + len(HEAD)
        assert count > 2
        proxied.client.take()
    proxied.front.relays[0].cancel()
    await proxied.close()


async def test_what_came_before_a_pause_is_observed_in_it() -> None:
    """A stream that stands still shows all its bytes after two sweeps, however few they are."""
    proxied = Proxied(get())
    for read in (HEAD, *framed([(PLAIN, b"data: {}\n\n")] * 5)):
        await proxied.deliver(read)
    assert len(proxied.observed) < 50
    proxied.sweep()
    proxied.sweep()
    assert proxied.observed == b"data: {}\n\n" * 5
    proxied.front.relays[0].cancel()
    await proxied.close()


@pytest.mark.parametrize("count", [1, 2])
async def test_it_is_observed_in_time_when_chunks_no_longer_pass(count: int) -> None:
    """The same when the reads after the first ones hold several chunks."""
    proxied = Proxied(get())
    lone = framed([(PLAIN, b"data: {}\n\n")] * 3)
    for read in (HEAD, *lone, *[b"".join(lone)] * count):
        await proxied.deliver(read)
    proxied.sweep()
    proxied.sweep()
    assert proxied.observed == b"data: {}\n\n" * 3 * (1 + count)
    proxied.front.relays[0].cancel()
    await proxied.close()


@pytest.mark.parametrize("end", ["complete", "cancelled"])
async def test_a_relay_is_freed_without_the_collector(end: str) -> None:
    """Nothing that a stream used knows itself in a circle when it has ended."""
    proxied = Proxied(get())
    gc.disable()
    try:
        for read in (HEAD, *framed([(PLAIN, b"data: {}\n\n")] * 5)):
            await proxied.deliver(read)
        if end == "complete":
            await proxied.deliver(END)
        else:
            proxied.front.relays[0].cancel()
        owner = weakref.ref(proxied.front.relays[0]._owner)  # only the relay has it
        proxied.front.relays.clear()
        await proxied.close()
        assert owner() is None
    finally:
        gc.enable()
