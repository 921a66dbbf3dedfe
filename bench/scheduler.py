"""Replay what clients do through our decisions and those of others, on virtual time: who waits how long.

Guarantees: every scheduler has the same clients, machine and memory; the seeds are 1, 2, …; nothing is measured
on a real clock, so every run has the same result.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from bench.scheduling.comparison import OURS, Comparison
from bench.scheduling.machine import Machine
from bench.scheduling.ours import Modelswap
from bench.scheduling.rivals import LlamaSwap, Ollama, Router
from bench.scheduling.traces import TRACES
from modelswap.core.scheduling.swap_costs import MOST_BOUND

if TYPE_CHECKING:
    from collections.abc import Callable

    from bench.scheduling.machine import Scheduler

SIDES: Final[dict[str, Callable[[Machine], Scheduler]]] = {
    "llama-swap, no groups": LlamaSwap,
    "llama.cpp's router": Router,
    "Ollama": Ollama,
    OURS: Modelswap,
}
SEEDS: Final = 5


def scheduler(_rounds: int, *, quick: bool) -> list[Comparison]:  # noqa: ARG001 - it needs all seeds
    """Compare on every trace, with every seed: a minute of CPU time."""
    found: list[Comparison] = []
    for workload in TRACES:
        traces = [workload.make(seed) for seed in range(1, SEEDS + 1)]
        swap = max(m.start + m.stop for trace in traces for m in trace.models.values())
        comparison = Comparison(traces[0].name, MOST_BOUND + swap, workload.why)
        for trace in traces:
            comparison.add({side: Machine(trace, by).replay() for side, by in SIDES.items()})
        comparison.limit += comparison.ours.longest_run
        found.append(comparison)
    return found
