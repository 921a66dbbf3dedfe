"""AMD GPUs, read from the files of the kernel's driver."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from .reading import MIB, GpuReading

DRM: Final = Path("/sys/class/drm")
_VENDOR: Final = "0x1002"
"""AMD's number on the PCI bus."""
_MAX_PWM: Final = 255
"""Full speed of a fan whose driver does not say what that is."""


def cards(drm: Path = DRM) -> list[Path]:
    """Return the device folders of the AMD cards that the kernel driver knows."""
    try:
        found = [card for card in drm.iterdir() if card.name.startswith("card")]
    except OSError:
        return []
    devices = [card / "device" for card in sorted(found, key=_order) if "-" not in card.name]
    return [
        device
        for device in devices
        if read_text(device / "vendor") == _VENDOR and (device / "mem_info_vram_total").exists()
    ]


def _order(card: Path) -> tuple[int, str]:
    return len(card.name), card.name  # card2 before card10


def read_text(path: Path) -> str:
    """Return a small text file of the kernel; empty when it cannot be read."""
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""


def _read_number(path: Path) -> int:
    try:
        return int(read_text(path) or 0)
    except ValueError:
        return 0


def used_memory(device: Path) -> int:
    """Return the used bytes of a card; raise where it does not tell."""
    return int((device / "mem_info_vram_used").read_text(encoding="ascii"))


def reading(device: Path, index: int) -> GpuReading:
    sensors = next(iter(sorted(device.glob("hwmon/hwmon*"))), device / "hwmon")
    max_pwm = _read_number(sensors / "pwm1_max") or _MAX_PWM
    power = _read_number(sensors / "power1_average") or _read_number(sensors / "power1_input")
    return GpuReading(
        id=index,
        name=read_text(device / "product_name") or f"AMD GPU {device.parent.name}",
        uuid=read_text(device / "unique_id"),
        temp_c=_read_number(sensors / "temp1_input") // 1000,
        vram_temp_c=_read_number(sensors / "temp3_input") // 1000,
        gpu_util_pct=float(_read_number(device / "gpu_busy_percent")),
        mem_used_mb=_read_number(device / "mem_info_vram_used") // MIB,
        mem_total_mb=_read_number(device / "mem_info_vram_total") // MIB,
        fan_speed_pct=_read_number(sensors / "pwm1") / max_pwm * 100,
        power_draw_w=power / 1_000_000,
    )


def facts(device: Path) -> dict[str, Any]:
    """Return what a card is; `bus` is where it sits."""
    size = read_text(device / "mem_info_vram_total")
    limit = next((read_text(path) for path in sorted(device.glob("hwmon/hwmon*/power1_cap"))), "")
    return {
        "bus": device.resolve().name,
        "vendor": "AMD",
        "model": read_text(device / "product_name"),
        "architecture": None,
        "memory": int(size) if size.isdecimal() else None,
        "driver": ("amdgpu", read_text(Path("/sys/module/amdgpu/version"))),
        "power_limit_watts": int(limit) / 1_000_000 if limit.isdecimal() else None,
    }
