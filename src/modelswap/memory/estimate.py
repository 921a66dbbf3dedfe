"""What a prediction of a model's memory says, in bytes, part by part."""

from __future__ import annotations

from typing import TYPE_CHECKING

from modelswap.deferred import dataclass
from modelswap.units import Bytes

if TYPE_CHECKING:
    from modelswap.core.placement.policy import DeviceId


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One reason for memory."""

    name: str
    """`weights`, `KV cache`, `recurrent state`, `compute buffers`, `projector`, `program`."""
    bytes: Bytes
    is_on_gpu: bool = False
    """On the GPUs, else in the machine's memory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """The predicted need of one model server."""

    parts: tuple[Part, ...]
    devices: tuple[DeviceId, ...] = ()
    """The GPUs that the command or its environment names; empty: it takes any."""

    @property
    def ram(self) -> Bytes:
        return Bytes(sum(part.bytes for part in self.parts if not part.is_on_gpu))

    @property
    def gpu(self) -> Bytes:
        return Bytes(sum(part.bytes for part in self.parts if part.is_on_gpu))
