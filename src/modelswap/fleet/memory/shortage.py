"""What a start that ran out of memory says of the model's need.

The allocation that failed did not fit, so the model needs more than it could have. Engines print its
size: llama.cpp `allocating 8192.00 MiB on device 0: cudaMalloc failed: out of memory` and `failed to
allocate CUDA0 buffer of size 8589934592`, PyTorch `Tried to allocate 2.00 GiB`.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from modelswap.core.placement.policy import RAM, Need, NeedSource
from modelswap.deferred import regex
from modelswap.units import Bytes

if TYPE_CHECKING:
    from collections.abc import Mapping

    from modelswap.core.placement.policy import DeviceId

RAISED_BY: Final = 1.25
"""Where the output gives no size: what predictions miss is rarely a larger share."""
MARGIN: Final = Bytes(64 << 20)
"""Above what it could have: less would be noise (as `changes.NOISE`)."""
_SIZE: Final = regex(
    r"(?:allocat(?:e|ing)\s+(?P<number>\d+(?:\.\d+)?)\s*(?P<unit>[KMGT]?)i?B)"
    r"|(?:of size\s+(?P<bytes>\d{4,20}))",
    re.IGNORECASE,
)
_UNITS: Final = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
"""Bytes; both programs count in powers of 1024, whatever they print."""
_GPU: Final = regex(
    r"cuda|hip|rocm|vulkan|vk_|metal|sycl|musa|gpu|vram|device \d", re.IGNORECASE
)


def failed_size(text: str) -> Bytes:
    """Return the size of the allocation that failed; 0: the text does not say."""
    found = _SIZE.search(text)
    if found is None:
        return Bytes(0)
    if found["bytes"]:
        return Bytes(int(found["bytes"]))
    return Bytes(int(float(found["number"]) * _UNITS[found["unit"].upper()]))


def is_of_gpu(text: str) -> bool:
    """Say whether the text speaks of a GPU's memory."""
    return _GPU.search(text) is not None


def corrected(
    need: Need,
    text: str,
    had: Mapping[DeviceId, Bytes],
    limits: Mapping[DeviceId, Bytes],
) -> Need:
    """Return the need after a start that ran out of memory and said *text*.

    *had*: what the model could have on each device that it used. *limits*: what it could have there
    alone. The result is never more than that: another start, alone, stays possible.
    """
    if need.source is NeedSource.UNKNOWN or not had:
        return need
    gpus = [device for device in had if device != RAM]
    short = gpus if gpus and (is_of_gpu(text) or need.movable) else [RAM]
    fixed = dict(need.fixed)
    movable = need.movable
    most = {device: limits.get(device, Bytes(0)) for device in short}
    settled = [device for device in short if device in fixed]
    if settled:
        for device in settled:
            fixed[device] = _raised(fixed[device], text, had.get(device, Bytes(0)), most[device])
    elif gpus and short == gpus:
        free = Bytes(sum(had[device] for device in gpus))
        movable = _raised(movable, text, free, Bytes(sum(most.values())))
    return Need(fixed=fixed, movable=movable, source=NeedSource.LEARNED)


def _raised(size: Bytes, text: str, had: Bytes, most: Bytes) -> Bytes:
    wanted = max(failed_size(text), int(size * RAISED_BY), had + MARGIN)
    return Bytes(max(size, min(wanted, most)))
