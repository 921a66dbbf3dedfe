"""A machine whose memory is what the test says: a reader of devices for the fleet."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Final

from modelswap.devices.capacity.reader import Held
from modelswap.devices.memory import DeviceMemory, Holder

if TYPE_CHECKING:
    from collections.abc import Collection

MIB: Final = 1 << 20


class ScriptedMachine:
    """Has 1,000 MiB of RAM; `holds` and `others` say who has how much of it, in MiB."""

    def __init__(self) -> None:
        self.holds: dict[int, int] = {}
        """By pid."""
        self.others = 0
        self.gpus: tuple[DeviceMemory, ...] = ()
        self.error: OSError | None = None
        self.readings = 0
        self.go = threading.Event()
        """Cleared, the driver hangs."""
        self.go.set()

    def read(self) -> tuple[DeviceMemory, ...]:
        self.go.wait()
        self.readings += 1
        if self.error is not None:
            raise self.error
        used = self.others + sum(self.holds.values())
        return (DeviceMemory("ram", "memory", 1000 * MIB, (1000 - used) * MIB), *self.gpus)

    def held(self, processes: Collection[int]) -> Held:
        size = sum(self.holds.get(pid, 0) for pid in processes)
        return Held({"ram": size * MIB})

    def holders(self, device: DeviceMemory, ours: Collection[int] = ()) -> tuple[Holder, ...]:
        del ours
        return (Holder(1, "game", self.others * MIB),) if device.id == "ram" else ()
