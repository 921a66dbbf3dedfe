"""Free ports, and who holds one."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING

import pytest

from modelswap.launch.local import ports

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(params=["127.0.0.1", "0.0.0.0", "::1"])
def held(request: pytest.FixtureRequest) -> Iterator[int]:
    family = socket.AF_INET6 if ":" in request.param else socket.AF_INET
    with socket.socket(family) as one:
        one.bind((request.param, 0))
        one.listen()
        number: int = one.getsockname()[1]
        yield number


def test_held_port(held: int) -> None:
    """A port on which a process listens, on whatever address, is not free, and its holder is known."""
    assert not ports.is_free(held)
    assert ports.is_listening(held)
    assert ports.free_port(held) > held


def test_free_port_avoids(port: int) -> None:
    """Ports promised to others are passed over."""
    found = ports.free_port(port, avoid={port, port + 1})
    assert found > port + 1
    assert not ports.is_listening(found)


def test_no_free_port() -> None:
    """Past the last port there is none, and that is said."""
    with pytest.raises(ports.NoFreePortError):
        ports.free_port(65536)


def test_foreign_process(held: int) -> None:
    """The holder is foreign unless it belongs to the server."""
    assert ports.foreign_process_on(held, 1, lambda pid: pid == os.getpid()) is None
    holder = ports.foreign_process_on(held, 1, lambda _: False)
    assert holder is not None
    assert holder.pid == os.getpid()


def test_container_engines_are_accepted(held: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A port that a container engine holds may be our container's: no process is called foreign."""
    monkeypatch.setattr("modelswap.procfs.name_of", lambda _: "docker-proxy")
    assert ports.foreign_process_on(held, 1, lambda _: False) is None


def test_belonging() -> None:
    """A process belongs to a server by ancestry, group or marker, and to no other."""
    me = os.getpid()
    assert ports.belongs_to(me, me, "A=b")
    assert ports.belongs_to(me, os.getppid(), "A=b")
    assert not ports.belongs_to(me, 999_999_999, "NO_SUCH=mark")
