"""The tensors that a GGUF header lists: names, dimensions, types and sizes.

Memory: at most `MOST_TENSORS` records of about 300 bytes.
"""

from __future__ import annotations

import struct
from math import prod
from typing import TYPE_CHECKING, Final

import msgspec

from modelswap.units import Bytes

from .window import GgufError

if TYPE_CHECKING:
    from .window import Window

MOST_TENSORS: Final = 1 << 16
"""Tensors of one file; mixtures of experts that keep their experts apart have some thousands."""
MOST_NAME: Final = Bytes(256)
"""llama.cpp accepts 63; newer builds may accept more."""
MOST_DIMENSIONS: Final = 4
"""As many as a tensor of ggml has."""
MOST: Final = 1 << 62
"""Elements and bytes, of one tensor and of all: ggml counts them in 64 bits, with sign."""
BLOCKS: Final = {
    0: ("f32", 1, 4), 1: ("f16", 1, 2), 2: ("q4_0", 32, 18), 3: ("q4_1", 32, 20),
    6: ("q5_0", 32, 22), 7: ("q5_1", 32, 24), 8: ("q8_0", 32, 34), 9: ("q8_1", 32, 40),
    10: ("q2_k", 256, 84), 11: ("q3_k", 256, 110), 12: ("q4_k", 256, 144), 13: ("q5_k", 256, 176),
    14: ("q6_k", 256, 210), 15: ("q8_k", 256, 292), 16: ("iq2_xxs", 256, 66), 17: ("iq2_xs", 256, 74),
    18: ("iq3_xxs", 256, 98), 19: ("iq1_s", 256, 50), 20: ("iq4_nl", 32, 18), 21: ("iq3_s", 256, 110),
    22: ("iq2_s", 256, 82), 23: ("iq4_xs", 256, 136), 24: ("i8", 1, 1), 25: ("i16", 1, 2),
    26: ("i32", 1, 4), 27: ("i64", 1, 8), 28: ("f64", 1, 8), 29: ("iq1_m", 256, 56),
    30: ("bf16", 1, 2), 34: ("tq1_0", 256, 54), 35: ("tq2_0", 256, 66), 39: ("mxfp4", 32, 17),
    40: ("nvfp4", 64, 36), 41: ("q1_0", 128, 18),
}  # fmt: skip
"""Type of a tensor -> its name, elements of one block, bytes of one block (ggml's `ggml_type`)."""
_LONGEST: Final = Bytes(8 + MOST_NAME + 4 + MOST_DIMENSIONS * 8 + 12)
"""One record: its name with its length, its dimensions with their count, type and offset."""
_NUMBERS: Final = {order + code: struct.Struct(order + code) for order in "<>" for code in "IQ"}
_ENDS: Final = {
    order + code: [struct.Struct(f"{order}{rank}{code}IQ") for rank in range(MOST_DIMENSIONS + 1)]
    for order in "<>"
    for code in "IQ"
}
"""What follows the count of dimensions: the dimensions, the type, the offset."""


class TensorInfo(msgspec.Struct, frozen=True, gc=False):
    name: str
    dimensions: tuple[int, ...]
    offset: int
    """From the begin of the data."""
    elements: int
    size: int | None
    """Bytes; `None` for a type that `BLOCKS` does not know."""
    type: str = ""
    """Its name; empty for one that `BLOCKS` does not know."""


def read_tensors(window: Window, count: int, *, is_short: bool) -> tuple[TensorInfo, ...]:
    """Read the records of all tensors; version 1 of GGUF has lengths and dimensions of 32 bits."""
    if count > MOST_TENSORS:
        raise GgufError(f"has {count} tensors; at most {MOST_TENSORS} are read")
    code = window.order + ("I" if is_short else "Q")
    length_of, rank_of, ends = _NUMBERS[code], _NUMBERS[window.order + "I"], _ENDS[code]
    found: list[TensorInfo] = []
    seen: set[str] = set()
    for number in range(1, count + 1):
        data, position = window.ahead(_LONGEST)
        try:
            length: int = length_of.unpack_from(data, position)[0]
            if length > MOST_NAME:
                raise GgufError(f"gives tensor {number} a name of {length} bytes")
            start = position + length_of.size
            position = start + length
            name = data[start:position].decode("utf-8", "replace")
            rank: int = rank_of.unpack_from(data, position)[0]
            if rank > MOST_DIMENSIONS:
                raise GgufError(
                    f"gives {name!r} {rank} dimensions; at most {MOST_DIMENSIONS} exist"
                )
            end: tuple[int, ...] = ends[rank].unpack_from(data, position + rank_of.size)
        except struct.error:
            raise GgufError(
                f"is cut off: it ends in tensor {number} of {count}, at byte {window.size}"
            ) from None
        window.advance(position + rank_of.size + ends[rank].size)
        if name in seen:
            raise GgufError(f"has the tensor {name!r} twice")
        seen.add(name)
        found.append(_info(name, end[:-2], end[-2], end[-1]))
    if sum(tensor.elements for tensor in found) > MOST:
        raise GgufError(f"has more than {MOST} parameters")
    return tuple(found)


def _info(name: str, shape: tuple[int, ...], kind: int, offset: int) -> TensorInfo:
    elements = prod(shape)
    block = BLOCKS.get(kind)
    size, label = None, ""
    if block is not None:
        label, per_block, block_size = block
        if shape and shape[0] % per_block:
            raise GgufError(
                f"gives {name!r} rows of {shape[0]} elements; {label} has blocks of {per_block}"
            )
        size = elements // per_block * block_size
    if max(elements, offset + (size or 0)) > MOST:
        raise GgufError(f"gives {name!r} {elements} elements at {offset}; at most {MOST} exist")
    return TensorInfo(name, shape, offset, elements, size, label)
