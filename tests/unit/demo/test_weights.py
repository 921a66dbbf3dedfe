"""The model writer: files that are small, reproducible, and what they claim to be."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

gguf = pytest.importorskip("gguf", reason="needs modelswap[engine]")

from modelswap.demo.weights import ShapeError, write_model  # noqa: E402 - after the check

if TYPE_CHECKING:
    from pathlib import Path


def test_the_same_arguments_give_the_same_bytes(tmp_path: Path) -> None:
    """The seed alone decides the weights."""
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        write_model(tmp_path / name, seed=seed)
    a, b, c = ((tmp_path / name).read_bytes() for name in "abc")
    assert a == b
    assert a != c
    assert len(a) < 1_000_000


def test_the_header_says_what_was_asked_for(tmp_path: Path) -> None:
    """Name, sizes and pooling can be read back."""
    path = tmp_path / "m.gguf"
    write_model(path, layers=3, embd=96, vocab=400, ctx=512, pooling="mean", name="mine")
    reader = gguf.GGUFReader(path)
    facts = {key: reader.fields[key].contents() for key in reader.fields}
    assert facts["general.name"] == "mine"
    assert facts["llama.block_count"] == 3
    assert facts["llama.embedding_length"] == 96
    assert facts["llama.context_length"] == 512
    assert facts["llama.pooling_type"] == 1
    assert len(facts["tokenizer.ggml.tokens"]) == 400


@pytest.mark.parametrize("shape", [{"embd": 33}, {"embd": 32}, {"vocab": 355}, {"vocab": 348_327}])
def test_refuses_a_shape_that_llama_cpp_cannot_load(tmp_path: Path, shape: dict[str, int]) -> None:
    """A wrong shape is said before anything is written."""
    with pytest.raises(ShapeError):
        write_model(tmp_path / "m.gguf", **shape)  # type: ignore[arg-type] # every key is an int's
