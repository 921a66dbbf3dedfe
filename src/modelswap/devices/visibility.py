"""The environment variables that show a model server the chosen GPUs alone.

CUDA and ROCm take UUIDs, which do not depend on an order. Under ROCm, `HIP_VISIBLE_DEVICES` counts among what
`ROCR_VISIBLE_DEVICES` shows, so it is set with it: an inherited one would name a GPU that is not there.

Does not: choose for a command that chooses GPUs itself, or that says how to split a model over those it sees;
set `GGML_VK_VISIBLE_DEVICES`, whose numbers are in an order that only Vulkan's loader knows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from modelswap.deferred import regex

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from .memory import DeviceMemory

VARIABLES: Final = {
    "NVIDIA": "CUDA_VISIBLE_DEVICES",
    "AMD": "ROCR_VISIBLE_DEVICES",
}
"""What takes the keys of a vendor's devices."""
_HIP: Final = "HIP_VISIBLE_DEVICES"
_CHOOSES: Final = regex(
    r"(?:CUDA|HIP|ROCR|GGML_VK|NVIDIA)_VISIBLE_DEVICES|GPU_DEVICE_ORDINAL|ZE_AFFINITY_MASK"
    r"|ONEAPI_DEVICE_SELECTOR|(?:CUDA|ROCm|HIP|Vulkan|SYCL)\d"
)
"""In any word of a command or of a model's environment: it chooses its GPUs. `CUDA1` is llama.cpp's name of one."""
_OPTIONS: Final = frozenset({
    "-dev", "--device", "-mg", "--main-gpu", "-ts", "--tensor-split", "--gpus", "--device-id", "--gpu-id",
    "--base-gpu-id", "--device-ids",
})  # fmt: skip
"""Options of llama.cpp, Docker, SGLang and others that number the GPUs which they see."""


def visible_environment(
    chosen: Sequence[DeviceMemory], argv: Iterable[str], env: Iterable[str] = ()
) -> tuple[str, ...]:
    """Return `NAME=value` for each variable to set; empty where the command chooses, or nothing was chosen.

    Args:
        chosen: the GPUs that the server may see, in order; a device without a key names nothing.
        argv: the command.
        env: `NAME=value` of the model's own environment.
    """
    words = [*argv, *env]
    if any(_CHOOSES.search(word) or word.partition("=")[0] in _OPTIONS for word in words):
        return ()
    found: list[str] = []
    for vendor, variable in VARIABLES.items():
        keys = [device.key for device in chosen if device.vendor == vendor and device.key]
        if keys:
            found.append(f"{variable}={','.join(keys)}")
        if keys and vendor == "AMD":
            found.append(f"{_HIP}={','.join(map(str, range(len(keys))))}")
    return tuple(found)
