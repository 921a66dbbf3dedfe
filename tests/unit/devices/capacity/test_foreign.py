"""What other programs use."""

from __future__ import annotations

from modelswap.devices.capacity.foreign import foreign
from modelswap.devices.memory import DeviceMemory


def test_foreign() -> None:
    """It is what is neither free nor ours; a reading that is older than ours never makes it negative."""
    reading = (
        DeviceMemory("ram", "memory", 100, 40),
        DeviceMemory("gpu0", "A", 100, 90),
        DeviceMemory("gpu1", "B", 100, 30),
    )
    assert foreign(reading, {"ram": 25, "gpu0": 12}) == {"ram": 35, "gpu0": 0, "gpu1": 70}
