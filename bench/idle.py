"""Measure the start of the program, and its memory when idle."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

from bench.proc import memory_mb, resident_mb
from bench.swap import is_healthy
from bench.table import Figure
from support.server import Modelswap, stub_config


def startup(rounds: int, *, quick: bool) -> list[Figure]:
    """From the start of the process to the first 200 on `/health`; memory afterwards."""
    first = Figure("start to first 200 on /health", "ms", most=400)
    proportional = Figure("idle, front and keeper: PSS", "MB", most=60)
    resident = Figure("idle, front and keeper: RSS", "MB", most=60)
    front_only = Figure("idle, front: RSS", "MB")
    for _ in range(max(2, rounds * (1 if quick else 2))):
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
                pids = (server.pid, server.keeper_pid())
                proportional.add("modelswap", sum(map(memory_mb, pids)))
                resident.add("modelswap", sum(map(resident_mb, pids)))
                front_only.add("modelswap", resident_mb(server.pid))
            finally:
                server.finish()
    return [first, proportional, resident, front_only]
