"""Measure the start of the program, and its memory when idle and with streams open.

Beside the start stands a bare interpreter that imports the same event loop, so that the machine's speed
can be seen.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from bench import load
from bench.proc import memory_mb, resident_mb
from bench.setup import setup
from bench.swap import is_healthy
from bench.table import Figure
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


def startup(rounds: int, *, quick: bool) -> list[Figure]:
    """From the start of the process to the first 200 on `/health`; imports; memory afterwards."""
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # an installed program has its bytecode
    first = Figure("start to first 200 on /health", "ms", most=120)
    imports = Figure("imports of serve", "ms")
    modules = Figure("imports of serve", "modules")
    proportional = Figure("idle, front and keeper: PSS", "MB", most=40)
    resident = Figure("idle, front and keeper: RSS", "MB", most=43)
    front_only = Figure("idle, front: RSS", "MB")
    keeper_only = Figure("idle, keeper: RSS", "MB", most=10)
    memory = (proportional, resident, front_only, keeper_only)
    imported(SERVE)  # writes the bytecode of a fresh checkout
    for _ in range(max(2, rounds * (1 if quick else 2))):
        for side, code in (("direct", BARE), ("modelswap", SERVE)):
            spent, count = imported(code)
            imports.add(side, spent)
            modules.add(side, count)
        first.add("direct", bare_start())
        started_once(first, memory)
    return [first, imports, modules, *memory]


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


def started_once(first: Figure, memory: tuple[Figure, Figure, Figure, Figure]) -> None:
    with tempfile.TemporaryDirectory() as name:
        server = Modelswap(Path(name), stub_config("a"))
        began = time.perf_counter()
        server.spawn()
        try:
            while not is_healthy(server.port):
                if server.process is None or server.process.poll() is not None:
                    raise RuntimeError(f"did not start:\n{server.log()}")
                time.sleep(0.002)  # seconds: the resolution of the figure
            first.add("modelswap", (time.perf_counter() - began) * 1000)
            server.chat("a")
            server.ask("POST", "/api/models/unload")
            time.sleep(0.5)  # seconds: what ends after an unload has ended
            front, keeper = server.pid, server.keeper_pid()
            proportional, resident, front_only, keeper_only = memory
            proportional.add("modelswap", memory_mb(front) + memory_mb(keeper))
            resident.add("modelswap", resident_mb(front) + resident_mb(keeper))
            front_only.add("modelswap", resident_mb(front))
            keeper_only.add("modelswap", resident_mb(keeper))
        finally:
            server.finish()


def open_streams(rounds: int, *, quick: bool) -> list[Figure]:
    """Memory while many streams are open, each with an event a second."""
    del quick  # a round takes as long as its streams
    name = f"{OPEN:,} open streams, front and keeper"
    proportional, resident = Figure(f"{name}: PSS", "MB"), Figure(f"{name}: RSS", "MB", most=75)
    lost = Figure(f"{OPEN:,} open streams: lost", "events", exactly=0)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    try:
        with setup() as sides_up:
            keeper = sides_up.modelswap.keeper_pid()
            for _ in range(min(rounds, 2)):
                for side in sides_up.sides:
                    if side.pid is None:
                        continue
                    pids = (side.pid, keeper) if side.name == "modelswap" else (side.pid,)
                    result, (most_proportional, most_resident) = _watched(side.streamed, pids)
                    proportional.add(side.name, most_proportional)
                    resident.add(side.name, most_resident)
                    lost.add(side.name, result.lost + result.foreign)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return [proportional, resident, lost]


def _watched(port: int, pids: tuple[int, ...]) -> tuple[Streams, tuple[float, float]]:
    """Run the streams; return their result, and the most memory of the processes meanwhile."""
    results: list[Streams] = []

    def work() -> None:
        results.append(
            load.streams(port, "large", streams=OPEN, count=EVENTS, delay_ms=1000, alone=True)
        )

    thread = threading.Thread(target=work)
    thread.start()
    proportional = resident = 0.0
    while thread.is_alive():
        proportional = max(proportional, sum(map(memory_mb, pids)))
        resident = max(resident, sum(map(resident_mb, pids)))
        thread.join(0.2)  # seconds: the streams are open for four
    if not results:
        raise RuntimeError("the streams failed")
    return results[0], (proportional, resident)
