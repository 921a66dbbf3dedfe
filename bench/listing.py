"""Measure how long `GET /v1/models` takes while models start, stop, swap and fail.

Guarantees: the same client asks a server that answers from memory, in turns and in the same moments; its
slowest answer ("direct") is what the machine and the client add. A pause of half a millisecond between
two requests leaves the processor to the models. Each figure is the median of many rounds' slowest. What
the program itself does to it, whatever else the machine runs, is the CPU time of its loop's longest pass.
"""

from __future__ import annotations

import contextlib
import gc
import os
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from bench.load import nginx_path
from bench.loop_blocks import compiled
from bench.setup import small_upstream
from bench.swap import ProxiedEngines, config, serving
from bench.table import Figure
from support.server import Modelswap, free_port, stub_command, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

CROWD = 20_000
"""Connections in TIME_WAIT: a load balancer's health checks, or clients that keep no connection."""
FIRST_START = 5
"""CPU milliseconds: what is deferred to its first use (docs/decisions/0023) is made then, once."""
FAILING = (
    "import sys; [print('error: line', n, 'x' * 90) for n in range(1200)]; sys.exit('it is broken')"
)
"""A server that ends with more output than is looked through for the reason."""


class Client:
    """One kept connection, and one request that is sent again and again."""

    def __init__(self, port: int, path: str) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=30)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._request = b"GET %b HTTP/1.1\r\nHost: localhost\r\n\r\n" % path.encode()

    def ask(self) -> float:
        """Milliseconds until the whole answer is there."""
        began = time.perf_counter()
        self._socket.sendall(self._request)
        received = self._socket.recv(65536)
        head, _, rest = received.partition(b"\r\n\r\n")
        left = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0]) - len(rest)
        while left > 0:
            left -= len(self._socket.recv(65536))
        took = (time.perf_counter() - began) * 1000
        if not received.startswith(b"HTTP/1.1 200"):
            raise RuntimeError(f"answered {received[:40]!r}")
        return took

    def close(self) -> None:
        self._socket.close()


def timed(server: Modelswap, memory: int, work: Callable[[], object]) -> dict[str, list[float]]:
    """Ask both sides in turns until the work is done; sorted milliseconds."""
    sides = {"direct": Client(memory, "/"), "modelswap": Client(server.port, "/v1/models")}
    times: dict[str, list[float]] = {name: [] for name in sides}
    gc.disable()  # the client's own pauses do not count
    try:
        with ThreadPoolExecutor(1) as pool:
            working = pool.submit(work)
            while not working.done():
                for name, client in sides.items():
                    times[name].append(client.ask())
                time.sleep(0.0005)
            working.result()
    finally:
        gc.enable()
        for client in sides.values():
            client.close()
    return {name: sorted(found) for name, found in times.items()}


def fill_time_wait(count: int) -> None:
    """Leave connections in TIME_WAIT, at the server's end: no port of a client is used up."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        for _ in range(count):
            with socket.create_connection(listening.getsockname()) as client:
                accepted, _ = listening.accept()
                accepted.close()
                client.recv(1)


@contextlib.contextmanager
def answering_from_memory(directory: Path) -> Iterator[int]:
    """Run nginx with a small answer, or the bench's own upstream; the port."""
    port = free_port()
    process = subprocess.Popen(shlex.split(small_upstream(nginx_path(), directory, port)))
    try:
        wait_until(lambda: _accepts(port), what="the upstream accepts")
        yield port
    finally:
        process.terminate()
        process.wait()


def failing_command(directory: Path) -> str:
    program = directory / "failing.py"
    program.write_text(FAILING)
    return f"{shlex.join([sys.executable, '-I', '-S', str(program)])} ${{PORT}}"


def _accepts(port: int) -> bool:
    with socket.socket() as one:
        return one.connect_ex(("127.0.0.1", port)) == 0


def listing(rounds: int, *, quick: bool) -> list[Figure]:
    """`GET /v1/models` while models swap, while one fails, and with many connections on the machine."""
    middle = Figure("GET /v1/models while models swap: p50", "ms", most=2)
    slowest = Figure("GET /v1/models while models swap: slowest of a swap", "ms", most=2)
    failing = Figure("GET /v1/models while a model fails: slowest", "ms", most=2)
    crowded = Figure(
        f"the same swap with {CROWD:,} connections in TIME_WAIT: slowest", "ms", most=2
    )
    longer = Figure(f"swap, stub, {CROWD:,} connections in TIME_WAIT (direct: none)", "ms", above=2)
    commands = tuple(stub_command(n, "--ready-after", "0.3") for n in "ab")
    count = max(3, rounds * (2 if quick else 7))
    with (
        tempfile.TemporaryDirectory() as name,
        answering_from_memory(Path(name)) as memory,
        serving(config((*commands, failing_command(Path(name)))), Path(name) / "m") as server,
    ):
        proxied = ProxiedEngines(server)
        for _ in range(count):
            for side, times in timed(server, memory, proxied.swap).items():
                middle.add(side, times[len(times) // 2])
                slowest.add(side, times[-1])
            longer.add("direct", proxied.swap())
        for _ in range(count):
            for side, times in timed(server, memory, lambda: server.chat("c")).items():
                failing.add(side, times[-1])
            server.ask("POST", "/api/models/unload")  # ends the back-off
        fill_time_wait(CROWD)
        proxied.swap()
        for _ in range(count):
            for side, times in timed(server, memory, proxied.swap).items():
                crowded.add(side, times[-1])
            longer.add("modelswap", proxied.swap())
    return [middle, slowest, failing, crowded, longer, *passes(count)]


def passes(count: int) -> list[Figure]:
    """The loop's longest pass in CPU time, in each thing that the program does while it serves others."""
    commands = tuple(stub_command(n, "--ready-after", "0.1") for n in "ab")
    figures: dict[str, Figure] = {}
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        blocks = compiled(directory)
        if blocks is None:
            return []
        with serving(
            config((*commands, failing_command(directory))),
            directory / "m",
            environment=blocks.environment,
        ) as server:

            def note(what: str, work: Callable[[], object], most: float = 2) -> None:
                name = f"the loop's longest pass: {what}"
                figure = figures.setdefault(what, Figure(name, "CPU ms", most=most))
                figure.add("modelswap", blocks.longest(server.pid, work))

            note("the page for the first time", lambda: server.ask("GET", "/ui/"))
            note("the first start of a model", lambda: server.chat("a"), FIRST_START)
            proxied = ProxiedEngines(server)
            proxied.swap()
            for _ in range(count):
                note("a swap", proxied.swap)
                note("a start that fails", lambda: server.chat("c"))
                note("an unload", lambda: server.ask("POST", "/api/models/unload"))
                proxied.swap()
                note("a reload", lambda: reload(server))
    return list(figures.values())


def reload(server: Modelswap) -> None:
    """Have the configuration read again, and wait until that is done."""
    before = server.log_file.stat().st_size
    os.kill(server.pid, signal.SIGHUP)
    wait_until(lambda: server.log_file.stat().st_size > before, what="the reload is logged")
