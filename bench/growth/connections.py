"""What a request costs beside idle connections, and what these cost at rest."""

from __future__ import annotations

import contextlib
import socket
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from bench.growth.curve import Curve
from bench.growth.measure import running, small_model, small_requests
from bench.proc import cpu_seconds
from modelswap.net.descriptors import raise_limit

if TYPE_CHECKING:
    from support.server import Modelswap

AXIS = "idle connections"
SIZES = (1, 100, 1_000, 10_000)
FIRST = b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"
CONFIG = "limits: {connections: 11000, idleTimeout: 1h}\nmodels:\n"


def idle(server: Modelswap, count: int, stack: contextlib.ExitStack) -> None:
    """Open so many connections, each used once, and leave them open."""
    for _ in range(count):
        sock = stack.enter_context(socket.create_connection(("127.0.0.1", server.port)))
        sock.sendall(FIRST)
        if not sock.recv(4096).startswith(b"HTTP/1.1 200"):
            raise RuntimeError(f"{count} connections cannot be open at once")


def _at_rest(servers: dict[int, Modelswap], curve: Curve, seconds: float) -> None:
    """CPU milliseconds that each server spends in a second, all of them in the same seconds."""
    before = {size: cpu_seconds(server.pid) for size, server in servers.items()}
    time.sleep(seconds)
    for size, server in servers.items():
        curve.add(size, (cpu_seconds(server.pid) - before[size]) / seconds * 1e3)


def by_connections(rounds: int, *, quick: bool) -> list[Curve]:
    request = Curve(AXIS, "small request: CPU", "µs/request", flat=1.25)
    rest = Curve(AXIS, "at rest: CPU", "ms/s", above=1)
    raise_limit()
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as stack:
        servers: dict[int, Modelswap] = {}
        for size in SIZES:
            directory = Path(name) / str(size)
            text = CONFIG + small_model(directory)
            server = servers[size] = stack.enter_context(running(directory, text))
            idle(server, size, stack)
        for _ in range(rounds):
            for size, server in servers.items():
                request.add(size, small_requests(server, 1000 if quick else 2000))
            time.sleep(1)  # seconds: the connections of the requests are gone
            _at_rest(servers, rest, 1)
    return [request, rest]
