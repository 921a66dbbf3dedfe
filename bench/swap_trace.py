"""One swap in microseconds: when each part of modelswap did its work, as `bench.traced` writes it down.

`python -m bench swap --trace` prints one table for each engine: the median of the rounds.
Guarantees: the points are in the order of the causes; a step counts in the rounds that
have both its points; a point that all lack is shown as such.
Does not: show what a swap costs without the trace, which itself takes some microseconds a point.
"""

from __future__ import annotations

import contextlib
import statistics
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from bench.swap import ProxiedEngines, config, engines, serving

TRACED = Path(__file__).with_name("traced.py")
POINTS: Final = (
    "request read",
    "lease asked for",
    "swap decided",
    "connections closed",
    "stop ordered",
    "stop order read",
    "signal sent",
    "exit seen by the keeper",
    "exit told",
    "exit seen by the front",
    "start decided",
    "port found",
    "start ordered",
    "start order read",
    "program runs",
    "start told",
    "start seen by the front",
    "first probe",
    "last probe before",
    "probe begins",
    "probe passed",
    "answer is the server's own",
    "lease granted",
    "connected to the server",
    "request sent to the server",
    "response begins",
    "response passed on",
    "response read by the client",
)
"""The points of a swap, in order."""
OF_THE_SERVER: Final = frozenset(
    {"exit seen by the keeper", "last probe before", "response begins"}
)
"""What goes before these is the server's own time: its exit, its start, its response."""


@dataclass(slots=True)
class Trace:
    """Of each round the nanoseconds since the request was sent, by point."""

    rounds: list[dict[str, int]] = field(default_factory=list)

    def add(self, began: int, lines: list[str], ended: int) -> None:
        """Take one swap's lines: `nanoseconds name`."""
        found: dict[str, int] = {}
        probes: list[int] = []
        for line in lines:
            when, _, name = line.partition(" ")
            if began <= int(when) <= ended:
                if name == "probe begins":
                    probes.append(int(when))
                found.setdefault(name, int(when))
        if probes:
            found["first probe"], found["probe begins"] = probes[0], probes[-1]
            found["last probe before"] = probes[-2] if len(probes) > 1 else probes[-1]
        found["response read by the client"] = ended
        self.rounds.append({name: at - began for name, at in found.items()})

    def render(self, title: str) -> str:
        """Two columns of µs: since the point before in the same round, and since the request was sent."""
        lines = [f"| {title} | µs | since the request |", "|---|---|---|"]
        ours = 0.0
        before = dict.fromkeys(range(len(self.rounds)), 0)
        for name in POINTS:
            at = {n: found[name] for n, found in enumerate(self.rounds) if name in found}
            both = at.keys() & before.keys()
            if not both:
                lines.append(f"| {name} | - | - |")
                continue
            step = statistics.median(at[n] - before[n] for n in both) / 1000
            mark = " (the server's own time)" if name in OF_THE_SERVER else ""
            ours += 0 if mark else step
            lines.append(
                f"| {name}{mark} | {step:,.0f} | {statistics.median(at.values()) / 1000:,.0f} |"
            )
            before = at
        lines.append(f"| all but the server's own time | {ours:,.0f} | |")
        return "\n".join(lines)


def trace(rounds: int) -> str:
    """Swap between two servers of each kind; the tables."""
    with tempfile.TemporaryDirectory() as name:
        return "\n\n".join(
            traced(engine.commands, Path(name) / str(number), max(3, rounds)).render(engine.name)
            for number, engine in enumerate(engines(Path(name)))
        )


def traced(commands: tuple[str, ...], directory: Path, rounds: int) -> Trace:
    """Swap so many times between the servers of two commands."""
    file = directory / "trace"
    found = Trace()
    environment = {"MODELSWAP_BENCH_TRACE": str(file)}
    with (
        serving(
            config(commands), directory, program=(str(TRACED),), environment=environment
        ) as server,
        contextlib.closing(ProxiedEngines(server)) as proxied,
    ):
        for _ in range(rounds):
            before = file.stat().st_size
            began = time.perf_counter_ns()
            proxied.swap()
            ended = time.perf_counter_ns()
            time.sleep(0.05)  # seconds: until the last point is written
            with file.open() as lines:
                lines.seek(before)
                found.add(began, lines.read().splitlines(), ended)
    return found
