"""The memory of AMD's GPUs, from trees as the kernel shows them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from modelswap.devices.capacity import amdgpu
from modelswap.devices.capacity.amdgpu import ClientMemory, memory_by_bus
from modelswap.devices.memory import DeviceMemory
from support.amd_trees import card, client, stats

if TYPE_CHECKING:
    from pathlib import Path

GIB = 1 << 30


def test_cards(tmp_path: Path) -> None:
    """The driver's order; the key is the number that ROCm knows the card by, else its index."""
    card(tmp_path, 10, product_name="Radeon RX 7900 XTX")
    card(tmp_path, 3, unique_id="9246a1b2", product_name="")
    found = amdgpu.find(tmp_path, 2)
    assert [amdgpu.read(device) for device in found] == [
        DeviceMemory("gpu2", "AMD GPU card3", 16 * GIB, 16 * GIB - 7, (), "GPU-000000009246a1b2", "AMD"),
        DeviceMemory("gpu3", "Radeon RX 7900 XTX", 16 * GIB, 16 * GIB - 7, (), "1", "AMD"),
    ]  # fmt: skip
    assert [device.bus for device in found] == ["0000:03:00.0", "0000:0a:00.0"]


@pytest.mark.parametrize(
    ("own", "label", "is_unified"),
    [("512", "vddnb", True), (str(96 * GIB), "vddnb", False), ("512", "vddgfx", False)],
)
def test_an_apu(tmp_path: Path, own: str, label: str, *, is_unified: bool) -> None:
    """One that uses the machine's memory is none of its own; one with a large part of it is."""
    card(tmp_path, 3, mem_info_vram_total=own, hwmon__hwmon1__in1_label=label)
    (found,) = amdgpu.find(tmp_path, 0)
    assert found.is_unified is is_unified


def test_a_card_that_does_not_answer(tmp_path: Path) -> None:
    """The reading fails, and says which card."""
    folder = card(tmp_path, 3, mem_info_vram_used="")
    (found,) = amdgpu.find(tmp_path, 0)
    with pytest.raises(OSError, match="gpu0"):
        amdgpu.read(found)
    (folder / "mem_info_vram_used").unlink()
    with pytest.raises(OSError, match="mem_info_vram_used"):
        amdgpu.read(found)


def test_what_processes_hold(tmp_path: Path) -> None:
    """Each client counts once, however many descriptors and processes share it; both spellings are read."""
    old = stats("1", "drm-memory-vram:\t2097152 KiB", "drm-memory-gtt:\t1 MiB")
    new = stats("2", "drm-resident-vram:\t1 GiB", "drm-resident-gtt:\t12")
    other = stats("1", "drm-memory-vram:\t5", "drm-odd", bus="0000:0a:00.0")
    client(tmp_path, 7, 3, old)
    client(tmp_path, 7, 4, old)
    client(tmp_path, 8, 3, old)
    client(tmp_path, 8, 5, new)
    client(tmp_path, 8, 6, other, "/dev/dri/renderD129")
    client(tmp_path, 8, 7, "pos:\t0\n", "/dev/null")
    (tmp_path / "8/fd/8").write_text("")  # not a link: it was closed meanwhile
    assert memory_by_bus([7, 8, 9], str(tmp_path)) == {
        "0000:03:00.0": ClientMemory(3 * GIB, (1 << 20) + 12),
        "0000:0a:00.0": ClientMemory(5, 0),
    }
