"""Measure what a request, a large body and a streamed event cost."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench import load
from bench.proc import peak_mb, spent_seconds
from bench.setup import Setup, Side, setup
from bench.table import Figure

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from bench.load import Load, Streams

MB = 1 << 20
"""Bytes."""
SMALL_BODY = (
    b'{"model":"small","messages":[{"role":"system","content":"You are helpful."},'
    b'{"role":"user","content":"Say something short."}],"max_tokens":64,"temperature":0.7}'
)


TURNS = 3
"""Of each proxy in a round: many short turns are more alike than a few long ones."""


@dataclass(frozen=True, slots=True)
class Bulk:
    """A case with large messages: how many per turn."""

    name: str
    body: bytes
    count: int
    most: float | None = None
    """Milliseconds of CPU: 2 ms for 1 MB are half a gigabyte per second and core."""


def large_body(size: int) -> bytes:
    head, tail = b'{"model":"large","messages":[{"role":"user","content":"', b'"}]}'
    return head + b"x" * (size - len(head) - len(tail)) + tail


def spent(side: Side, work: Callable[[], None]) -> float:
    """Return the CPU seconds that a side's process spent while the work ran; 0 where it has none."""
    if side.pid is None:
        work()
        return 0.0
    return spent_seconds(side.pid, work)


def in_turns(sides_up: Setup, turns: int) -> Iterator[Side]:
    """Yield nginx and modelswap, each so many times; who is first changes with each turn."""
    proxies = [side for side in sides_up.sides if side.pid is not None]
    for number in range(turns):
        yield from (proxies if number % 2 else reversed(proxies))


def proxy(rounds: int, *, quick: bool) -> list[Figure]:
    """Small completions at 32 connections, and large messages."""
    cpu = Figure("chat, 32 connections: CPU", "µs/request", ratio=1.4, is_only_raised=True)
    rate = Figure("chat, 32 connections", "requests/s")
    p50 = Figure("chat, 32 connections: p50", "ms")
    p99 = Figure("chat, 32 connections: p99", "ms")
    failed = Figure("chat, 32 connections: failed", "", exactly=0)
    small = (cpu, rate, p50, p99, failed)
    few = 2 if quick else 6
    answer = b'{"model":"large","response_bytes":10485760}'
    bulks = [
        Bulk("1 MB request body: CPU", large_body(MB), few * 20, 2.0),
        Bulk("20 MB request body: CPU", large_body(20 * MB), few),
        Bulk("10 MB response: CPU", answer, few * 2),
    ]
    large = [
        Figure(bulk.name, "ms/request", ratio=1, most=bulk.most, is_only_raised=True)
        for bulk in bulks
    ]
    with setup() as sides_up:
        for side in sides_up.sides:
            load.hammer(side.small, SMALL_BODY, connections=32, seconds=1)
        for _ in range(rounds):
            _small(sides_up.sides[0], small)
            for side in in_turns(sides_up, TURNS):
                _small(side, small)
            for bulk, figure in zip(bulks, large, strict=True):
                for side in in_turns(sides_up, TURNS):
                    _bulk(side, bulk, figure)
    return [*small, *large]


def _small(side: Side, figures: tuple[Figure, ...]) -> None:
    results: list[Load] = []

    def work() -> None:
        results.append(load.hammer(side.small, SMALL_BODY, connections=32, seconds=1))

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
    Shape(500, 50, 20, alone=True, ratio=1.2),
    Shape(64, 500, 0, alone=False),
)


def stream(rounds: int, *, quick: bool) -> list[Figure]:
    """Event streams: as conversations send them, in step, and as fast as they come."""
    figures: list[Figure] = []
    with setup() as sides_up:
        for shape in SHAPES:
            figures += _stream_figures(sides_up, rounds if quick else 2 * rounds, shape)
        memory = Figure("500 streams: peak memory", "MB", most=120)
        memory.add("modelswap", peak_mb(sides_up.modelswap.pid))
    return [*figures, memory]


def _stream_figures(sides_up: Setup, turns: int, shape: Shape) -> list[Figure]:
    cpu = Figure(f"{shape.name}: CPU", "µs/event", ratio=shape.ratio, is_only_raised=True)
    lost = Figure(f"{shape.name}: lost", "events", exactly=0)
    foreign = Figure(f"{shape.name}: of another client", "events", exactly=0)
    for side in (sides_up.sides[0], *in_turns(sides_up, turns)):
        used, result = _streamed(side, shape)
        if side.pid is not None:
            cpu.add(side.name, used / result.events * 1e6)
        lost.add(side.name, result.lost)
        foreign.add(side.name, result.foreign)
    return [cpu, lost, foreign]


def _streamed(side: Side, shape: Shape) -> tuple[float, Streams]:
    """Run the streams once; CPU seconds of the side's process, and what arrived."""
    results: list[Streams] = []

    def work() -> None:
        results.append(
            load.streams(
                side.streamed,
                "large",
                streams=shape.streams,
                count=shape.events,
                delay_ms=shape.delay_ms,
                alone=shape.alone,
            )
        )

    return spent(side, work), results[0]
