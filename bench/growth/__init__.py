"""Measure what grows: CPU time at more models, loaded ones, idle connections, activity rows, waiting requests.

Guarantees: the sizes of one curve are measured in turns, in the same round. Where a server is
measured it is the real program; where a decision alone is measured it is the program's own
controller, with a configuration that the program's own loader has read.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.growth import connections, decisions, models, placing, rows, waiting

if TYPE_CHECKING:
    from bench.growth.curve import Curve


def growth(rounds: int, *, quick: bool) -> list[Curve]:
    """All curves."""
    found: list[Curve] = []
    for part in (
        decisions.by_models,
        decisions.by_waiting,
        placing.by_loaded,
        models.by_models,
        connections.by_connections,
        waiting.by_waiting,
        rows.by_rows,
    ):
        found += part(rounds, quick=quick)
    return found
