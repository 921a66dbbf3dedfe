"""The real program on a machine whose memory is that of the test's own processes.

    python tests/support/measured_program.py serve …

`ram` has `MEASURED_TOTAL` MB; what the stubs and `hog.py` of one test really hold of it is in use, and
nothing else. So a test that waits for another program's memory does not depend on what else this machine
does.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from modelswap.cli import main
from modelswap.devices.capacity.process_memory import memory_of
from modelswap.devices.capacity.reader import MachineReader
from modelswap.devices.memory import DeviceMemory, Holder
from modelswap.fleet.memory import making
from modelswap.procfs import name_of
from support.server import MARKER, pids_marked

if TYPE_CHECKING:
    from collections.abc import Collection

PROGRAMS = ("stub.py", "hog.py")
"""Whose memory counts."""


def counted() -> list[int]:
    found = pids_marked(os.environ[MARKER])
    return [pid for pid, line in found.items() if any(name in line for name in PROGRAMS)]


class TestReader(MachineReader):
    """Reads the memory of real processes, but only those of one test."""

    def read(self) -> tuple[DeviceMemory, ...]:
        total = int(os.environ["MEASURED_TOTAL"]) << 20
        used = sum(memory_of([pid]).own for pid in counted())
        return (DeviceMemory("ram", "memory", total, max(0, total - used)),)

    def holders(self, device: DeviceMemory, ours: Collection[int] = ()) -> tuple[Holder, ...]:
        del device
        others = [pid for pid in counted() if pid not in ours]
        return tuple(Holder(pid, name_of(pid), memory_of([pid]).own) for pid in others)


if __name__ == "__main__":
    setattr(making, "MachineReader", TestReader)  # noqa: B010 - where the watch takes it from
    main()
