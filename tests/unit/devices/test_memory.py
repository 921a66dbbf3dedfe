"""One device's memory."""

from __future__ import annotations

import pytest

from modelswap.devices.memory import DeviceMemory


@pytest.mark.parametrize(("free", "ours", "others"), [(40, 25, 35), (90, 12, 0), (30, 0, 70)])
def test_what_others_use(free: int, ours: int, others: int) -> None:
    """It is what is neither free nor ours; a reading that is older than ours never makes it negative."""
    assert DeviceMemory("ram", "memory", 100, free).used_by_others(ours) == others
