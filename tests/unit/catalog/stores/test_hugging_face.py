"""Hugging Face's cache: snapshots of links to blobs."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from modelswap.catalog.found import ModelFormat, ModelSource
from modelswap.catalog.roots import Root
from modelswap.catalog.scan import Catalog, scan
from support.gguf_builder import GgufBuilder, chat_model, projector

if TYPE_CHECKING:
    from pathlib import Path

OLD, NEW = "a" * 40, "b" * 40


def put(
    hub: Path,
    revision: str,
    name: str,
    builder: GgufBuilder,
    *,
    repo: str = "models--unsloth--Qwen3-8B-GGUF",
) -> Path:
    """Write a blob and the link to it in a snapshot."""
    folder = hub / repo
    blob = builder.write(folder / "blobs" / f"{abs(hash((name, revision))):064x}")
    link = folder / "snapshots" / revision / name
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(os.path.relpath(blob, link.parent))
    (folder / "refs").mkdir(exist_ok=True)
    (folder / "refs" / "main").write_text(NEW)
    return link


def scanned(path: Path) -> Catalog:
    return scan([Root(path)])


def test_a_cached_file_is_a_model(tmp_path: Path) -> None:
    """Named after its file; repository and quantization are aliases, as llama.cpp writes them."""
    link = put(tmp_path, NEW, "Qwen3-8B-Q4_K_M.gguf", chat_model())
    mmproj = put(tmp_path, NEW, "mmproj-F16.gguf", projector())
    (model,) = scanned(tmp_path).models
    assert (model.id, model.path, model.mmproj) == ("qwen3-8b:q4_k_m", link, mmproj)
    assert model.source is ModelSource.HUGGING_FACE
    assert {"qwen3-8b", "unsloth/Qwen3-8B-GGUF:Q4_K_M", "unsloth/Qwen3-8B-GGUF"} <= set(
        model.aliases
    )


def test_the_main_revision_counts(tmp_path: Path) -> None:
    """Of a file in two revisions the newer one; a file that only the older one has is listed too."""
    put(tmp_path, OLD, "Qwen3-8B-Q4_K_M.gguf", chat_model())
    put(tmp_path, OLD, "Qwen3-8B-Q8_0.gguf", chat_model(file_type=7))
    put(tmp_path, NEW, "Qwen3-8B-Q4_K_M.gguf", chat_model())
    for revision in (OLD, NEW):
        put(tmp_path, revision, "mmproj-F16.gguf", projector())
    assert scanned(tmp_path).set_aside == ()
    found = {model.id: model.path.parent.name for model in scanned(tmp_path).models}
    assert found == {"qwen3-8b:q4_k_m": NEW, "qwen3-8b:q8_0": OLD}


def test_a_projector_of_another_revision_is_paired(tmp_path: Path) -> None:
    """It was downloaded after its repository had moved on."""
    put(tmp_path, OLD, "Qwen3-8B-Q4_K_M.gguf", chat_model())
    mmproj = put(tmp_path, NEW, "mmproj-F16.gguf", projector())
    found = scanned(tmp_path)
    assert [model.mmproj for model in found.models] == [mmproj]
    assert found.set_aside == ()


def test_a_broken_revision_does_not_hide_a_whole_one(tmp_path: Path) -> None:
    """A part that is missing in the newer revision leaves the older one in use."""
    put(tmp_path, OLD, "Qwen3-8B-Q4_K_M.gguf", chat_model())
    link = put(tmp_path, NEW, "Qwen3-8B-Q4_K_M.gguf", chat_model())
    os.truncate(link, 10)
    (model,) = scanned(tmp_path).models
    assert (model.problem, model.path.parent.name) == ("", OLD)


def test_hashes_do_not_leak_into_names(tmp_path: Path) -> None:
    """A file that says nothing is named after the repository."""
    put(tmp_path, NEW, "model.gguf", chat_model())
    put(tmp_path, NEW, "Q8_0.gguf", chat_model(), repo="models--gpt2")
    assert [model.id for model in scanned(tmp_path).models] == ["gpt2:q8_0", "qwen3-8b:q4_k_m"]


def test_a_cache_inside_a_folder_is_recognized(tmp_path: Path) -> None:
    """Wherever it lies; datasets and blobs are passed over."""
    put(tmp_path / "hub", NEW, "Qwen3-8B-Q4_K_M.gguf", chat_model())
    chat_model().write(tmp_path / "hub" / "datasets--a--b" / "snapshots" / NEW / "x.gguf")
    chat_model().write(tmp_path / "hub" / ".locks" / "y.gguf")
    assert [model.id for model in scanned(tmp_path).models] == ["qwen3-8b:q4_k_m"]


def test_safetensors_are_listed(tmp_path: Path) -> None:
    """A repository of transformers, as vLLM downloads it."""
    folder = tmp_path / "models--Qwen--Qwen3-8B" / "snapshots" / NEW
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(b"\2\0\0\0\0\0\0\0{}")
    (model,) = scanned(tmp_path).models
    assert (model.id, model.format, model.path) == ("qwen3-8b", ModelFormat.SAFETENSORS, folder)
    assert "Qwen/Qwen3-8B" in model.aliases


def test_unfinished_downloads_are_told(tmp_path: Path) -> None:
    """Blobs that are not whole yet have no link in a snapshot."""
    put(tmp_path, NEW, "Qwen3-8B-Q4_K_M.gguf", chat_model())
    (tmp_path / "models--unsloth--Qwen3-8B-GGUF" / "blobs" / "x.incomplete").touch()
    found = scanned(tmp_path)
    assert [remark.text for remark in found.set_aside] == ["has 1 unfinished download"]
    assert len(found.models) == 1


@pytest.mark.timeout(20)
def test_a_pipe_in_place_of_the_revision_does_not_hang(tmp_path: Path) -> None:
    """The models are found as where no revision is named."""
    put(tmp_path, NEW, "Qwen3-8B-Q4_K_M.gguf", chat_model())
    main = tmp_path / "models--unsloth--Qwen3-8B-GGUF" / "refs" / "main"
    main.unlink()
    os.mkfifo(main)
    assert [model.id for model in scanned(tmp_path).models] == ["qwen3-8b:q4_k_m"]


def test_a_link_in_a_circle_hides_no_revision(tmp_path: Path) -> None:
    link = put(tmp_path, NEW, "Qwen3-8B-Q4_K_M.gguf", chat_model())
    circle = link.parent.with_name("circle")
    circle.symlink_to(circle.name)
    (model,) = scanned(tmp_path).models
    assert model.path == link
