"""Measure the start of the program, and its memory when idle and with streams open.

Beside the start stands a bare interpreter that imports the same event loop, so that the machine's speed
can be seen.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from bench import load
from bench.proc import proportional_mb, resident_mb, together_mb
from bench.setup import setup
from bench.swap import start_till_healthy
from bench.table import Figure
from modelswap.net.descriptors import raise_limit
from support.server import ROOT, Modelswap, stub_config

if TYPE_CHECKING:
    from bench.load import Streams

BARE: Final = "import asyncio, uvloop"
SERVE: Final = (
    "import modelswap.cli.serve_arguments; from modelswap.net import tls; tls.import_asyncio(); "
    "import modelswap.app.start; tls.import_uvloop(is_tls_used=False)"
)
"""What `modelswap serve` imports before it reads its configuration."""
OPEN: Final = 2_000
"""Streams that are open at once."""
EVENTS: Final = 4
"""Of each stream, one a second."""


class Memory:
    """The memory of the front and its keeper, or of nginx, in three measures.

    The first counts pages which both share once: it is what the two take of the machine. RSS counts such pages
    twice. PSS shares them with the other Pythons that run, so it has no bound.
    """

    def __init__(self, name: str, *, most: float) -> None:
        name = f"{name}, front and keeper"
        self.figures = (
            Figure(f"{name}: shared pages once", "MB", most=most),
            Figure(f"{name}: RSS", "MB", most=most),
            Figure(f"{name}: PSS", "MB"),
        )

    def add(self, side: str, values: tuple[float, ...]) -> None:
        for figure, value in zip(self.figures, values, strict=True):
            figure.add(side, value)


def memory_of(pids: tuple[int, ...]) -> tuple[float, ...]:
    """Return MB of the processes together, in the order of `Memory`."""
    return (
        together_mb(pids),
        sum(map(resident_mb, pids)),
        sum(map(proportional_mb, pids)),
    )


def startup(rounds: int, *, quick: bool) -> list[Figure]:
    """From the start of the process to the first 200 on `/health`; imports; memory afterwards."""
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # an installed program has its bytecode
    first = Figure("start to first 200 on /health", "ms", most=120, is_only_raised=True)
    imports = Figure("imports of serve", "ms", is_only_raised=True)
    modules = Figure("imports of serve", "modules")
    memory = Memory("idle", most=40)
    front_only = Figure("idle, front: RSS", "MB")
    keeper_only = Figure("idle, keeper: RSS", "MB", most=10)
    imported(SERVE)  # writes the bytecode of a fresh checkout
    for _ in range(max(2, rounds * (1 if quick else 2))):
        for side, code in (("direct", BARE), ("modelswap", SERVE)):
            spent, count = imported(code)
            imports.add(side, spent)
            modules.add(side, count)
        first.add("direct", bare_start())
        _started_once(first, memory, front_only, keeper_only)
    return [first, imports, modules, *memory.figures, front_only, keeper_only]


def imported(code: str) -> tuple[float, int]:
    """Return the milliseconds that the imports take by themselves, and how many modules they are."""
    path = os.pathsep.join(filter(None, [str(ROOT / "src"), os.environ.get("PYTHONPATH", "")]))
    told = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", code],
        capture_output=True,
        check=True,
        text=True,
        env={**os.environ, "PYTHONPATH": path},
    ).stderr
    own = [line.split("|")[0].rpartition(":")[2].strip() for line in told.splitlines()]
    times = [int(microseconds) for microseconds in own if microseconds.isdigit()]
    return sum(times) / 1000, len(times)


def bare_start() -> float:
    """Return the milliseconds in which an interpreter imports the event loop and ends."""
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", BARE], check=True)
    return (time.perf_counter() - began) * 1000


def _started_once(first: Figure, memory: Memory, front_only: Figure, keeper_only: Figure) -> None:
    with tempfile.TemporaryDirectory() as name:
        server = Modelswap(Path(name), stub_config("a"))
        began = time.perf_counter()
        try:
            start_till_healthy(server)
            first.add("modelswap", (time.perf_counter() - began) * 1000)
            server.chat("a")
            server.ask("POST", "/api/models/unload")
            time.sleep(0.5)  # seconds: what ends after an unload has ended
            front, keeper = server.pid, server.keeper_pid()
            memory.add("modelswap", memory_of((front, keeper)))
            front_only.add("modelswap", resident_mb(front))
            keeper_only.add("modelswap", resident_mb(keeper))
        finally:
            server.finish()


def open_streams(rounds: int, *, quick: bool) -> list[Figure]:
    """Memory while many streams are open, each with an event a second."""
    memory = Memory(f"{OPEN:,} open streams", most=72)
    lost = Figure(f"{OPEN:,} open streams: lost", "events", exactly=0)
    raise_limit()
    with setup() as sides_up:
        keeper = sides_up.modelswap.keeper_pid()
        for _ in range(1 if quick else min(rounds, 2)):
            for side in sides_up.sides:
                if side.pid is None:
                    continue
                pids = (side.pid, keeper) if side.name == "modelswap" else (side.pid,)
                result, most = _watched(side.streamed, pids)
                memory.add(side.name, most)
                lost.add(side.name, result.lost + result.foreign)
    return [*memory.figures, lost]


def _watched(port: int, pids: tuple[int, ...]) -> tuple[Streams, tuple[float, ...]]:
    """Run the streams; return their result, and the most memory of the processes meanwhile."""
    results: list[Streams] = []

    def work() -> None:
        results.append(
            load.streams(port, "large", streams=OPEN, count=EVENTS, delay_ms=1000, alone=True)
        )

    thread = threading.Thread(target=work)
    thread.start()
    most = memory_of(pids)
    while thread.is_alive():
        most = tuple(map(max, most, memory_of(pids)))
        thread.join(0.2)  # seconds: the streams are open for four
    if not results:
        raise RuntimeError("the streams failed")
    return results[0], most
