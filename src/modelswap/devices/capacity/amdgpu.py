"""The memory of AMD's GPUs, from the files of the kernel's driver.

Guarantees: an APU that takes its memory from the machine's (its own part is the smaller one) is no device: models on
it count as in `ram`.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final, NamedTuple

from modelswap import procfs
from modelswap.devices.amd import cards, read_text, used_memory
from modelswap.devices.memory import DeviceMemory

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping
    from pathlib import Path

VENDOR: Final = "AMD"
_APU_VOLTAGE: Final = "vddnb"
"""A sensor that the driver shows for APUs alone."""
_UNIT: Final = {b"KiB": 1 << 10, b"MiB": 1 << 20, b"GiB": 1 << 30}
"""Bytes; none is given for bytes."""


class AmdDevice(NamedTuple):
    id: str
    folder: Path
    name: str
    key: str
    """For `ROCR_VISIBLE_DEVICES`: `GPU-` with the card's number, or its index where it has none."""
    bus: str
    """Where it sits on the PCI bus, as the driver names it."""
    is_unified: bool
    """Its memory is the machine's."""


class ClientMemory(NamedTuple):
    """What processes hold through one card, in bytes."""

    vram: int
    gtt: int
    """Of the machine's memory, mapped for the GPU."""


def find(drm: Path, first: int) -> list[AmdDevice]:
    """Return the cards; the first is `gpu` and that number."""
    found: list[AmdDevice] = []
    for index, folder in enumerate(cards(drm)):
        unique = read_text(folder / "unique_id")
        is_unique = unique.strip("0") != ""
        found.append(
            AmdDevice(
                f"gpu{first + index}",
                folder,
                read_text(folder / "product_name") or f"AMD GPU {folder.parent.name}",
                f"GPU-{unique.removeprefix('0x'):0>16}" if is_unique else str(index),
                folder.resolve().name,
                is_unified(folder),
            )
        )
    return found


def is_unified(folder: Path) -> bool:
    labels = [read_text(path) for path in folder.glob("hwmon/hwmon*/in*_label")]
    own, shared = (read_text(folder / f"mem_info_{kind}_total") for kind in ("vram", "gtt"))
    is_small = own.isdecimal() and shared.isdecimal() and int(own) < int(shared)
    return _APU_VOLTAGE in labels and is_small


def read(device: AmdDevice) -> DeviceMemory:
    """Return a card with its memory; raise OSError when it does not answer."""
    try:
        total = int(read_text(device.folder / "mem_info_vram_total"))
        used = used_memory(device.folder)
    except ValueError as error:
        raise OSError(f"{device.id} ({device.name}) does not tell its memory") from error
    free = max(0, total - used)
    return DeviceMemory(device.id, device.name, total, free, (), device.key, VENDOR)


def memory_by_bus(processes: Collection[int], proc: str = "/proc") -> Mapping[str, ClientMemory]:
    """Return what the processes hold through each card: the kernel's drm-usage-stats of their descriptors."""
    seen: set[tuple[bytes, bytes]] = set()
    found: dict[str, ClientMemory] = {}
    for table in _clients(processes, proc):
        client = (table.get(b"drm-pdev", b""), table.get(b"drm-client-id", b""))
        if client in seen:  # a copy of a descriptor, or one that a child has inherited
            continue
        seen.add(client)
        bus = client[0].decode("ascii", "replace")
        before = found.get(bus, ClientMemory(0, 0))
        vram, gtt = before.vram + _bytes(table, b"vram"), before.gtt + _bytes(table, b"gtt")
        found[bus] = ClientMemory(vram, gtt)
    return found


def _clients(processes: Collection[int], proc: str) -> Iterator[dict[bytes, bytes]]:
    for pid in processes:
        try:
            descriptors = os.listdir(f"{proc}/{pid}/fd")  # noqa: PTH208 - many are asked for
        except OSError:
            continue
        for fd in descriptors:
            try:
                target = os.readlink(f"{proc}/{pid}/fd/{fd}")  # noqa: PTH115 - as above
            except OSError:
                continue
            if target.startswith("/dev/dri/"):
                lines = procfs.read_bytes(f"{proc}/{pid}/fdinfo/{fd}").splitlines()
                parts = (line.partition(b":") for line in lines if line.startswith(b"drm-"))
                yield {name: value.strip() for name, _, value in parts}


def _bytes(table: dict[bytes, bytes], region: bytes) -> int:
    words = (
        table.get(b"drm-memory-" + region) or table.get(b"drm-resident-" + region, b"0")
    ).split()
    if not words or not words[0].isdigit():
        return 0
    return int(words[0]) * (_UNIT.get(words[1], 1) if len(words) > 1 else 1)
