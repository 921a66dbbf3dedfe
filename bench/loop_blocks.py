"""The CPU time that a front's event loop takes for one pass, from outside.

While a pass runs, nothing else is served. Its CPU time does not depend on what else the machine does, as
the slowest response does. A small library counts it between two calls of `epoll_pwait`; it is compiled
here, so without a C compiler there are no such figures.
"""

from __future__ import annotations

import shutil
import struct
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

SOURCE = Path(__file__).with_name("loop_blocks.c")
_PASS = struct.Struct("qq")


@dataclass(frozen=True, slots=True)
class LoopBlocks:
    directory: Path

    @property
    def environment(self) -> dict[str, str]:
        """For a front whose passes are to be counted."""
        library = str(self.directory / "loop_blocks.so")
        return {"LD_PRELOAD": library, "MODELSWAP_BENCH_BLOCKS": str(self.directory)}

    def longest(self, pid: int, work: Callable[[], object]) -> float:
        """Milliseconds of CPU of the longest pass while `work` runs; 0 where all were below 0.1 ms."""
        began = time.monotonic_ns()
        work()
        time.sleep(0.02)  # the pass that answered may go on
        file = self.directory / str(pid)
        found = _PASS.iter_unpack(file.read_bytes()) if file.exists() else ()
        return max((cpu / 1e6 for end, cpu in found if end >= began), default=0.0)


def compiled(directory: Path) -> LoopBlocks | None:
    """Compile the library; None where that is not possible."""
    compiler = shutil.which("cc")
    if compiler is None or sys.platform != "linux":
        print("the CPU time of the loop's passes is left out: no C compiler", file=sys.stderr)
        return None
    library = directory / "loop_blocks.so"
    subprocess.run(
        [compiler, "-O2", "-shared", "-fPIC", "-o", str(library), str(SOURCE), "-ldl"], check=True
    )
    return LoopBlocks(directory)
