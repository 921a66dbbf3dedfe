"""What was pulled, as its server is given it."""

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

    @property
    def all_files(self) -> tuple[Path, ...]:
        return self.files if self.mmproj is None else (*self.files, self.mmproj)
