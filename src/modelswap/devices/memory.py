"""The memory of each device at one moment, and who holds it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping


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


class DeviceReader(Protocol):
    """Reads all devices; it blocks, so it belongs on a thread."""

    def read(self) -> tuple[DeviceMemory, ...]:
        """Return every device, `ram` first; raise OSError when one does not answer."""
        ...

    def held_by(self, processes: Collection[int]) -> Mapping[str, int]:
        """Return the bytes that these processes hold together, by device."""
        ...
