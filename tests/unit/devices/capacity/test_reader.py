"""All devices of a machine at once."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from modelswap.devices.capacity import amdgpu
from modelswap.devices.capacity.process_memory import memory_of
from modelswap.devices.capacity.reader import MOST_HOLDERS, Held, MachineReader
from modelswap.devices.memory import Holder
from modelswap.devices.nvml import Nvml
from modelswap.procfs import name_of
from support.amd_trees import card, client, stats
from support.recorded_nvml import GIB, H100_RESERVED, Card, RecordedNvml, idle_h100

if TYPE_CHECKING:
    from pathlib import Path

ME = os.getpid()


def reader(
    drm: Path, *cards: Card, environ: dict[str, str] | None = None
) -> tuple[MachineReader, RecordedNvml]:
    library = RecordedNvml(*cards)
    opened = (lambda: Nvml(library)) if cards else (lambda: None)
    return MachineReader(drm=drm, open_nvml=opened, environ=environ or {}), library


def test_a_machine_without_gpus(tmp_path: Path) -> None:
    """RAM is the only device, and what a process holds there is known."""
    machine, _ = reader(tmp_path)
    assert [device.id for device in machine.read()] == ["ram"]
    memory = memory_of([ME])
    held = machine.held([ME])
    assert held.by_device["ram"] == pytest.approx(memory.own + memory.file, rel=0.1)
    assert held.own["ram"] + held.file_pages == held.by_device["ram"]
    assert machine.held([]).by_device == {"ram": 0}


def test_all_vendors(tmp_path: Path) -> None:
    """NVIDIA's come first; AMD's numbers follow. The environment hides what servers would not see."""
    card(tmp_path, 3, product_name="Radeon")
    ours = idle_h100(compute={ME: GIB, 1: 5 * GIB})
    machine, library = reader(tmp_path, ours, environ={"HIP_VISIBLE_DEVICES": ""})
    assert [device.id for device in machine.read()] == ["ram", "gpu0"]
    everything, _ = reader(tmp_path, ours)
    assert [device.id for device in everything.read()] == ["ram", "gpu0", "gpu1"]
    held = everything.held([ME])
    assert (held.by_device["gpu0"], held.by_device["gpu1"]) == (GIB, 0)
    machine.close()
    machine.close()
    assert library.is_shut


def test_what_others_use(tmp_path: Path) -> None:
    """Of a GPU: what its processes hold beside ours, and the driver; the holders are named."""
    used = Card("GeForce", "GPU-a", 24 * GIB, 10 * GIB, compute={ME: 4 * GIB, 1: 5 * GIB})
    machine, _ = reader(tmp_path, used)
    reading = machine.read()
    assert reading[1].used_by_others(machine.held([ME]).own["gpu0"]) == 6 * GIB
    assert machine.holders(reading[1], [ME]) == (Holder(1, name_of(1), 5 * GIB),)
    idle = MachineReader(
        drm=tmp_path, open_nvml=lambda: Nvml(RecordedNvml(idle_h100())), environ={}
    )
    assert idle.read()[1].used_by_others(0) == H100_RESERVED


def test_who_holds_the_memory(tmp_path: Path) -> None:
    """The largest processes that are not ours, by what only they hold."""
    machine, _ = reader(tmp_path)
    (ram,) = machine.read()
    found = machine.holders(ram, [ME])
    assert 0 < len(found) <= MOST_HOLDERS
    assert ME not in [holder.pid for holder in found]
    assert [holder.bytes for holder in found] == sorted((h.bytes for h in found), reverse=True)


def test_amd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """VRAM of a card counts there; what an APU takes of the machine's memory counts as RAM."""
    drm, proc = tmp_path / "drm", tmp_path / "proc"
    card(drm, 3)
    card(drm, 4, mem_info_vram_total="512", hwmon__hwmon1__in1_label="vddnb")
    client(proc, ME, 3, stats("1", "drm-memory-vram: 2 GiB", "drm-memory-gtt: 1 GiB"))
    apu = stats("1", "drm-memory-vram: 1 KiB", "drm-memory-gtt: 7 GiB", bus="0000:04:00.0")
    client(proc, ME, 4, apu)
    read = amdgpu.memory_by_bus
    monkeypatch.setattr(amdgpu, "memory_by_bus", lambda pids: read(pids, str(proc)))
    machine, _ = reader(drm)
    devices = machine.read()
    assert [device.id for device in devices] == ["ram", "gpu0"]
    held = machine.held([ME])
    assert held.by_device["gpu0"] == 2 * GIB
    assert held.by_device["ram"] > 7 * GIB
    assert machine.holders(devices[1]) == (Holder(ME, name_of(ME), 2 * GIB),)


def test_held_without_ram() -> None:
    assert Held({"gpu0": 1}).own == {"gpu0": 1, "ram": 0}


def test_a_driver_that_comes_later(tmp_path: Path) -> None:
    """A driver that could not be opened is asked again; AMD's numbers follow then."""
    card(tmp_path, 3)
    answers = iter([None, Nvml(RecordedNvml(idle_h100()))])
    machine = MachineReader(drm=tmp_path, open_nvml=lambda: next(answers), environ={})
    assert [device.name for device in machine.read()][1:] == ["AMD GPU card3"]
    assert [device.id for device in machine.read()] == ["ram", "gpu0", "gpu1"]
