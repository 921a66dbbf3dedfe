"""What is asked of the system about connections."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import pytest

from modelswap.http.server.client_transport import ClientTransport
from modelswap.http.transport import sockets
from modelswap.http.transport.sockets import is_loopback, keep_alive, reset_at_end, unpace
from support.sockets import connect, get, proxying, read_answer, read_request

if TYPE_CHECKING:
    import asyncio


@pytest.mark.parametrize(("every", "expected"), [(None, None), (30.0, 30), (0.2, 1), (1e9, 32_767)])
def test_the_kernel_asks_as_often_as_configured(every: float | None, expected: int | None) -> None:
    """`timeouts.keepalive` reaches the socket, so that a machine that vanished is noticed."""
    with socket.socket() as connection:
        keep_alive(connection, every)
        is_on = connection.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        assert bool(is_on) is (expected is not None)
        if expected is not None:
            interval = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL)
            assert interval == expected


def test_a_lost_connection_is_left_alone() -> None:
    """Setting the option on what has just gone raises nothing."""
    connection = socket.socket()
    connection.close()
    keep_alive(connection, 30.0)


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1", True),
        ("127.8.8.8", True),
        ("::1", True),
        ("::ffff:127.0.0.1", True),
        ("10.0.0.1", False),
        ("::2", False),
        ("::ffff:10.0.0.1", False),
        ("", False),
    ],
)
def test_what_is_this_machine(host: str, *, expected: bool) -> None:
    """Also when IPv4 comes in through an IPv6 socket."""
    assert is_loopback(host) is expected


def _control(connection: socket.socket) -> bytes:
    return connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, 16).rstrip(b"\0")


@pytest.mark.skipif(not hasattr(socket, "TCP_CONGESTION"), reason="no choice of congestion control")
def test_nothing_is_paced_within_this_machine() -> None:
    """BBR sends by a timer; any other control stays what the system's owner chose."""
    with socket.socket() as connection:
        before = _control(connection)
        unpace(connection)
        assert _control(connection) == (b"reno" if before.startswith(b"bbr") else before)


@pytest.mark.skipif(not hasattr(socket, "TCP_CONGESTION"), reason="no choice of congestion control")
async def test_both_ends_of_an_exchange_are_unpaced(monkeypatch: pytest.MonkeyPatch) -> None:
    """The client's connection as well as the upstream's."""
    with socket.socket() as connection:
        monkeypatch.setattr(sockets, "_PACED", _control(connection))
    async with proxying(_once) as (front, port):
        reader, writer = await connect(port)
        writer.write(get())
        assert (await read_answer(reader))[0] == 200
        [upstream] = front.upstream._connections
        client = front.relays[0]._exchange.writer
        assert isinstance(client, ClientTransport)
        for transport in (upstream._transport, client.transport):
            assert transport is not None
            assert _control(transport.get_extra_info("socket")) == b"reno"
        writer.close()


async def _once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await read_request(reader)
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
    await reader.read()


def test_no_socket_is_no_error() -> None:
    """A transport need not have one."""
    unpace(None)
    keep_alive(None, 30.0)
    reset_at_end(None)
