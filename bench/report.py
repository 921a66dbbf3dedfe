"""Write the figures of one run into README.md and docs/performance.md, between their markers.

Guarantees: both get their numbers from the same run, and nothing is written unless every figure
that README shows was measured.
"""

from __future__ import annotations

import os
import platform
import re
from pathlib import Path
from typing import TYPE_CHECKING, Final

from bench.growth.curve import Curve, render_curves
from bench.scheduling.comparison import Comparison, render_comparisons
from bench.table import Figure, beside, render, shown

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    Found = Mapping[str, Figure]

ROOT: Final = Path(__file__).resolve().parents[1]
BEGIN: Final = "<!-- figures: written by `make bench WRITE=1` -->"
END: Final = "<!-- end of figures -->"
README: Final = ROOT / "README.md"
PERFORMANCE: Final = ROOT / "docs" / "performance.md"

BESIDE_NGINX: Final = {
    "small chat completion, 32 connections": "chat, 32 connections: CPU",
    "event of 64 streams, one per 5 ms and stream": (
        "64 streams, an event per 5 ms, each event alone: CPU"
    ),
    "event of 500 streams, one per 20 ms and stream": (
        "500 streams, an event per 20 ms, each event alone: CPU"
    ),
    "event of 64 streams at full rate": "64 streams at full rate: CPU",
    "1 MB request body": "1 MB request body: CPU",
    "20 MB request body": "20 MB request body: CPU",
    "10 MB response": "10 MB response: CPU",
}
"""What README calls a figure, and the figure's own name."""
SWAPS: Final = {
    "stub that is ready after 50 ms": "swap, stub ready after 50 ms",
    "stub that is ready after 500 ms": "swap, stub ready after 500 ms",
    "llama.cpp, tiny model": "swap, real engine, tiny model",
    "llama.cpp, 2 GB model": "swap, real engine, 2 GB model",
}
ALONE: Final = {
    "start to the first response": "start to first 200 on /health",
    "memory when idle, both processes, shared pages once": "idle, front and keeper: shared pages once",
    "memory with 2,000 open streams, counted alike": (
        "2,000 open streams, front and keeper: shared pages once"
    ),
    "slowest `GET /v1/models` while models swap": (
        "GET /v1/models while models swap: slowest of a swap"
    ),
}


HOW: Final = "Medians; a ratio or a difference is the median of those of the rounds."
LOWEST: Final = (
    "In brackets: the lowest round, of figures that other work of the machine can only raise."
)
"""How the tables are read."""


class MissingError(Exception):
    """Figures that README shows were not measured; the text names them."""


def write(found: Sequence[Figure | Curve | Comparison], rounds: int) -> None:
    """Write both files.

    Raises:
        MissingError: before anything is written.
    """
    rows = [one for one in found if isinstance(one, Figure)]
    figures = {one.name: one for one in rows}
    curves = [one for one in found if isinstance(one, Curve)]
    compared = [one for one in found if isinstance(one, Comparison)]
    wanted = (*BESIDE_NGINX.values(), *SWAPS.values(), *ALONE.values())
    missing = [name for name in wanted if name not in figures or not figures[name].samples]
    if missing or not curves:
        raise MissingError(", ".join(missing) or "growth")
    run = f"{machine()}, {rounds} rounds. {HOW}"
    table = render(rows)
    schedulers = f"\n\n{render_comparisons(compared)}" if compared else ""
    _replace(README, f"{run}\n\n{summary(figures)}")
    _replace(PERFORMANCE, f"{run} {LOWEST}\n\n{table}\n\n{render_curves(curves)}{schedulers}")


def machine() -> str:
    """Say what ran: processors, kernel, how it paces TCP, Python."""
    found = re.search(r"^model name\s*: (.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    processor = found[1] if found else platform.machine()
    pacing = Path("/proc/sys/net/ipv4/tcp_congestion_control").read_text().strip()
    python = platform.python_version()
    return f"{os.cpu_count()} cores ({processor}), Linux {platform.release()} with {pacing}, Python {python}"


def summary(figures: Found) -> str:
    """The tables of README."""
    return "\n\n".join(
        (
            _table(
                "| CPU time | nginx | modelswap | |\n|---|---|---|---|",
                BESIDE_NGINX,
                lambda name: _beside(figures[name], "nginx"),
            ),
            _table(
                "| swap | the engine's own stop and start | through modelswap | |\n|---|---|---|---|",
                SWAPS,
                lambda name: _beside(figures[name], "direct"),
            ),
            _table(
                "| the program | |\n|---|---|",
                ALONE,
                lambda name: _with_unit(figures[name], "modelswap"),
            ),
        )
    )


def _table(head: str, rows: Mapping[str, str], cells: Callable[[str], str]) -> str:
    return "\n".join([head, *(f"| {label} | {cells(name)} |" for label, name in rows.items())])


def _beside(figure: Figure, side: str) -> str:
    """Both sides, and how many times the other the program's is, or how much more."""
    unit = "" if side == "nginx" else f" {_unit(figure)}"
    between = beside(figure).replace("x", "\u00d7") + unit
    return f"{_with_unit(figure, side)} | {_with_unit(figure, 'modelswap')} | {between}"


def _with_unit(figure: Figure, side: str) -> str:
    return f"{shown(figure.value(side))} {_unit(figure)}"


def _unit(figure: Figure) -> str:
    """Return its unit, without what it is for."""
    return figure.unit.partition("/")[0]


def _replace(path: Path, text: str) -> None:
    """Put a text between the markers of a file."""
    before = path.read_text()
    pattern = re.compile(re.escape(BEGIN) + r"\n.*?" + re.escape(END), re.DOTALL)
    after, count = pattern.subn(lambda _: f"{BEGIN}\n\n{text}\n\n{END}", before)
    if count != 1:
        raise ValueError(f"{path.name} needs the markers {BEGIN} and {END} once")
    path.write_text(after)
