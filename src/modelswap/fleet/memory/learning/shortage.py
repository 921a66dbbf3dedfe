"""What a start that ran out of memory says of the model's need.

The allocation that failed did not fit, so the model needs more than it could have. Engines print its
size: llama.cpp `allocating 8192.00 MiB on device 0: cudaMalloc failed: out of memory` and `failed to
allocate CUDA0 buffer of size 8589934592`, PyTorch `Tried to allocate 2.00 GiB`.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from modelswap.core.placement.policy import RAM, NeedSource
from modelswap.deferred import regex
from modelswap.units import Bytes

if TYPE_CHECKING:
    from collections.abc import Mapping

    from modelswap.core.placement.policy import DeviceId, Need

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
_GPU: Final = regex(r"cuda|hip|rocm|vulkan|vk_|metal|sycl|musa|gpu|vram|device \d", re.IGNORECASE)


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


def corrections(
    need: Need,
    text: str,
    had: Mapping[DeviceId, Bytes],
    most: Mapping[DeviceId, Bytes],
) -> dict[DeviceId, Bytes]:
    """Return what the model needs on each device where memory was short, after a start that said *text*.

    *had*: what it could have on each device that it uses. *most*: what it could have there alone, and no
    result is larger: another start, alone, stays possible. Empty: nothing can be said.
    """
    if need.source is NeedSource.UNKNOWN:
        return {}
    gpus = [device for device in had if device != RAM]
    is_gpu = bool(gpus) and (is_of_gpu(text) or RAM not in need.fixed)
    short = gpus if is_gpu else [device for device in had if device == RAM]
    settled = [device for device in short if device in need.fixed]
    if settled or not is_gpu:
        return {
            device: _raised(need.fixed.get(device, Bytes(0)), text, had[device], most[device])
            for device in settled or short
        }
    free = Bytes(sum(had[device] for device in gpus))
    whole = _raised(need.movable, text, free, Bytes(sum(most[device] for device in gpus)))
    return {device: Bytes(whole * max(1, had[device]) // max(len(gpus), free)) for device in gpus}


def _raised(size: Bytes, text: str, had: Bytes, most: Bytes) -> Bytes:
    wanted = max(failed_size(text), int(size * RAISED_BY), had + MARGIN)
    return Bytes(max(size, min(wanted, most)))
