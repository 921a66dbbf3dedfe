"""The memory of each device at one moment, and who holds it."""

from __future__ import annotations

from typing import NamedTuple


class Holder(NamedTuple):
    """A process that holds memory of a device."""

    pid: int
    """As this machine numbers it; 0 where that is not known (another container)."""
    name: str
    bytes: int


class DeviceMemory(NamedTuple):
    """One device; sizes are bytes."""

    id: str
    """`ram`, `gpu0`, `gpu1`, …"""
    name: str
    total: int
    free: int
    """What a new process could take: for `ram` what the kernel can reclaim counts as free."""
    holders: tuple[Holder, ...] = ()
    """Those that the device tells, the largest first."""
    key: str = ""
    """What names it in `CUDA_VISIBLE_DEVICES` and the like; empty for `ram`."""
    vendor: str = ""
    """`NVIDIA`, `AMD`, `Apple`; empty for `ram`."""

    def used_by_others(self, ours: int) -> int:
        """Return the bytes that neither are free nor belong to us.

        *ours*: what our servers hold of it together; of `ram` without pages of files (`Held.own`), because
        those count as free.
        """
        return max(0, self.total - self.free - ours)
