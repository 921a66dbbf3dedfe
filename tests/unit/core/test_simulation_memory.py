"""With the policy `memory`, on virtual time, no request is lost, and no device holds more than it has."""

from __future__ import annotations

import pytest

from modelswap.core.commands import Reason
from support.memory_simulator import MemoryTraffic


@pytest.mark.parametrize("seed", range(8))
def test_every_request_is_answered(seed: int) -> None:
    """While other programs take memory, servers crash, and one model is measured at its first run."""
    traffic = MemoryTraffic(seed)
    traffic.run(2_500)
    traffic.run_to_end()
    assert traffic.sim.granted
    assert {"foreign", "unload", "crash", "reload"} <= traffic.counts.keys()
    assert traffic.sim.reasons[Reason.NEVER_FITS]
    # no more starts than requests that asked for one, preloads and restored models included
    assert len(traffic.sim.spawned) <= len(traffic.sim.answers) + 2 * traffic.counts["preload"]
