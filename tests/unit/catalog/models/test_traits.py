"""Kinds of models, as their headers and names tell them."""

from __future__ import annotations

from typing import Any

import gguf
import pytest

from modelswap.catalog.found import ModelKind
from modelswap.catalog.models.summary import GgufSummary
from modelswap.catalog.models.traits import FILE_TYPES, kind


@pytest.mark.parametrize(
    ("fields", "name", "expected"),
    [
        ({"architecture": "llama"}, "llama-3-8b", ModelKind.CHAT),
        ({"architecture": "nomic-bert"}, "nomic-v1.5", ModelKind.EMBEDDING),
        ({"architecture": "gemma-embedding"}, "x", ModelKind.EMBEDDING),
        ({"architecture": "qwen3", "pooling": 3}, "x", ModelKind.EMBEDDING),
        ({"architecture": "qwen3", "pooling": 0}, "x", ModelKind.CHAT),
        ({"architecture": "qwen3"}, "qwen3-embedding-0.6b", ModelKind.EMBEDDING),
        ({"architecture": "llama", "is_causal": False}, "x", ModelKind.EMBEDDING),
        ({"architecture": "dream", "is_causal": False}, "dream-7b", ModelKind.CHAT),
        ({"architecture": "bert", "pooling": 4}, "x", ModelKind.RERANK),
        ({"architecture": "bert"}, "bge-reranker-v2-m3", ModelKind.RERANK),
        ({"architecture": "modern-bert", "labels": 2}, "x", ModelKind.RERANK),
        ({"architecture": "llama"}, "embedded-expert-7b", ModelKind.CHAT),
    ],
)
def test_the_kind_decides_how_a_server_is_started(
    fields: dict[str, Any], name: str, expected: ModelKind
) -> None:
    """Architecture, pooling, classes and name, in this order of trust."""
    assert kind(GgufSummary(version=3, **fields), name) is expected


def test_file_types_are_those_of_llama_cpp() -> None:
    """Each number has the name that llama.cpp's library gives it."""
    known = {
        each.value: each.name.removeprefix("ALL_")
        .removeprefix("MOSTLY_")
        .removesuffix("_MOE")
        .lower()
        for each in gguf.LlamaFileType
        if each.name != "GUESSED"
    }
    assert {number: name for number, name in FILE_TYPES.items() if number in known} == known
