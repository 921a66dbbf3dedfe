"""A pulled model by its headers; `config/discover/test_pulled_models.py` has the usual ones."""

from __future__ import annotations

import struct
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from modelswap.catalog.found import ModelFormat, ModelKind, ModelSource
from modelswap.catalog.models.pulled_model import describe
from modelswap.catalog.pulled import PulledModel
from modelswap.catalog.roots import Root
from modelswap.catalog.scan import scan
from support.gguf_builder import chat_model, projector

if TYPE_CHECKING:
    from pathlib import Path


def test_a_model_with_its_projector(tmp_path: Path) -> None:
    """Both headers count, and both sizes."""
    file = chat_model().write(tmp_path / "Foo-Q4_K_M.gguf")
    eyes = projector().write(tmp_path / "mmproj.gguf")
    pulled = PulledModel(path=file, files=(file,), mmproj=eyes)
    found = describe(pulled, "a", ModelSource.HUGGING_FACE)
    assert (found.id, found.architecture, found.quantization) == ("a", "qwen3", "q4_k_m")
    assert (found.vision, found.mmproj, found.problem) == (True, eyes, "")
    assert found.size == file.stat().st_size + eyes.stat().st_size


def test_a_projector_that_is_broken(tmp_path: Path) -> None:
    """The model is told as it is, without abilities that nobody knows."""
    file = chat_model().write(tmp_path / "Foo-Q4_K_M.gguf")
    eyes = tmp_path / "mmproj.gguf"
    eyes.write_bytes(b"no")
    found = describe(PulledModel(path=file, files=(file,), mmproj=eyes), "a", ModelSource.FOLDER)
    assert (found.mmproj, found.vision) == (eyes, False)


def test_a_folder_of_safetensors(tmp_path: Path) -> None:
    """It has what a scan of the cache says of it, and the id that it is given."""
    folder = tmp_path / "models--acme--Tiny-Reranker" / "snapshots" / ("a" * 40)
    folder.mkdir(parents=True)
    weights, config = folder / "model.safetensors", folder / "config.json"
    header = b'{"w": {"dtype": "BF16", "shape": [2], "data_offsets": [0, 4]}}'
    weights.write_bytes(struct.pack("<Q", len(header)) + header + b"four")
    config.write_text('{"model_type": "qwen3", "max_position_embeddings": 4096}')
    pulled = PulledModel(path=folder, files=(weights, config))
    (scanned,) = scan([Root(tmp_path, ModelSource.HUGGING_FACE)]).models
    found = describe(pulled, "a", ModelSource.HUGGING_FACE)
    assert found == replace(scanned, id="a", aliases=())
    assert (found.format, found.context_length) == (ModelFormat.SAFETENSORS, 4096)
    assert (found.kind, found.problem) == (ModelKind.RERANK, "")


def test_a_folder_that_is_no_model(tmp_path: Path) -> None:
    """The reason is told; without one it is the folder that was asked for."""
    file = tmp_path / "model.safetensors"
    file.write_bytes(b"x")
    pulled = PulledModel(path=tmp_path, files=(file,))
    found = describe(pulled, "a", ModelSource.HUGGING_FACE)
    assert (found.path, found.size, found.problem) == (tmp_path, 1, "")
    (tmp_path / "adapter_config.json").write_text("{}")
    found = describe(pulled, "a", ModelSource.HUGGING_FACE)
    assert found.problem.startswith("is an adapter (LoRA)")


def test_a_file_that_is_gone(tmp_path: Path) -> None:
    """It is an error of the system, for the caller to tell."""
    gone = tmp_path / "a.gguf"
    with pytest.raises(FileNotFoundError):
        describe(PulledModel(path=gone, files=(gone,)), "a", ModelSource.FOLDER)
