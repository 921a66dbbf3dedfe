"""Which sockets listen on a port: asked of the kernel, and read from its tables."""

from __future__ import annotations

import os
import socket
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from modelswap.net import listeners, sock_diag

if TYPE_CHECKING:
    from pathlib import Path

LISTENING = "   1: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 77 1 0 100 0 0 10 0"
CONNECTED = "   2: 0100007F:1F90 0100007F:D431 01 00000000:00000000 00:00000000 00000000  1000        0 78 1 0 20 0 0 10 -1"


@pytest.fixture(params=["the kernel", "the tables"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Ask in both ways."""
    if request.param == "the tables":
        monkeypatch.setattr(sock_diag, "listening_inodes", refuse)
    else:
        monkeypatch.setattr(listeners, "TABLES", ())
    return str(request.param)


def refuse(port: int) -> frozenset[int]:
    raise PermissionError(port)


def listening(address: str, port: int = 0) -> socket.socket:
    one = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
    if one.family == socket.AF_INET6:
        one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    one.bind((address, port))
    one.listen()
    return one


def inode_of(one: socket.socket) -> int:
    return os.fstat(one.fileno()).st_ino


def inodes_on(port: int) -> set[int]:
    return {inode for some in listeners.inodes_on(port) for inode in some}


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("address", ["127.0.0.1", "0.0.0.0", "::1", "::"])
def test_a_listener(address: str) -> None:
    """A socket that listens is found by its port, and not when it has closed."""
    with listening(address) as one:
        port = one.getsockname()[1]
        assert inodes_on(port) == {inode_of(one)}
    assert inodes_on(port) == set()


@pytest.mark.usefixtures("way")
def test_both_families() -> None:
    """A port that two sockets share, one for each address family, has both."""
    with listening("127.0.0.1") as one, listening("::1", one.getsockname()[1]) as other:
        assert inodes_on(one.getsockname()[1]) == {inode_of(one), inode_of(other)}


@pytest.mark.usefixtures("way")
def test_connections_are_no_listeners() -> None:
    """A port that only connections use, at either end, has no listener."""
    with listening("127.0.0.1") as one, socket.create_connection(one.getsockname()) as client:
        accepted, _ = one.accept()
        with accepted:
            one.close()
            assert inodes_on(accepted.getsockname()[1]) == set()
            assert inodes_on(client.getsockname()[1]) == set()


def test_more_sockets_than_one_answer_holds() -> None:
    """All sockets that share a port are named, also when the kernel needs several parts for them."""
    with ExitStack() as sockets:
        port = 0
        expected: set[int] = set()
        for _ in range(400):  # a part has room for some 300
            one = sockets.enter_context(socket.socket())
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            one.bind(("127.0.0.1", port))
            one.listen()
            port = one.getsockname()[1]
            expected.add(inode_of(one))
        assert sock_diag.listening_inodes(port) == expected


def test_no_netlink(monkeypatch: pytest.MonkeyPatch) -> None:
    """A system without netlink is an error, which the tables make good."""
    create = socket.socket

    def without_netlink(family: int = socket.AF_INET, *rest: int) -> socket.socket:
        if family == socket.AF_NETLINK:
            raise OSError("Address family not supported by protocol")
        return create(family, *rest)

    with listening("127.0.0.1") as one:
        port = one.getsockname()[1]
        monkeypatch.setattr(socket, "socket", without_netlink)
        with pytest.raises(OSError, match="not supported"):
            sock_diag.listening_inodes(port)
        assert inodes_on(port) == {inode_of(one)}


def test_an_answer_that_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the kernel refuses to say is an error with its number."""
    monkeypatch.setattr(sock_diag, "_SOCK_DIAG_BY_FAMILY", 99)  # no such type of message
    with pytest.raises(OSError, match="Invalid argument"):
        sock_diag.listening_inodes(1)


def test_a_long_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A listener is found behind any number of connections (gVisor lists them in no order)."""
    table = tmp_path / "tcp"
    monkeypatch.setattr(listeners, "TABLES", (str(tmp_path / "missing"), str(table)))
    monkeypatch.setattr(sock_diag, "listening_inodes", refuse)
    for before in range(20, 60):  # so that the listener's line lies across the end of a part, too
        lines = ["  sl  local_address rem_address", *[CONNECTED] * before, LISTENING, ""]
        table.write_text("\n".join(lines))
        assert inodes_on(0x1F90) == {77}
        assert inodes_on(0x1F91) == set()


def test_a_table_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the system refuses both ways, that is an error and not "nothing listens"."""
    monkeypatch.setattr(listeners, "TABLES", (str(tmp_path / "file" / "tcp"),))
    (tmp_path / "file").touch()
    monkeypatch.setattr(sock_diag, "listening_inodes", refuse)
    with pytest.raises(NotADirectoryError):
        inodes_on(1)
