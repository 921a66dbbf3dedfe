"""The needs of servers that are no llama.cpp: vLLM, SGLang, whisper.cpp, stable-diffusion.cpp; coarse."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Final

from modelswap.memory.estimate import Estimate, Part
from modelswap.units import Bytes

from .command import Server
from .llama_cpp import PROGRAM

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from modelswap.core.placement.policy import DeviceId

_SHARES: Final = {
    Server.VLLM: ("--gpu-memory-utilization", 0.9),
    Server.SGLANG: ("--mem-fraction-static", 0.88),
}
"""The flag that sets the share of a GPU, and the share without it (vLLM's `EngineArgs`; SGLang works it
out of the GPU's size, and comes near this)."""
_SPLITS: Final = ("--tensor-parallel-size", "-tp", "--tp-size", "--tp")
_PIPELINES: Final = ("--pipeline-parallel-size", "-pp", "--pp-size")
_WORKER: Final = Bytes(4 << 30)
"""Of the machine's memory, of each process of PyTorch with CUDA and a model. A guess: not measured."""
_MOST_GPUS: Final = 64
"""Of one server."""

_WHISPER_FIXED: Final = Bytes(170 << 20)
"""Beside the share of the file that follows; from the same table."""
_WHISPER_SHARE: Final = 0.25
"""Of the file, beside it. From the table of memory in whisper.cpp's README: tiny 75 MiB of file and 273 MB of memory,
base 142 MiB and 388 MB, small 466 MiB and 852 MB, large 2.9 GiB and 3.9 GB."""
_DIFFUSION_BUFFERS: Final = Bytes(1536 << 20)
"""Beside the files, for an image of 512 x 512 with SD 1.x; larger images and models need more."""
_DIFFUSION_FILES: Final = (
    *("-m", "--model", "--diffusion-model", "--high-noise-diffusion-model", "--vae", "--taesd"),
    *("--clip_l", "--clip_g", "--clip_vision", "--t5xxl", "--llm", "--qwen2vl", "--control-net"),
)

SIZED_FLAGS: Final = {
    Server.WHISPER: ("-m", "--model"),
    Server.DIFFUSION: _DIFFUSION_FILES,
}
"""Server: flags that name files whose sizes count."""


def share_of_gpus(
    server: Server,
    arguments: Sequence[str],
    devices: tuple[DeviceId, ...],
    totals: Mapping[DeviceId, Bytes],
) -> Estimate | None:
    """Return what vLLM or SGLang reserves at start: a share of each GPU that it uses.

    `None` where the size of no GPU is known.
    """
    count = _whole(arguments, _SPLITS) * _whole(arguments, _PIPELINES)
    used = (devices or tuple(totals))[:count]
    sizes = [totals[device] for device in used if device in totals]
    if not sizes:
        return None
    flag, default = _SHARES[server]
    share = _fraction(value_of(arguments, (flag,)), default)
    parts = (
        Part(name="reserved share", bytes=Bytes(int(sum(sizes) * share)), is_on_gpu=True),
        Part(name="program", bytes=Bytes(_WORKER * len(sizes))),
    )
    return Estimate(parts=parts, devices=used if devices or count > 1 else ())


def by_size(server: Server, size: int, *, gpus: bool) -> Estimate:
    """Return the need of whisper.cpp or stable-diffusion.cpp for files of *size* bytes together."""
    buffers = _DIFFUSION_BUFFERS
    if server is Server.WHISPER:
        buffers = Bytes(_WHISPER_FIXED + int(size * _WHISPER_SHARE))
    return Estimate(
        parts=(
            Part(name="weights", bytes=Bytes(size), is_on_gpu=gpus),
            Part(name="compute buffers", bytes=buffers, is_on_gpu=gpus),
            Part(name="program", bytes=PROGRAM),
        )
    )


def value_of(arguments: Sequence[str], flags: Sequence[str]) -> str:
    """Return the value of the last of *flags* that is given; empty without one."""
    values = values_of(arguments, flags)
    return values[-1] if values else ""


def values_of(arguments: Sequence[str], flags: Sequence[str]) -> list[str]:
    found: list[str] = []
    for word, following in pairwise((*arguments, "")):
        name, equals, value = word.partition("=")
        if name in flags:
            found.append(value if equals else following)
    return [value for value in found if value]


def _whole(arguments: Sequence[str], flags: Sequence[str]) -> int:
    text = value_of(arguments, flags)
    is_number = text.isascii() and text.isdecimal() and len(text) <= 3  # noqa: PLR2004 - digits
    return min(max(1, int(text)), _MOST_GPUS) if is_number else 1


def _fraction(text: str, default: float) -> float:
    try:
        share = float(text)
    except ValueError:
        return default
    return share if 0 < share <= 1 else default
