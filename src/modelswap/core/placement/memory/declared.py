"""What the configuration says of needs and devices: the names for any device, and what is kept free.

Units: bytes.
"""

from __future__ import annotations

from typing import Final

from modelswap.core.placement.policy import RAM, DeviceId
from modelswap.units import Bytes

ANY_DEVICE: Final = DeviceId("")
"""In `memory: 6GiB`, which names no device: a GPU where there is one, else `ram`."""
ANY_GPU: Final = DeviceId("gpu")
"""In `memory: {gpu: 6GiB}`: any GPU, or several."""
GPU_RESERVE: Final = Bytes(300 << 20)
"""Of each GPU: its context and the driver's own allocations grow while a model runs, by 100 to 250 MiB."""
RAM_RESERVE: Final = Bytes(1 << 30)
"""Of the machine's memory, at the least: below it, a desktop or a shell begins to swap."""
RAM_RESERVE_PART: Final = 20
"""One part in so many of the machine's memory is kept free, where that is more: the page cache, from which
models start fast, and what other programs allocate between two readings."""


def reserve_of(device: DeviceId, total: Bytes, written: Bytes | None = None) -> Bytes:
    """Return what is kept free of a device with *total* bytes; *written* is its key `reserve`."""
    if written is not None:
        return written
    if device == RAM:
        return Bytes(min(total, max(RAM_RESERVE, total // RAM_RESERVE_PART)))
    return Bytes(min(total, GPU_RESERVE))
