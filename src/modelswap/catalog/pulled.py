"""Models that were pulled: which of them are on this machine, complete."""

from __future__ import annotations

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
