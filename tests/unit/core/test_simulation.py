"""On virtual time, whatever servers and clients do, no request is lost or cut off."""

from __future__ import annotations

import pytest

from support.simulation import RandomTraffic


@pytest.mark.parametrize("seed", range(8))
def test_every_request_is_answered(seed: int) -> None:
    """With slow, crashing and unstoppable servers, floods, reloads and leaps of the clock."""
    traffic = RandomTraffic(seed)
    traffic.run(2_500)
    traffic.run_to_end()
    assert traffic.sim.granted
    assert {"flood", "leave", "unload", "crash", "reload"} <= traffic.counts.keys()
