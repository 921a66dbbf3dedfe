"""`python -m bench [NAME…] [--quick] [--rounds N] [--check] [--write]`: tables; `swap --trace`: one swap."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from typing import TYPE_CHECKING

from bench import catalog, idle, listing, memory, report, scheduler, swap, swap_trace, throughput
from bench.growth import growth
from bench.growth.curve import Curve, render_curves
from bench.load import nginx_path
from bench.scheduling.comparison import Comparison, render_comparisons
from bench.table import Figure, render

if TYPE_CHECKING:
    from collections.abc import Callable

Found = Figure | Curve | Comparison
CASES: dict[str, Callable[..., list[Figure] | list[Curve] | list[Comparison]]] = {
    "startup": idle.startup,
    "open": idle.open_streams,
    "proxy": throughput.proxy,
    "stream": throughput.stream,
    "swap": swap.swap,
    "cold": swap.cold,
    "catalog": catalog.catalog,
    "listing": listing.listing,
    "memory": memory.memory,
    "growth": growth,
    "scheduler": scheduler.scheduler,
}
BY_NAME = ("memory",)
"""Cases that take minutes: they run only by their name."""
BUSY = 1.0
"""Load average (runnable processes) from which on swaps, starts and the slowest answers say nothing."""


def tables(found: list[Found]) -> str:
    """The table of figures, then those of growth, then that of schedulers."""
    figures = [one for one in found if isinstance(one, Figure)]
    curves = [one for one in found if isinstance(one, Curve)]
    compared = [one for one in found if isinstance(one, Comparison)]
    parts = (
        render(figures) if figures else "",
        render_curves(curves),
        render_comparisons(compared) if compared else "",
    )
    return "\n\n".join(filter(None, parts))


def _on_signal(number: int, _frame: object) -> None:
    """Leave every `with`, which ends what was started."""
    sys.exit(128 + number)  # as a shell says it


def main() -> int:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _on_signal)
    parser = argparse.ArgumentParser(prog="bench", description="Measure modelswap beside nginx.")
    names = f"{', '.join(CASES)}  [default: all but {', '.join(BY_NAME)}]"
    parser.add_argument("names", nargs="*", metavar="NAME", help=names)
    parser.add_argument("--quick", action="store_true", help="fewer requests per round")
    parser.add_argument("--rounds", type=int, help="rounds per case  [default: 5; quick: 2]")
    parser.add_argument("--check", action="store_true", help="exit with 1 when a bound is missed")
    parser.add_argument(
        "--write", action="store_true", help="write README.md and docs/performance.md, too"
    )
    parser.add_argument("--trace", action="store_true", help="of `swap`: one swap in microseconds")
    asked = parser.parse_args()
    if unknown := set(asked.names) - set(CASES):
        parser.error(f"no such case: {', '.join(sorted(unknown))}; there are {', '.join(CASES)}")
    rounds = asked.rounds or (2 if asked.quick else 5)
    if asked.trace:
        print(swap_trace.trace(rounds))
        return 0
    if nginx_path() is None:
        print("nginx is not installed: its column stays empty", file=sys.stderr)
    if (load := os.getloadavg()[0]) > BUSY:
        print(f"other work runs on this machine (load {load:.0f}): run it again", file=sys.stderr)
    found: list[Found] = []
    for name in asked.names or (name for name in CASES if name not in BY_NAME):
        began = time.monotonic()
        print(f"{name} …", end=" ", file=sys.stderr, flush=True)
        try:
            found += CASES[name](rounds, quick=asked.quick)
        except (OSError, RuntimeError, AssertionError, ExceptionGroup) as problem:
            failed = Figure(f"{name}: could not be measured", "", exactly=0)
            failed.add("modelswap", 1)
            found.append(failed)
            print(f"failed: {problem}", file=sys.stderr)
        print(f"{time.monotonic() - began:.0f} s", file=sys.stderr)
    print(f"{report.machine()}, {rounds} rounds. {report.HOW} {report.LOWEST}\n")
    print(tables(found))
    missed = [one for one in found if one.verdict == "MISS"]
    print(f"\n{len(missed)} bound(s) missed" if missed else "\nevery bound reached")
    if asked.write:
        try:
            report.write(found, rounds)
        except report.MissingError as missing:
            print(f"nothing was written: there is no figure for {missing}", file=sys.stderr)
            return 2
    return 1 if asked.check and missed else 0


if __name__ == "__main__":
    sys.exit(main())
