"""GGUF files of any version and byte order, with whatever keys and tensors a test wants."""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass, field
from math import prod
from typing import TYPE_CHECKING, Any, Literal

from modelswap.catalog.gguf.tensors import BLOCKS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

U32, I32, F32, BOOL, STRING, ARRAY, U64 = 4, 5, 6, 7, 8, 9, 10
ALIGNMENT = 32
F16 = 1
"""ggml's number of a type of tensors."""


@dataclass(frozen=True, slots=True)
class Tensor:
    name: str
    shape: tuple[int, ...]
    kind: int = F16

    @property
    def size(self) -> int:
        """Bytes; an unknown type has one an element."""
        _, per_block, block = BLOCKS.get(self.kind, ("", 1, 1))
        return prod(self.shape) // per_block * block


class SignedNumbers(list[int]):
    """An array of i32, as the types of tokens are."""


@dataclass(slots=True)
class GgufBuilder:
    """Numbers become u32, lists arrays of their first element's type; `raw` is written as it is."""

    metadata: Mapping[str, Any]
    tensors: Sequence[Tensor] = ()
    version: int = 3
    order: Literal["<", ">"] = "<"
    raw: bytes = b""
    raw_keys: int = 0
    """Keys that `raw` holds, after those of `metadata`."""
    _data: int = field(default=0, init=False)

    def header(self) -> bytes:
        parts = [b"GGUF", self._number("I", self.version)]
        parts += [self._length(len(self.tensors)), self._length(len(self.metadata) + self.raw_keys)]
        for key, value in self.metadata.items():
            parts += [self.string(key), self._typed(value)]
        parts.append(self.raw)
        offset = 0
        for tensor in self.tensors:
            parts.append(self._tensor(tensor, offset))
            offset += -(-tensor.size // ALIGNMENT) * ALIGNMENT
        self._data = offset
        whole = b"".join(parts)
        return (
            whole.ljust(-(-len(whole) // ALIGNMENT) * ALIGNMENT, b"\0") if self.tensors else whole
        )

    def write(self, path: Path) -> Path:
        """Write the file; its tensors are a hole in it."""
        path.parent.mkdir(parents=True, exist_ok=True)
        header = self.header()
        path.write_bytes(header)
        os.truncate(path, len(header) + self._data)
        return path

    def string(self, text: str | bytes) -> bytes:
        data = text.encode() if isinstance(text, str) else text
        return self._length(len(data)) + data

    def array(self, kind: int, count: int, data: bytes) -> bytes:
        """Return a value that is an array, with the given count."""
        return self._number("I", ARRAY) + self._number("I", kind) + self._length(count) + data

    def _tensor(self, tensor: Tensor, offset: int) -> bytes:
        code = "I" if self.version == 1 else "Q"
        return b"".join(
            [
                self.string(tensor.name),
                self._number("I", len(tensor.shape)),
                *(self._number(code, dimension) for dimension in tensor.shape),
                self._number("I", tensor.kind),
                self._number("Q", offset),
            ]
        )

    def _number(self, code: str, value: float) -> bytes:
        return struct.pack(self.order + code, value)

    def _length(self, value: int) -> bytes:
        return self._number("I" if self.version == 1 else "Q", value)

    def _typed(self, value: Any) -> bytes:
        if isinstance(value, SignedNumbers):
            data = struct.pack(f"{self.order}{len(value)}i", *value)
            return self.array(I32, len(value), data)
        if isinstance(value, list):
            kinds, parts = zip(*map(self._value, value), strict=True) if value else ([U32], [])
            return self.array(kinds[0], len(value), b"".join(parts))
        kind, data = self._value(value)
        return self._number("I", kind) + data

    def _value(self, value: Any) -> tuple[int, bytes]:
        match value:
            case bool():
                return BOOL, self._number("?", value)
            case int():
                kind = U32 if value < 1 << 32 else U64
                return kind, self._number("I" if kind == U32 else "Q", value)
            case float():
                return F32, self._number("f", value)
            case _:
                return STRING, self.string(value)


def chat_model(
    name: str = "Qwen3", size: str = "8B", *, file_type: int = 15, **other: Any
) -> GgufBuilder:
    """Return a small model with the keys that converters write; `other` adds keys, `__` for a dot."""
    metadata: dict[str, Any] = {
        "general.architecture": "qwen3",
        "general.type": "model",
        "general.name": f"{name} {size}",
        "general.basename": name,
        "general.size_label": size,
        "qwen3.context_length": 40960,
        "qwen3.embedding_length": 64,
        "qwen3.block_count": 28,
        "general.file_type": file_type,
        "tokenizer.ggml.tokens": ["<s>", "a", "b"],
    }
    metadata |= {key.replace("__", "."): value for key, value in other.items()}
    return GgufBuilder(
        metadata, [Tensor("token_embd.weight", (64, 3)), Tensor("blk.0.attn_q.weight", (64, 64))]
    )


def projector(**other: Any) -> GgufBuilder:
    """Return what pairs with a model: an image encoder."""
    metadata: dict[str, Any] = {
        "general.architecture": "clip",
        "general.type": "mmproj",
        "clip.has_vision_encoder": True,
        "clip.vision.projection_dim": 64,
    }
    metadata |= {key.replace("__", "."): value for key, value in other.items()}
    return GgufBuilder(
        metadata, [Tensor("v.patch_embd.weight", (16, 4)), Tensor("mm.0.weight", (4, 4))]
    )
