"""A pulled model by its headers; `config/discover/test_pulled_models.py` has the usual ones."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from modelswap.catalog.found import ModelFormat, ModelSource
from modelswap.catalog.models.pulled_model import describe
from modelswap.catalog.pulled import PulledModel
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
    """The folder is the model; its headers are not read."""
    file = tmp_path / "model.safetensors"
    file.write_bytes(b"x")
    found = describe(PulledModel(path=tmp_path, files=(file,)), "a", ModelSource.HUGGING_FACE)
    assert (found.format, found.path, found.size) == (ModelFormat.SAFETENSORS, tmp_path, 1)


def test_a_file_that_is_gone(tmp_path: Path) -> None:
    """It is an error of the system, for the caller to tell."""
    gone = tmp_path / "a.gguf"
    with pytest.raises(FileNotFoundError):
        describe(PulledModel(path=gone, files=(gone,)), "a", ModelSource.FOLDER)
