"""On virtual time, whatever servers and clients do, nothing is lost, cut off or forgotten."""

from __future__ import annotations

import pytest

from support.simulation import Chaos


@pytest.mark.parametrize("seed", range(8))
def test_chaos_ends_well(seed: int) -> None:
    """Slow, deaf, crashing and flapping servers, floods, reloads and leaps: all are answered once."""
    chaos = Chaos(seed)
    chaos.run(2_500)
    chaos.settle()
    assert chaos.world.granted
    assert {"flood", "leave", "unload", "crash", "reload"} <= chaos.counts.keys()
