"""What the GPUs say: NVIDIA by NVML, AMD by sysfs.

Law: absent hardware is simply absent; a reading that fails is 0, as in the
original; nothing is loaded where no device is. Never on the loop's thread.
"""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_MIB: Final = 1 << 20
_NVIDIA: Final = ("/dev/nvidiactl", "/dev/dxg", "/proc/driver/nvidia/version")
DRM: Final = Path("/sys/class/drm")
_AMD: Final = "0x1002"


class Reading(NamedTuple):
    """One GPU now."""

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


class Gpus:
    """Every GPU of this host; opened once, read often."""

    def __init__(self, drm: Path = DRM) -> None:
        self._drm = drm
        self._nvml: Any = None
        self._looked = False

    def read(self) -> list[Reading]:
        """All of them, NVIDIA first; an empty list where there are none."""
        if not self._looked:
            self._looked = True
            self._nvml = open_nvml()
        found = list(self._nvidia()) if self._nvml is not None else []
        for card in amd_cards(self._drm):
            found.append(_amd(card, len(found)))
        return found

    def close(self) -> None:
        if self._nvml is not None:
            with contextlib.suppress(self._nvml.NVMLError):
                self._nvml.nvmlShutdown()
            self._nvml = None
        self._looked = False

    def _nvidia(self) -> Iterator[Reading]:
        nvml = self._nvml
        for index in range(_number(nvml, nvml.nvmlDeviceGetCount)):
            try:
                handle = nvml.nvmlDeviceGetHandleByIndex(index)
            except nvml.NVMLError:
                continue
            yield _nvidia(nvml, handle, index)


def open_nvml() -> Any | None:
    """The NVML bindings, initialised; `None` where there is no such driver."""
    if sys.platform != "win32" and not any(Path(path).exists() for path in _NVIDIA):
        return None
    try:
        import pynvml  # noqa: PLC0415 -- large; only where there is such a device
    except ImportError:
        return None
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return None
    return pynvml


def _number(nvml: Any, ask: Callable[..., Any], *args: Any) -> Any:
    try:
        return ask(*args)
    except nvml.NVMLError:
        return 0


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value or "")


def _nvidia(nvml: Any, handle: Any, index: int) -> Reading:
    memory = _number(nvml, nvml.nvmlDeviceGetMemoryInfo, handle)
    rates = _number(nvml, nvml.nvmlDeviceGetUtilizationRates, handle)
    return Reading(
        id=index,
        name=_text(_number(nvml, nvml.nvmlDeviceGetName, handle)),
        uuid=_text(_number(nvml, nvml.nvmlDeviceGetUUID, handle)),
        temp_c=int(_number(nvml, nvml.nvmlDeviceGetTemperature, handle, nvml.NVML_TEMPERATURE_GPU)),
        vram_temp_c=_vram_temperature(nvml, handle),
        gpu_util_pct=float(rates.gpu) if rates else 0.0,
        mem_used_mb=int(memory.used) // _MIB if memory else 0,
        mem_total_mb=int(memory.total) // _MIB if memory else 0,
        fan_speed_pct=float(_number(nvml, nvml.nvmlDeviceGetFanSpeed, handle)),
        power_draw_w=_number(nvml, nvml.nvmlDeviceGetPowerUsage, handle) / 1000,
    )


def _vram_temperature(nvml: Any, handle: Any) -> int:
    field = getattr(nvml, "NVML_FI_DEV_MEMORY_TEMP", None)
    if field is None:
        return 0
    values = _number(nvml, nvml.nvmlDeviceGetFieldValues, handle, [field])
    if not values or values[0].nvmlReturn != 0:
        return 0
    return int(values[0].value.uiVal)


def amd_cards(drm: Path = DRM) -> list[Path]:
    """The device folders of AMD cards that the kernel driver knows."""
    try:
        cards = sorted(
            card for card in drm.iterdir() if card.name.startswith("card") and "-" not in card.name
        )
    except OSError:
        return []
    devices = [card / "device" for card in cards]
    return [
        d for d in devices if read(d / "vendor") == _AMD and (d / "mem_info_vram_total").exists()
    ]


def read(path: Path) -> str:
    """A small text file of the kernel; empty when it cannot be read."""
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""


def _int(path: Path) -> int:
    try:
        return int(read(path) or 0)
    except ValueError:
        return 0


def _amd(device: Path, index: int) -> Reading:
    sensors = next(iter(sorted(device.glob("hwmon/hwmon*"))), device / "hwmon")
    fan_most = _int(sensors / "pwm1_max") or 255
    power = _int(sensors / "power1_average") or _int(sensors / "power1_input")
    return Reading(
        id=index,
        name=read(device / "product_name") or f"AMD GPU {device.parent.name}",
        uuid=read(device / "unique_id"),
        temp_c=_int(sensors / "temp1_input") // 1000,
        vram_temp_c=_int(sensors / "temp3_input") // 1000,
        gpu_util_pct=float(_int(device / "gpu_busy_percent")),
        mem_used_mb=_int(device / "mem_info_vram_used") // _MIB,
        mem_total_mb=_int(device / "mem_info_vram_total") // _MIB,
        fan_speed_pct=_int(sensors / "pwm1") / fan_most * 100,
        power_draw_w=power / 1_000_000,
    )
