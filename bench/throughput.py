"""Measure what a request, a large body and a streamed event cost."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench import load
from bench.proc import cpu_seconds, peak_mb
from bench.setup import Setup, Side, setup
from bench.table import Figure

if TYPE_CHECKING:
    from collections.abc import Callable

    from bench.load import Load, Streams

MB = 1 << 20
"""Bytes."""
SMALL_BODY = (
    b'{"model":"small","messages":[{"role":"system","content":"You are helpful."},'
    b'{"role":"user","content":"Say something short."}],"max_tokens":64,"temperature":0.7}'
)


@dataclass(frozen=True, slots=True)
class Bulk:
    """A case with large messages: how many per round, over how many connections."""

    name: str
    body: bytes
    count: int
    ratio: float
    most: float | None = None
    """Milliseconds of CPU: 2 ms for 1 MB are half a gigabyte per second and core."""


def large_body(size: int) -> bytes:
    head, tail = b'{"model":"large","messages":[{"role":"user","content":"', b'"}]}'
    return head + b"x" * (size - len(head) - len(tail)) + tail


def spent(side: Side, work: Callable[[], None]) -> float:
    """Return the CPU seconds that a side's process spent while the work ran."""
    if side.pid is None:
        work()
        return 0.0
    before = cpu_seconds(side.pid)
    work()
    time.sleep(0.05)  # seconds: work after the last byte counts, too
    return cpu_seconds(side.pid) - before


def proxy(rounds: int, *, quick: bool) -> list[Figure]:
    """Small completions at 32 connections, and large messages."""
    cpu = Figure("chat, 32 connections: CPU", "µs/request", ratio=2.5)
    rate = Figure("chat, 32 connections", "requests/s")
    p50 = Figure("chat, 32 connections: p50", "ms")
    p99 = Figure("chat, 32 connections: p99", "ms")
    failed = Figure("chat, 32 connections: failed", "", exactly=0)
    few = 8 if quick else 40
    answer = b'{"model":"large","response_bytes":10485760}'
    bulks = [
        Bulk("1 MB request body: CPU", large_body(MB), few * 5, 1.3, 2.0),
        Bulk("20 MB request body: CPU", large_body(20 * MB), few // 2, 2.5),
        Bulk("10 MB response: CPU", answer, few, 1.3),
    ]
    figures = [Figure(bulk.name, "ms/request", ratio=bulk.ratio, most=bulk.most) for bulk in bulks]
    with setup() as sides_up:
        for _ in range(rounds):
            for side in sides_up.sides:
                _small(side, 1 if quick else 3, (cpu, rate, p50, p99, failed))
            for bulk, figure in zip(bulks, figures, strict=True):
                for side in sides_up.sides:
                    _bulk(side, bulk, figure)
    return [cpu, rate, p50, p99, failed, *figures]


def _small(side: Side, seconds: float, figures: tuple[Figure, ...]) -> None:
    results: list[Load] = []
    body = SMALL_BODY
    load.hammer(side.small, body, connections=32, seconds=1)

    def work() -> None:
        results.append(load.hammer(side.small, body, connections=32, seconds=seconds))

    used = spent(side, work)
    result = results[0]
    cpu, rate, p50, p99, failed = figures
    if side.pid is not None:
        cpu.add(side.name, used / result.requests * 1e6)
    rate.add(side.name, result.requests / result.seconds)
    p50.add(side.name, result.p50_ms)
    p99.add(side.name, result.p99_ms)
    failed.add(side.name, result.failed)


def _bulk(side: Side, bulk: Bulk, figure: Figure) -> None:
    results: list[Load] = []
    load.closed_loop(side.large, bulk.body, connections=2, count=2)

    def work() -> None:
        results.append(load.closed_loop(side.large, bulk.body, connections=2, count=bulk.count))

    used = spent(side, work)
    if results[0].failed:
        raise RuntimeError(f"{bulk.name}: {results[0].failed} requests failed at {side.name}")
    if side.pid is not None:
        figure.add(side.name, used / bulk.count * 1e3)


@dataclass(frozen=True, slots=True)
class Shape:
    """So many streams, events in each, and milliseconds between two of a stream."""

    streams: int
    events: int
    delay_ms: float
    alone: bool
    """Their events are spread over the delay. Else the streams go on in step."""
    ratio: float | None = None

    @property
    def name(self) -> str:
        if not self.delay_ms:
            return f"{self.streams} streams at full rate"
        form = "each event alone" if self.alone else "in step"
        return f"{self.streams} streams, an event per {self.delay_ms:g} ms, {form}"


SHAPES = (
    Shape(64, 200, 5, alone=True, ratio=1.25),
    Shape(64, 200, 5, alone=False, ratio=1.25),
    Shape(500, 100, 20, alone=True, ratio=1.2),
    Shape(64, 1000, 0, alone=False),
)


def stream(rounds: int, *, quick: bool) -> list[Figure]:
    """Event streams: as conversations send them, in step, and as fast as they come."""
    del quick  # all are short
    figures: list[Figure] = []
    with setup() as sides_up:
        for shape in SHAPES:
            figures += _stream_figures(sides_up, rounds, shape)
        memory = Figure("500 streams: peak memory", "MB", most=120)
        memory.add("modelswap", peak_mb(sides_up.modelswap.pid))
    return [*figures, memory]


def _stream_figures(sides_up: Setup, rounds: int, shape: Shape) -> list[Figure]:
    cpu = Figure(f"{shape.name}: CPU", "µs/event", ratio=shape.ratio)
    lost = Figure(f"{shape.name}: lost", "events", exactly=0)
    foreign = Figure(f"{shape.name}: of another client", "events", exactly=0)
    for _ in range(rounds):
        for side in sides_up.sides:
            results: list[Streams] = []

            def work(port: int = side.streamed, results: list[Streams] = results) -> None:
                results.append(
                    load.streams(
                        port,
                        "large",
                        streams=shape.streams,
                        count=shape.events,
                        delay_ms=shape.delay_ms,
                        alone=shape.alone,
                    )
                )

            used = spent(side, work)
            if side.pid is not None:
                cpu.add(side.name, used / results[0].events * 1e6)
            lost.add(side.name, results[0].lost)
            foreign.add(side.name, results[0].foreign)
    return [cpu, lost, foreign]
