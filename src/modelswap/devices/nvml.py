"""NVIDIA GPUs, asked through NVML."""

from __future__ import annotations

import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from .reading import MIB, GpuReading

if TYPE_CHECKING:
    from collections.abc import Iterator

_DRIVER_FILES: Final = ("/dev/nvidiactl", "/dev/dxg", "/proc/driver/nvidia/version")
_ARCHITECTURES: Final = {
    2: "Fermi", 3: "Kepler", 5: "Maxwell", 6: "Pascal", 9: "Hopper", 10: "Blackwell", 11: "Blackwell", 12: "Blackwell",
}  # fmt: skip
"""By the major number of the CUDA compute capability."""
_TURING: Final = 5
"""The first minor number of capability 7 that is not Volta."""
_ADA: Final = 9
"""The first minor number of capability 8 that is not Ampere."""


def is_present() -> bool:
    return sys.platform == "win32" or any(Path(path).exists() for path in _DRIVER_FILES)


class Nvml:
    def __init__(self, library: Any) -> None:
        self._library = library

    @classmethod
    def open(cls) -> Nvml | None:
        """Load the bindings; `None` where there is no driver."""
        if not is_present():
            return None
        try:
            import pynvml  # noqa: PLC0415 -- large; only where there is such a device
        except ImportError:
            return None
        try:
            pynvml.nvmlInit()
        except pynvml.NVMLError:
            return None
        return cls(pynvml)

    def close(self) -> None:
        with suppress(self._library.NVMLError):
            self._library.nvmlShutdown()

    def handles(self) -> list[tuple[int, Any]]:
        """Return index and handle of each card that answers."""
        count = self.ask("DeviceGetCount") or 0
        found = [(index, self.ask("DeviceGetHandleByIndex", index)) for index in range(count)]
        return [(index, handle) for index, handle in found if handle is not None]

    def ask(self, function: str, *args: Any) -> Any:
        """Call `nvml…`; `None` when the card or the library does not know."""
        try:
            value = getattr(self._library, f"nvml{function}")(*args)
        except (self._library.NVMLError, AttributeError):
            return None
        return value.decode("utf-8", "replace") if isinstance(value, bytes) else value

    @property
    def error(self) -> type[Exception]:
        """What it raises for whatever it cannot answer."""
        raised: type[Exception] = self._library.NVMLError
        return raised

    def memory(self, handle: Any) -> Any:
        """Return total, free and used bytes of a card; raise where it does not tell."""
        return self._library.nvmlDeviceGetMemoryInfo(handle)

    def used_memory(self, handle: Any) -> int:
        """Return the used bytes of a card; raise where it does not tell."""
        return int(self.memory(handle).used)

    def readings(self) -> Iterator[GpuReading]:
        for index, handle in self.handles():
            memory = self.ask("DeviceGetMemoryInfo", handle)
            rates = self.ask("DeviceGetUtilizationRates", handle)
            sensor = getattr(self._library, "NVML_TEMPERATURE_GPU", 0)
            yield GpuReading(
                id=index,
                name=self.ask("DeviceGetName", handle) or "",
                uuid=self.ask("DeviceGetUUID", handle) or "",
                temp_c=int(self.ask("DeviceGetTemperature", handle, sensor) or 0),
                vram_temp_c=self._memory_temperature(handle),
                gpu_util_pct=float(rates.gpu) if rates else 0.0,
                mem_used_mb=int(memory.used) // MIB if memory else 0,
                mem_total_mb=int(memory.total) // MIB if memory else 0,
                fan_speed_pct=float(self.ask("DeviceGetFanSpeed", handle) or 0),
                power_draw_w=(self.ask("DeviceGetPowerUsage", handle) or 0) / 1000,
            )

    def _memory_temperature(self, handle: Any) -> int:
        field = getattr(self._library, "NVML_FI_DEV_MEMORY_TEMP", None)
        values = None if field is None else self.ask("DeviceGetFieldValues", handle, [field])
        if not values or values[0].nvmlReturn != 0:
            return 0
        return int(values[0].value.uiVal)

    def facts(self) -> list[dict[str, Any]]:
        """Return what each card is; `bus` is where it sits."""
        return [self._facts_of(handle) for _, handle in self.handles()]

    def _facts_of(self, handle: Any) -> dict[str, Any]:
        capability = self.ask("DeviceGetCudaComputeCapability", handle)
        memory = self.ask("DeviceGetMemoryInfo", handle)
        bus = self.ask("DeviceGetPciInfo", handle)
        watts = self.ask("DeviceGetPowerManagementLimit", handle)
        return {
            "bus": bus.busId if bus else "",
            "vendor": "NVIDIA",
            "model": self.ask("DeviceGetName", handle),
            "architecture": architecture(*capability) if capability else None,
            "memory": memory.total if memory else None,
            "driver": ("NVIDIA", self.ask("SystemGetDriverVersion")),
            "power_limit_watts": watts / 1000 if watts else None,
        }


def architecture(major: int, minor: int) -> str | None:
    """Return the name of a CUDA compute capability's generation."""
    if major == 7:  # noqa: PLR2004 -- two generations share it
        return "Turing" if minor >= _TURING else "Volta"
    if major == 8:  # noqa: PLR2004 -- likewise
        return "Ada Lovelace" if minor >= _ADA else "Ampere"
    return _ARCHITECTURES.get(major)
