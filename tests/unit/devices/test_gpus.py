"""GPU figures from a driver's answers and from the kernel's files."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from modelswap.devices.gpus import GpuMemory, Gpus, gpu_memory
from modelswap.devices.nvml import Nvml, architecture
from modelswap.devices.reading import GpuReading
from modelswap.observe.metrics.performance import gpu_samples

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def no_driver() -> None:
    """As on a machine without NVIDIA's driver."""


class DriverWithGaps:
    """An NVML with one card that knows neither its fan nor its memory's temperature."""

    class NVMLError(Exception):
        """What NVML raises for whatever it cannot answer."""

    NVML_TEMPERATURE_GPU = 0
    NVML_FI_DEV_MEMORY_TEMP = 82

    def __getattr__(self, name: str) -> Any:
        answers: dict[str, Any] = {
            "nvmlDeviceGetCount": 1,
            "nvmlDeviceGetHandleByIndex": "card",
            "nvmlDeviceGetMemoryInfo": SimpleNamespace(used=1 << 30, total=4 << 30),
            "nvmlDeviceGetUtilizationRates": SimpleNamespace(gpu=37),
            "nvmlDeviceGetName": b"Example RTX",
            "nvmlDeviceGetUUID": "GPU-1",
            "nvmlDeviceGetTemperature": 55,
            "nvmlDeviceGetPowerUsage": 120_500,
            "nvmlDeviceGetFieldValues": [SimpleNamespace(nvmlReturn=3)],
        }

        def answer(*_: object) -> Any:
            if name not in answers:
                raise self.NVMLError
            return answers[name]

        return answer


def test_nvidia_cards_answer_what_they_know(tmp_path: Path) -> None:
    """What a card does not know is 0; the rest is in llama-swap's units."""
    gpus = Gpus(tmp_path, lambda: Nvml(DriverWithGaps()))
    assert gpus.read() == [
        GpuReading(0, "Example RTX", "GPU-1", 55, 0, 37.0, 1024, 4096, 0.0, 120.5)
    ]
    assert gpu_samples(gpus, "now")[0].mem_util_pct == 25.0


def test_amd_cards_are_read_from_the_kernel(tmp_path: Path) -> None:
    """An AMD card's files become a reading; other cards and connectors are passed over."""
    device = tmp_path / "card1" / "device"
    sensors = device / "hwmon" / "hwmon3"
    sensors.mkdir(parents=True)
    (tmp_path / "card1-HDMI-A-1").mkdir()
    (tmp_path / "card0" / "device").mkdir(parents=True)
    (tmp_path / "card0" / "device" / "vendor").write_text("0x8086\n")
    for name, text in {
        "vendor": "0x1002",
        "product_name": "Radeon Example",
        "unique_id": "abc",
        "gpu_busy_percent": "12",
        "mem_info_vram_used": str(1 << 30),
        "mem_info_vram_total": str(8 << 30),
        "hwmon/hwmon3/temp1_input": "41000",
        "hwmon/hwmon3/pwm1": "51",
        "hwmon/hwmon3/power1_average": "33000000",
        "hwmon/hwmon3/temp3_input": "not a number",
    }.items():
        (device / name).write_text(text + "\n")
    gpus = Gpus(tmp_path, no_driver)
    assert gpus.read() == [
        GpuReading(0, "Radeon Example", "abc", 41, 0, 12.0, 1024, 8192, 20.0, 33.0)
    ]


def test_no_hardware_is_no_reading(tmp_path: Path) -> None:
    """Where no card is, the list is empty."""
    gpus = Gpus(tmp_path / "missing", no_driver)
    assert gpus.read() == []


def test_used_memory(tmp_path: Path) -> None:
    """The totals of NVIDIA's cards come first, then AMD's in their order."""
    cards = []
    for card, used in (("card0", 5), ("card1", 7)):
        folder = tmp_path / card / "device"
        folder.mkdir(parents=True)
        (folder / "mem_info_vram_used").write_text(f"{used}\n")
        (folder / "mem_info_vram_total").write_text("9\n")
        (folder / "vendor").write_text("0x1002\n")
        cards.append(folder)
    assert GpuMemory(cards, lambda: Nvml(DriverWithGaps())).used() == (1 << 30, 5, 7)
    assert GpuMemory(cards, no_driver).used() == (5, 7)
    found = gpu_memory(tmp_path)
    assert found is not None
    assert found.used()[-2:] == (5, 7)


def test_no_devices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a GPU there is nothing to read."""
    monkeypatch.setattr("modelswap.devices.nvml._DRIVER_FILES", ())
    assert gpu_memory(tmp_path) is None
    assert Nvml.open() is None


def test_architecture() -> None:
    """Two major numbers stand for two generations each."""
    assert [architecture(*number) for number in ((7, 0), (7, 5), (8, 6), (8, 9), (9, 0), (99, 0))] == [
        "Volta", "Turing", "Ampere", "Ada Lovelace", "Hopper", None,
    ]  # fmt: skip
