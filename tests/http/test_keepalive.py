"""TCP keep-alives towards other machines."""

from __future__ import annotations

import socket

import pytest

from modelswap.http.upstream import keep_alive


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
