"""What it costs to lose a model, in words."""

from __future__ import annotations

from modelswap.core.explaining.costs import cost_text
from modelswap.core.placement.policy import NO_FACTS, RAM, UNUSED, DeviceId, Facts, Usage
from modelswap.core.spec import ModelId
from modelswap.units import Bytes, Seconds

A = ModelId("a")
GPU0 = DeviceId("gpu0")
GIB = 1 << 30


def test_costs() -> None:
    """Use, reload time and memory, as far as they are known."""
    facts = Facts(reload={A: Seconds(3.4)}, held={A: {RAM: Bytes(GIB), GPU0: Bytes(GIB)}})
    assert cost_text(UNUSED, NO_FACTS, A) == ""
    assert cost_text(Usage(in_flight=1, idle=Seconds(0)), NO_FACTS, A) == " (runs 1 request)"
    assert cost_text(Usage(idle=Seconds(60)), facts, A) == (
        " (idle for 60 s, 3.4 s to load again, frees 2 GiB)"
    )
