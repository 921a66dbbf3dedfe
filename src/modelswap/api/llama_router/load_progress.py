"""How far a load is: what the server has read or mapped of its files, as the operating system counts it.

It is an estimate: what else the server reads or holds counts, too. `None` where nothing is known.
Reads `/proc` and sizes of files; call it in a thread.
"""

from __future__ import annotations

import contextlib
import os
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final

from modelswap.procfs import read_bytes, subtree
from modelswap.units import Bytes

if TYPE_CHECKING:
    from collections.abc import Sequence

STAGES: Final = {
    "text_model": ("-m", "--model"),
    "spec_model": ("-md", "--model-draft", "--spec-draft-model"),
    "mmproj_model": ("-mm", "--mmproj"),
}
"""What llama-server loads, in its order, by the option that names the file."""
_DIGITS: Final = 3
"""Of a share: a thousandth of a load is less than a client shows."""


def stages_of(argv: Sequence[str]) -> dict[str, Bytes]:
    """Return the stages of a llama-server's load with the sizes of their files."""
    found: dict[str, Bytes] = {}
    for stage, options in STAGES.items():
        for option, value in pairwise(argv):
            if option in options:
                with contextlib.suppress(OSError, ValueError):
                    found[stage] = Bytes(os.stat(value).st_size)  # noqa: PTH116 - a text, often looked at
    return found


def progress_of(pid: int, argv: Sequence[str]) -> dict[str, Any] | None:
    """Return the progress of a load as llama.cpp's router tells it."""
    stages = stages_of(argv)
    done = max(_read_and_held(pid)) if stages else 0
    if not done:
        return None
    for stage, size in stages.items():
        if done < size:
            return {
                "stages": list(stages),
                "current": stage,
                "value": round(done / size, _DIGITS),
            }
        done -= size
    return {"stages": list(stages), "current": list(stages)[-1], "value": 1.0}


def _read_and_held(pid: int) -> tuple[int, int]:
    """Return the bytes that a process and its children have read, and those that they hold."""
    read = held = 0
    for one in subtree([pid]):
        read += _field(read_bytes(f"/proc/{one}/io"), b"rchar:")
        held += _field(read_bytes(f"/proc/{one}/status"), b"VmRSS:") << 10
    return read, held


def _field(text: bytes, name: bytes) -> int:
    for line in text.splitlines():
        if line.startswith(name):
            return int(line.split()[1])
    return 0
