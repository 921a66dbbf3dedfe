"""The sending side of a client's connection, on a transport that only remembers."""

from __future__ import annotations

import asyncio
from typing import Any, cast

from modelswap.http.server.client_transport import ClientTransport
from modelswap.http.transport.deadline_sweeper import DeadlineSweeper
from modelswap.http.transport.write_coalescer import WriteCoalescer


class Transport:
    def __init__(self) -> None:
        self.calls: list[str] = []
        self.sent = b""
        self.closing = False

    def __getattr__(self, name: str) -> Any:
        return lambda *_, **__: self.calls.append(name)

    def get_extra_info(self, name: str) -> object:
        return ("192.0.2.1", 1) if name == "peername" else None

    def can_write_eof(self) -> bool:
        return True

    def is_closing(self) -> bool:
        return self.closing

    def get_write_buffer_size(self) -> int:
        return 0

    def write(self, data: bytes) -> None:
        self.sent += data

    def writelines(self, parts: list[bytes]) -> None:
        self.sent += b"".join(parts)


def made() -> tuple[ClientTransport, Transport]:
    loop = asyncio.get_running_loop()
    client = ClientTransport(WriteCoalescer(loop), DeadlineSweeper(loop, lambda _: False))
    transport = Transport()
    client.begin(cast("asyncio.Transport", transport))
    return client, transport


async def test_the_order_of_writes_stays() -> None:
    """Small ones wait for the loop; what is written in pieces, and an end, come behind them."""
    client, transport = made()
    client.write(b"a")
    assert transport.sent == b""
    client.write_all((b"b", b"", b"c"))
    client.write(b"d")
    client.write_eof()
    assert (client.peer, transport.sent, transport.calls[-1]) == ("192.0.2.1", b"abcd", "write_eof")


async def test_reading_is_paused_and_resumed_once() -> None:
    """And not at all when the client sends no more."""
    client, transport = made()
    client.pause_reading()
    client.pause_reading()
    client.resume_reading()
    client.resume_reading()
    assert transport.calls[-2:] == ["pause_reading", "resume_reading"]
    client.eof = True
    client.pause_reading()
    assert transport.calls[-1] == "resume_reading"


async def test_a_close_has_a_deadline() -> None:
    """What was written goes out first; a client that is refused has its time to read why."""
    client, transport = made()
    client.write(b"bye")
    client.linger()
    assert (transport.sent, transport.calls[-1]) == (b"bye", "write_eof")
    lingering = client.closes_at
    assert lingering is not None
    assert client.is_closing
    client.close()
    assert transport.calls[-1] == "close"
    assert client.closes_at is not None
    assert client.closes_at > lingering


async def test_a_lost_transport_is_no_error() -> None:
    """Late calls do nothing."""
    client, transport = made()
    client.transport = None
    before = list(transport.calls)
    client.write(b"x")
    client.write_all((b"x",))
    client.write_eof()
    client.pause_reading()
    client.reset()
    client.abort()
    client.close()
    assert (transport.calls, transport.sent, client.is_quiet) == (before, b"", False)
