"""What is kept free of devices."""

from __future__ import annotations

from modelswap.core.placement.memory.declared import (
    GPU_RESERVE,
    RAM_RESERVE,
    reserve_of,
)
from modelswap.core.placement.policy import RAM, DeviceId
from modelswap.units import Bytes

GPU0 = DeviceId("gpu0")


def test_reserves() -> None:
    """What is written counts; else a part of `ram`, and what a GPU's driver needs; never more than there is."""
    gib = 1 << 30
    assert reserve_of(RAM, Bytes(64 * gib), Bytes(0)) == 0
    assert reserve_of(RAM, Bytes(64 * gib)) == 64 * gib // 20
    assert reserve_of(RAM, Bytes(8 * gib)) == RAM_RESERVE
    assert reserve_of(RAM, Bytes(gib // 2)) == gib // 2
    assert reserve_of(GPU0, Bytes(24 * gib)) == GPU_RESERVE
    assert reserve_of(GPU0, Bytes(7)) == 7
