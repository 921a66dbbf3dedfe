"""Reads the header of one safetensors file: 8 bytes of length, then JSON that lists the tensors.

Guarantees: at most `MOST_HEADER` bytes are read; whatever the bytes are, the outcome is a summary, a
`SafetensorsError` or an `OSError`.
"""

from __future__ import annotations

import os
import stat
from math import prod
from typing import TYPE_CHECKING, Final

import msgspec

from modelswap.catalog.small_files import open_at_once
from modelswap.units import Bytes

from .summary import MOST_PARAMETERS, SafetensorsSummary

if TYPE_CHECKING:
    from pathlib import Path

MOST_HEADER: Final = Bytes(32 << 20)
"""The format allows 100 MB; the largest known headers have some megabytes."""
_LENGTH: Final = 8
"""Bytes of the header's length."""


class SafetensorsError(ValueError):
    """What is wrong with a file: a clause that goes on after its name."""


class _Tensor(msgspec.Struct, gc=False):
    dtype: str
    shape: list[int]
    data_offsets: tuple[int, int]


_DECODER: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])
_TENSOR: Final = msgspec.json.Decoder(_Tensor)


def read_safetensors(path: Path) -> SafetensorsSummary:
    fd = open_at_once(path)
    with os.fdopen(fd, "rb") as file:
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode):
            raise SafetensorsError("is not a regular file")
        if not found.st_size:
            raise SafetensorsError("is empty (0 bytes)")
        start = file.read(_LENGTH)
        length = int.from_bytes(start, "little")
        if start == b"version ":
            raise SafetensorsError(
                "is a pointer of Git LFS: `git lfs pull` fetches the file itself"
            )
        if length > min(MOST_HEADER, found.st_size - len(start)):
            raise SafetensorsError(
                f"is cut off or no safetensors file: its header has {length} bytes,"
                f" the file {found.st_size}"
            )
        return _summarize(file.read(length), found.st_size - _LENGTH - length)


def _summarize(header: bytes, data_size: int) -> SafetensorsSummary:
    parameters = 0
    end = 0
    dtypes: set[str] = set()
    try:
        for name, raw in _DECODER.decode(header).items():
            if name == "__metadata__":
                continue
            tensor = _TENSOR.decode(raw)
            parameters += prod(tensor.shape)
            end = max(end, *tensor.data_offsets)
            dtypes.add(tensor.dtype)
    except (ValueError, RecursionError) as problem:
        raise SafetensorsError(f"has no header of JSON: {problem}") from None
    if not 0 <= parameters <= MOST_PARAMETERS:
        raise SafetensorsError(f"lists {parameters} elements")
    if end > data_size:
        raise SafetensorsError(f"is cut off: its tensors have {end} bytes, {data_size} are there")
    return SafetensorsSummary(parameters, tuple(sorted(dtypes)))
