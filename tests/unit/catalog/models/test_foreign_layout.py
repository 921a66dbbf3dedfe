"""Files that were written for other programs, told by their headers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from modelswap.catalog.gguf.header import read_header
from modelswap.catalog.models.foreign_layout import misfit
from support.gguf_builder import GgufBuilder, Tensor, projector

if TYPE_CHECKING:
    from pathlib import Path

EMBEDDING = Tensor("token_embd.weight", (64, 100))
EPSILON = {"gemma3.attention.layer_norm_rms_epsilon": 1e-6}


@pytest.mark.parametrize(
    ("architecture", "keys", "tensors", "text"),
    [
        ("gemma3", EPSILON, [EMBEDDING], ""),
        ("gemma3", {}, [EMBEDDING], "lacks 'gemma3.attention.layer_norm_rms_epsilon'"),
        ("gemma3", EPSILON, [EMBEDDING, Tensor("v.blk.0.attn_q.weight", (4,))], "holds an image or sound encoder"),
        ("gemma3", EPSILON, [EMBEDDING, Tensor("dense.0.weight", (4,))], "is an embedding model marked as gemma3"),
        ("llama4", {}, [EMBEDDING, Tensor("mm.linear_1.weight", (4,))], "holds an image or sound encoder"),
        ("gemma3n", {}, [EMBEDDING, Tensor("per_layer_token_embd.weight", (8, 100))], ""),
        ("gemma3n", {}, [EMBEDDING, Tensor("per_layer_token_embd.weight", (8, 96))], "has more tokens"),
        ("qwen35", {"qwen35.rope.dimension_sections": [1, 2, 3]}, [EMBEDDING], "has 3 rope sections"),
        ("qwen35", {"qwen35.rope.dimension_sections": [1, 2, 3, 0]}, [EMBEDDING], ""),
        ("mllama", {}, [EMBEDDING], "has the architecture 'mllama'"),
        ("whisper", {}, [EMBEDDING], "is a model of sound"),
        ("a-new-one", {}, [EMBEDDING], ""),
    ],
)  # fmt: skip
def test_what_llama_cpp_refuses_is_known(
    architecture: str, keys: dict[str, Any], tensors: list[Tensor], text: str, tmp_path: Path
) -> None:
    """Ollama's layouts and models of other kinds; nothing is held against what is not known."""
    builder = GgufBuilder({"general.architecture": architecture, **keys}, tensors)
    found = misfit(read_header(builder.write(tmp_path / "m.gguf")))
    assert found.startswith(text)
    assert bool(found) == bool(text)


def test_a_projector_has_an_encoder_by_right(tmp_path: Path) -> None:
    """Its tensors are what the file is for."""
    assert misfit(read_header(projector().write(tmp_path / "mmproj.gguf"))) == ""
