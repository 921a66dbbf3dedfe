"""What a request costs that comes to a real server, waits behind others, and leaves."""

from __future__ import annotations

import contextlib
import socket
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from bench import load
from bench.growth.curve import Curve
from bench.proc import spent_seconds
from modelswap.net.descriptors import raise_limit
from support.server import Modelswap, stub_command, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

AXIS = "waiting requests"
SIZES = (10, 100, 1000)
SETTLE = 0.15
"""Seconds until what was sent has been read: a hundred requests take some milliseconds."""
CONFIG = """
limits: {{queue: 2000}}
models:
  a:
    cmd: {a}
  b:
    cmd: {b}
"""
PLAIN = b'{"model":"b","messages":[{"role":"user","content":"hi"}]}'


def _send(port: int, body: bytes, count: int) -> list[socket.socket]:
    data = load.request(port, body)
    found = [socket.create_connection(("127.0.0.1", port)) for _ in range(count)]
    for sock in found:
        sock.sendall(data)
    time.sleep(SETTLE)
    return found


@contextlib.contextmanager
def _queue(directory: Path, size: int) -> Iterator[Modelswap]:
    """A server whose model `a` is busy with one request, and where so many wait for `b`."""
    text = CONFIG.format(a=stub_command("a"), b=stub_command("b"))
    with contextlib.ExitStack() as stack:
        server = Modelswap(directory, text)
        stack.callback(server.finish)
        server.start()
        busy = b'{"model":"a","stream":true,"n":1000000,"delay_ms":1000,"messages":[]}'
        for sock in _send(server.port, busy, 1):
            stack.enter_context(sock)
        wait_until(lambda: server.running().get("a") == "ready", what="a answers")
        for sock in _send(server.port, PLAIN, size):
            stack.enter_context(sock)
        yield server


def _come_and_go(server: Modelswap, count: int) -> float:
    """CPU microseconds of a request that comes on a new connection, waits, and leaves."""

    def work() -> None:
        for sock in _send(server.port, PLAIN, count):
            sock.close()
        time.sleep(SETTLE)

    return spent_seconds(server.pid, work) / count * 1e6


def by_waiting(rounds: int, *, quick: bool) -> list[Curve]:
    """Requests that come and go while 10 to 1,000 others wait."""
    curve = Curve(AXIS, "comes, waits, gives up: CPU", "µs/request", flat=1.25)
    raise_limit()
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as stack:
        servers = {
            size: stack.enter_context(_queue(Path(name) / str(size), size)) for size in SIZES
        }
        for _ in range(rounds):
            for size, server in servers.items():
                curve.add(size, _come_and_go(server, 100 if quick else 200))
    return [curve]
