"""What requests, swaps, lists and reloads cost at more configured models."""

from __future__ import annotations

import contextlib
import socket
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

from bench.growth.curve import Curve
from bench.growth.measure import asked, running, small_model, small_requests
from bench.proc import REST, cpu_seconds, spent_seconds
from bench.swap import start_till_healthy
from support.server import Modelswap, stub_command

if TYPE_CHECKING:
    from collections.abc import Iterator

AXIS = "models"
SIZES = (10, 100, 1000)
DESCRIPTION = "A model of the bench"
STARTS = 2
"""Starts of each size, however many rounds: each takes a second with its end."""


def config(directory: Path, size: int) -> str:
    """`small`, `a` and `b`, which swap with each other, and others that never run."""
    pair = "".join(f"  {name}:\n    cmd: {stub_command(name)}\n" for name in "ab")
    idle = "".join(
        f"  model-{number}:\n    cmd: llama-server --port ${{PORT}} -m /models/{number}.gguf\n"
        f"    name: Model {number}\n    description: {DESCRIPTION}\n    aliases: [also-{number}]\n"
        for number in range(size - 3)
    )
    return f"models:\n{small_model(directory)}{pair}{idle}"


@contextlib.contextmanager
def page(server: Modelswap) -> Iterator[None]:
    """A page that is open: it reads the events, on a thread of its own."""
    with socket.create_connection(("127.0.0.1", server.port)) as sock:
        sock.sendall(b"GET /api/events HTTP/1.1\r\nHost: localhost\r\n\r\n")
        reader = threading.Thread(target=_read, args=(sock,))
        reader.start()
        time.sleep(REST)  # seconds: the first events have come
        try:
            yield
        finally:
            sock.shutdown(socket.SHUT_RDWR)
            reader.join()


def _read(sock: socket.socket) -> None:
    while sock.recv(1 << 20):
        continue


def _swaps(server: Modelswap, count: int) -> float:
    """CPU milliseconds of one swap of `a` and `b`."""

    def work() -> None:
        for number in range(count):
            if server.chat("ab"[number % 2]).status != 200:
                raise RuntimeError("a swap failed")

    server.chat("b")
    return spent_seconds(server.pid, work) / count * 1e3


def _reload(server: Modelswap, note: str) -> float:
    """CPU milliseconds of a reload of a file in which each description differs."""
    text = server.config_text.replace(DESCRIPTION, f"{DESCRIPTION}, {note}")
    server.config_file.write_text(text)
    return asked(server, ["/api/config/reload"], method="POST")


def start(directory: Path, text: str) -> float:
    """CPU milliseconds of the program until its first 200 on `/health`."""
    server = Modelswap(directory, text)
    try:
        start_till_healthy(server)
        return cpu_seconds(server.pid) * 1e3
    finally:
        server.finish()


@contextlib.contextmanager
def _servers(directory: Path) -> Iterator[dict[int, Modelswap]]:
    with contextlib.ExitStack() as stack:
        yield {
            size: stack.enter_context(
                running(directory / str(size), config(directory / str(size), size))
            )
            for size in SIZES
        }


def by_models(rounds: int, *, quick: bool) -> list[Curve]:
    """Costs of the real server, and of its start, with 10 to 1,000 models configured."""
    request = Curve(AXIS, "small request: CPU", "µs/request", flat=1.25)
    swap = Curve(AXIS, "swap: CPU", "ms/swap", flat=1.25)
    watched = Curve(AXIS, "swap, a page open: CPU", "ms/swap", above=15)
    listing = Curve(AXIS, "GET /v1/models: CPU", "ms/request", most=10)
    running_ = Curve(AXIS, "GET /running: CPU", "ms/request", most=2)
    metrics = Curve(AXIS, "GET /metrics: CPU", "ms/request", most=50)
    reload = Curve(AXIS, "reload: CPU", "ms/reload", most=500)
    begun = Curve(AXIS, "start to first 200: CPU", "ms/start", above=400)
    count, swaps = (1000, 2) if quick else (2000, 2)
    with tempfile.TemporaryDirectory() as name, _servers(Path(name)) as servers:
        for number in range(rounds):
            for size, server in servers.items():
                request.add(size, small_requests(server, count))
            for size, server in servers.items():
                listing.add(size, asked(server, ["/v1/models"] * 10))
                running_.add(size, asked(server, ["/running"] * 10))
                metrics.add(size, asked(server, ["/metrics"] * 4))
                swap.add(size, _swaps(server, swaps))
                with page(server):
                    watched.add(size, _swaps(server, swaps))
                server.chat("small")
            for size, server in servers.items():
                reload.add(size, _reload(server, f"round {number}"))
                if number < STARTS:
                    directory = Path(name) / f"start-{size}-{number}"
                    begun.add(size, start(directory, config(directory, size)))
    return [request, swap, watched, listing, running_, metrics, reload, begun]
