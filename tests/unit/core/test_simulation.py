"""On virtual time, whatever servers and clients do, no request is lost or cut off."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from support.controller_simulator import MAX_WAIT
from support.simulation import RandomTraffic

if TYPE_CHECKING:
    from modelswap.units import Seconds


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("max_wait", [MAX_WAIT, None], ids=["fixed", "by cost"])
def test_every_request_is_answered(seed: int, max_wait: Seconds | None) -> None:
    """With slow, crashing and unstoppable servers, floods, reloads and leaps of the clock."""
    traffic = RandomTraffic(seed, max_wait)
    traffic.run(2_500)
    traffic.run_to_end()
    assert traffic.sim.granted
    assert {"flood", "leave", "unload", "crash", "reload"} <= traffic.counts.keys()
