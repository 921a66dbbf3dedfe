"""Headers of GGUF files without the files, of known models and of any shape."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Any

from modelswap.catalog.gguf.header import GgufHeader
from modelswap.catalog.gguf.tensors import BLOCKS, TensorInfo

if TYPE_CHECKING:
    from collections.abc import Sequence

_SIZES = {label: (elements, size) for label, elements, size in BLOCKS.values()}


def tensors_of(*rows: tuple[str, tuple[int, ...], str]) -> tuple[TensorInfo, ...]:
    """Return tensors, one behind the other, of names, dimensions and types."""
    found: list[TensorInfo] = []
    offset = 0
    for name, dimensions, label in rows:
        per_block, block = _SIZES[label]
        elements = prod(dimensions)
        size = elements // per_block * block
        found.append(TensorInfo(name, dimensions, offset, elements, size, label))
        offset += size
    return tuple(found)


def header_of(
    architecture: str, tensors: Sequence[TensorInfo] = (), *, vocabulary: int = 0, **keys: Any
) -> GgufHeader:
    """Return a header; in keys of the architecture, `__` stands for a dot."""
    metadata = {f"{architecture}.{key.replace('__', '.')}": value for key, value in keys.items()}
    return GgufHeader(
        version=3,
        is_big_endian=False,
        metadata={"general.architecture": architecture, **metadata},
        lengths={"tokenizer.ggml.tokens": vocabulary},
        tensors=tuple(tensors),
        data_offset=0,
    )


def transformer(architecture: str = "llama", **keys: Any) -> GgufHeader:
    """Return a header with the shape of Meta's Llama 3 8B, other than *keys* say."""
    shape: dict[str, Any] = {
        "block_count": 32, "context_length": 8192, "embedding_length": 4096,
        "feed_forward_length": 14336, "attention.head_count": 32, "attention.head_count_kv": 8,
    }  # fmt: skip
    given = {key.replace("__", "."): value for key, value in keys.items() if key != "vocabulary"}
    gate = tensors_of(("blk.0.ffn_gate.weight", (4096, 14336), "f16"))
    vocabulary = keys.get("vocabulary", 128256)
    return header_of(architecture, gate, vocabulary=vocabulary, **(shape | given))


def qwen35_9b() -> GgufHeader:
    """Return the header of a model of which every fourth layer has attention, the others a state."""
    return transformer(
        "qwen35", attention__head_count=16, attention__head_count_kv=4, attention__key_length=256,
        attention__value_length=256, full_attention_interval=4, ssm__conv_kernel=4,
        ssm__state_size=128, ssm__group_count=16, ssm__inner_size=4096, context_length=262144,
    )  # fmt: skip


def deepseek_v3() -> GgufHeader:
    """Return the header of a model that caches one latent vector for all its heads."""
    return transformer(
        "deepseek2", block_count=61, attention__head_count=128, attention__head_count_kv=1,
        attention__key_length=576, attention__value_length=512, attention__key_length_mla=192,
        attention__value_length_mla=128, attention__kv_lora_rank=512, context_length=163840,
    )  # fmt: skip
