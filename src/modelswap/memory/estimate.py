"""What a prediction of a model's memory says, in bytes, part by part."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from modelswap.deferred import dataclass
from modelswap.units import Bytes

if TYPE_CHECKING:
    from modelswap.core.placement.policy import DeviceId

CACHE: Final = "KV cache"
"""The part that a server which fits itself makes smaller."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One reason for memory."""

    name: str
    """`weights`, `KV cache`, `recurrent state`, `compute buffers`, `projector`, `program`."""
    bytes: Bytes
    is_on_gpu: bool = False
    """On the GPUs, else in the machine's memory."""
    is_reclaimable: bool = False
    """Mapped from a file and never read again: resident while there is room, no part of the need."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """The predicted need of one model server."""

    parts: tuple[Part, ...]
    devices: tuple[DeviceId, ...] = ()
    """The GPUs that the command or its environment names; empty: it takes any."""
    is_fitted: bool = False
    """The server takes less where less is free: llama.cpp's `--fit` shortens a context that is not set,
    and leaves layers off the GPU. These figures are what it takes where there is room."""

    @property
    def ram(self) -> Bytes:
        """What must stay in the machine's memory."""
        return Bytes(
            sum(part.bytes for part in self.parts if not (part.is_on_gpu or part.is_reclaimable))
        )

    @property
    def reclaimable(self) -> Bytes:
        """What a measured resident size holds beside `ram` while memory is plentiful."""
        return Bytes(sum(part.bytes for part in self.parts if part.is_reclaimable))

    def least_ram(self, *, has_gpus: bool) -> Bytes:
        """Return what a server that fits itself takes of the machine's memory at the least."""
        rest = (part for part in self.parts if part.name != CACHE and not part.is_reclaimable)
        return Bytes(sum(part.bytes for part in rest if not (has_gpus and part.is_on_gpu)))

    @property
    def gpu(self) -> Bytes:
        return Bytes(sum(part.bytes for part in self.parts if part.is_on_gpu))
