"""What was pulled, as its server is given it."""

from __future__ import annotations

from dataclasses import field
from typing import TYPE_CHECKING

from modelswap.deferred import dataclass

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class PulledModel:
    """A model that is on this machine."""

    path: Path
    """What a server is given: the first file of a GGUF model, the folder of a safetensors model."""
    files: tuple[Path, ...]
    mmproj: Path | None = None
    adapters: tuple[Path, ...] = ()
    options: dict[str, str] = field(default_factory=dict[str, str])
    """What its store holds for it, as in `FoundModel`."""

    @property
    def all_files(self) -> tuple[Path, ...]:
        projector = () if self.mmproj is None else (self.mmproj,)
        return (*self.files, *self.adapters, *projector)
