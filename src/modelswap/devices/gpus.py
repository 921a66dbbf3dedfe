"""The GPUs of this machine: NVIDIA's first, then AMD's."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from . import amd, nvml

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from .reading import GpuReading

    OpenNvml = Callable[[], nvml.Nvml | None]


class Gpus:
    """The driver is opened once and asked often."""

    def __init__(self, drm: Path = amd.DRM, open_nvml: OpenNvml = nvml.Nvml.open) -> None:
        self._drm = drm
        self._open_nvml = open_nvml
        self._nvml: nvml.Nvml | None = None
        self._is_open = False

    def read(self) -> list[GpuReading]:
        if not self._is_open:
            self._is_open = True
            self._nvml = self._open_nvml()
        found = [] if self._nvml is None else list(self._nvml.readings())
        for card in amd.cards(self._drm):
            found.append(amd.reading(card, len(found)))
        return found

    def close(self) -> None:
        if self._nvml is not None:
            self._nvml.close()
            self._nvml = None
        self._is_open = False


class GpuMemory:
    """How much memory of each GPU is in use, whatever uses it. Threads may share it."""

    def __init__(self, cards: list[Path], open_nvml: OpenNvml = nvml.Nvml.open) -> None:
        self._amd = cards
        self._open_nvml = open_nvml
        self._lock = threading.Lock()
        self._nvml: nvml.Nvml | None = None
        self._handles: list[Any] | None = None

    def used(self) -> tuple[int, ...]:
        """Return the used bytes of each device; raise when a device does not tell."""
        with self._lock:
            if self._handles is None:
                self._nvml = self._open_nvml()
                self._handles = [] if self._nvml is None else [h for _, h in self._nvml.handles()]
            nvidia = [self._nvml.used_memory(h) for h in self._handles] if self._nvml else []
        return (*nvidia, *(amd.used_memory(card) for card in self._amd))


def gpu_memory(drm: Path = amd.DRM) -> GpuMemory | None:
    """Return what reads this machine's GPU memory; `None` where there is no GPU."""
    cards = amd.cards(drm)
    return GpuMemory(cards) if cards or nvml.is_present() else None


def gpu_facts() -> list[dict[str, Any]]:
    """Return what each GPU is, in the order of the bus."""
    library = nvml.Nvml.open()
    nvidia = []
    if library is not None:
        nvidia = library.facts()
        library.close()
    return sorted([*nvidia, *map(amd.facts, amd.cards())], key=lambda card: str(card["bus"]))
