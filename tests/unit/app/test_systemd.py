"""Messages to the service manager."""

from __future__ import annotations

import asyncio
import os
import socket
from typing import TYPE_CHECKING

import pytest

from modelswap.app.systemd import ServiceManager
from modelswap.units import Seconds

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(tmp_path / "notify"))
        listening.settimeout(30)
        yield listening


def test_messages(manager: socket.socket) -> None:
    """Each state is one datagram, and model servers do not get the variables."""
    variables = {"NOTIFY_SOCKET": manager.getsockname(), "WATCHDOG_USEC": "2000000", "X": "1"}
    service = ServiceManager(variables)
    assert variables == {"X": "1"}
    assert service.watchdog == Seconds(2)
    service.ready()
    assert manager.recv(1000) == f"READY=1\nMAINPID={os.getpid()}".encode()
    service.stopping()
    assert manager.recv(1000) == b"STOPPING=1"
    service.handed_over(7)
    assert manager.recv(1000) == b"MAINPID=7\nREADY=1"


async def test_the_watchdog_is_fed(manager: socket.socket) -> None:
    """A message is sent at once, and twice an interval from then on."""
    service = ServiceManager({"NOTIFY_SOCKET": manager.getsockname(), "WATCHDOG_USEC": "20000"})
    async with asyncio.TaskGroup() as tasks:
        watching = tasks.create_task(service.watch())
        assert await asyncio.to_thread(manager.recv, 100) == b"WATCHDOG=1"
        assert await asyncio.to_thread(manager.recv, 100) == b"WATCHDOG=1"
        watching.cancel()


def test_without_a_manager_nothing_is_sent() -> None:
    """No variables, those of another process, or a lost socket: nothing happens."""
    ServiceManager({}).ready()
    ServiceManager({"NOTIFY_SOCKET": "/nowhere"}).ready()
    other = ServiceManager({"WATCHDOG_USEC": "1000", "WATCHDOG_PID": "1"})
    assert other.watchdog is None
    assert ServiceManager({"WATCHDOG_USEC": "soon"}).watchdog is None
