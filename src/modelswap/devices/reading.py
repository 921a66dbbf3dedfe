"""The figures of one GPU at one moment."""

from __future__ import annotations

from typing import Final, NamedTuple

MIB: Final = 1 << 20
"""Bytes; llama-swap's figures are in mebibytes."""


class GpuReading(NamedTuple):
    """A figure that the device does not give is 0, as in llama-swap."""

    id: int
    name: str
    uuid: str
    temp_c: int
    vram_temp_c: int
    gpu_util_pct: float
    mem_used_mb: int
    mem_total_mb: int
    fan_speed_pct: float
    power_draw_w: float
