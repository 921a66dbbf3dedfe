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
MOST_ELEMENTS: Final = 1 << 62
"""ggml counts elements in 64 bits, with sign."""
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
_U32: Final = {order: struct.Struct(order + "I") for order in "<>"}
_ENDS: Final = {order: struct.Struct(order + "IQ") for order in "<>"}
"""Type and offset, which end the record of a tensor."""
_DIMENSIONS: Final = {
    (order, code): [struct.Struct(f"{order}{count}{code}") for count in range(MOST_DIMENSIONS + 1)]
    for order in "<>"
    for code in "IQ"
}


class TensorInfo(msgspec.Struct, frozen=True, gc=False):
    name: str
    dimensions: tuple[int, ...]
    type: int
    """ggml's number of the type; `BLOCKS` knows the usual ones."""
    offset: int
    """From the begin of the data."""
    elements: int
    size: int | None
    """Bytes; `None` for a type that is not known here."""


def read_tensors(window: Window, count: int, *, short_dimensions: bool) -> tuple[TensorInfo, ...]:
    """Read the records of all tensors; version 1 of GGUF has dimensions of 32 bits."""
    if count > MOST_TENSORS:
        raise GgufError(f"has {count} tensors; at most {MOST_TENSORS} are read")
    dimensions = _DIMENSIONS[window.order, "I" if short_dimensions else "Q"]
    ends = _ENDS[window.order]
    found: list[TensorInfo] = []
    seen: set[str] = set()
    for number in range(1, count + 1):
        what = f"tensor {number} of {count}"
        name = window.text(MOST_NAME, what)
        if name in seen:
            raise GgufError(f"has the tensor {name!r} twice")
        seen.add(name)
        rank = window.u32(what)
        if rank > MOST_DIMENSIONS:
            raise GgufError(f"gives {name!r} {rank} dimensions; at most {MOST_DIMENSIONS} exist")
        shape = window.unpack(dimensions[rank], what)
        kind, offset = window.unpack(ends, what)
        found.append(_info(name, shape, kind, offset))
    return tuple(found)


def _info(name: str, shape: tuple[int, ...], kind: int, offset: int) -> TensorInfo:
    elements = prod(shape)
    if elements > MOST_ELEMENTS:
        raise GgufError(f"gives {name!r} {elements} elements; at most {MOST_ELEMENTS} exist")
    block = BLOCKS.get(kind)
    size = None
    if block is not None:
        label, per_block, block_size = block
        if shape and shape[0] % per_block:
            raise GgufError(
                f"gives {name!r} rows of {shape[0]} elements; {label} has blocks of {per_block}"
            )
        size = elements // per_block * block_size
    return TensorInfo(name, shape, kind, offset, elements, size)
