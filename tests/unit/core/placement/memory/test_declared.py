"""Declared needs and reserves."""

from __future__ import annotations

from modelswap.core.placement.memory.declared import (
    ANY_DEVICE,
    ANY_GPU,
    GPU_RESERVE,
    RAM_RESERVE,
    declared_need,
    reserve_of,
)
from modelswap.core.placement.policy import RAM, UNKNOWN_NEED, DeviceId, Need, NeedSource
from modelswap.units import Bytes

GPU0 = DeviceId("gpu0")
DECLARED = NeedSource.DECLARED


def test_a_plain_size() -> None:
    """It is on a GPU where there is one, else in `ram`."""
    plain = {ANY_DEVICE: Bytes(6)}
    assert declared_need(plain, [GPU0]) == Need(movable=Bytes(6), source=DECLARED)
    assert declared_need(plain, []) == Need(fixed={RAM: Bytes(6)}, source=DECLARED)


def test_sizes_by_device() -> None:
    """`gpu` may be any GPU; the others are settled."""
    sizes = {RAM: Bytes(1), ANY_GPU: Bytes(2), GPU0: Bytes(4)}
    expected = Need(fixed={RAM: Bytes(1), GPU0: Bytes(4)}, movable=Bytes(2), source=DECLARED)
    assert declared_need(sizes, [GPU0]) == expected
    assert declared_need(sizes, []) == expected


def test_nothing_declared() -> None:
    """Without the key the need is not known."""
    assert declared_need({}, [GPU0]) is UNKNOWN_NEED


def test_reserves() -> None:
    """What is written counts; else a part of `ram`, and what a GPU's driver needs; never more than there is."""
    gib = 1 << 30
    assert reserve_of(RAM, Bytes(64 * gib), Bytes(0)) == 0
    assert reserve_of(RAM, Bytes(64 * gib)) == 64 * gib // 20
    assert reserve_of(RAM, Bytes(8 * gib)) == RAM_RESERVE
    assert reserve_of(RAM, Bytes(gib // 2)) == gib // 2
    assert reserve_of(GPU0, Bytes(24 * gib)) == GPU_RESERVE
    assert reserve_of(GPU0, Bytes(7)) == 7
