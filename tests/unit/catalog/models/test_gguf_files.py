"""The GGUF files of one folder: parts joined, what is no model set aside, projectors paired."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from modelswap.catalog.roots import Root
from modelswap.catalog.scan import Catalog, scan
from support.gguf_builder import GgufBuilder, Tensor, chat_model, projector

if TYPE_CHECKING:
    from modelswap.catalog.found import FoundModel


def scanned(path: Path) -> Catalog:
    return scan([Root(path)])


def only(path: Path) -> FoundModel:
    (model,) = scanned(path).models
    return model


def write_parts(folder: Path, count: int = 3, stem: str = "Big-70B-Q4_K_M") -> list[Path]:
    """Write a split model: its keys are in the first part, as llama.cpp's splitter leaves them."""
    paths: list[Path] = []
    for number in range(count):
        split = {"split.no": number, "split.count": count, "split.tensors.count": count}
        whole = chat_model("Big", "70B").metadata if number == 0 else {}
        tensors = [Tensor(f"blk.{number}.ffn_up.weight", (64, 64))]
        path = folder / f"{stem}-{number + 1:05}-of-{count:05}.gguf"
        paths.append(GgufBuilder({**whole, **split}, tensors).write(path))
    return paths


def test_parts_are_one_model(tmp_path: Path) -> None:
    """In order, with the sum of their sizes and parameters, started by the first."""
    paths = write_parts(tmp_path)
    model = only(tmp_path)
    assert (model.id, model.problem) == ("big-70b:q4_k_m", "")
    assert (model.path, model.files) == (paths[0], tuple(paths))
    assert model.size == sum(path.stat().st_size for path in paths)
    assert model.parameters == 3 * 64 * 64
    assert "Big-70B-Q4_K_M" in model.aliases


def test_a_missing_part_is_said(tmp_path: Path) -> None:
    """By its name; the model is listed once."""
    write_parts(tmp_path)[1].unlink()
    model = only(tmp_path)
    assert model.problem == "lacks 1 of its 3 parts: Big-70B-Q4_K_M-00002-of-00003.gguf"
    write_parts(tmp_path)[0].unlink()
    assert "00001-of-00003" in only(tmp_path).problem


def test_a_broken_part_is_said(tmp_path: Path) -> None:
    """Which part it is, and what is wrong with it."""
    paths = write_parts(tmp_path)
    os.truncate(paths[1], 10)
    assert only(tmp_path).problem.startswith("part 2 of 3 is cut off")
    os.truncate(write_parts(tmp_path)[2], paths[2].stat().st_size - 1)
    assert only(tmp_path).problem.startswith("part 3 of 3 is cut off, or still being copied")


def test_parts_that_disagree_are_said(tmp_path: Path) -> None:
    """A name that promises another count than the header, and one that promises a million."""
    write_parts(tmp_path, 2)
    for path in tmp_path.iterdir():
        path.rename(str(path).replace("of-00002", "of-00001"))
    found = scanned(tmp_path)
    assert all("is one of 2 parts" in model.problem for model in found.models)
    write_parts(tmp_path / "y", 3)
    for path in (tmp_path / "y").iterdir():
        path.rename(str(path).replace("of-00003", "of-00002"))
    (tmp_path / "y" / "Big-70B-Q4_K_M-00003-of-00002.gguf").unlink()
    assert only(tmp_path / "y").problem == (
        "part 1 of 2 says that it is one of 3 parts; its name says 2"
    )
    chat_model().write(tmp_path / "x" / "Huge-00001-of-99999.gguf")
    assert "at most 1024 are accepted" in only(tmp_path / "x").problem


def test_renamed_parts_are_one_model(tmp_path: Path) -> None:
    """Their headers say that they belong together, and llama.cpp would not find them."""
    for number, path in enumerate(write_parts(tmp_path)):
        path.rename(tmp_path / f"piece-{number}.gguf")
    model = only(tmp_path)
    assert "by which llama.cpp finds the others" in model.problem
    assert (model.path, len(model.files)) == (tmp_path / "piece-0.gguf", 3)


@pytest.mark.parametrize(
    ("name", "builder", "reason"),
    [
        ("mmproj-f16", projector(), "is a projector: it belongs to a model, and none beside it"),
        ("vision", projector(general__type=""), "is a projector"),
        ("lora", chat_model(general__type="adapter"), "is an adapter (LoRA)"),
        ("imatrix", chat_model(general__type="imatrix"), "holds the importance matrix"),
        ("steer", chat_model(general__architecture="controlvector"), "is a control vector"),
        ("ggml-vocab-x", GgufBuilder({"general.architecture": "llama"}), "holds a vocabulary"),
        ("Qwen3-0.6B-draft-Q8_0", chat_model(), "is a draft model"),
        ("mtp-Qwen3-27B-Q8_0", chat_model(), "is a draft model"),
        (
            "gemma-4-assistant",
            chat_model(general__architecture="gemma4-assistant"),
            "is a draft model",
        ),
        ("Llama-EAGLE3-Q8_0", chat_model(qwen3__block_count=1), "is a draft model"),
    ],
)
def test_what_is_no_model_is_set_aside(
    name: str, builder: GgufBuilder, reason: str, tmp_path: Path
) -> None:
    """Projectors, drafts, adapters and vocabularies belong to models; each has its reason."""
    builder.write(tmp_path / f"{name}.gguf")
    found = scanned(tmp_path)
    assert found.models == ()
    assert [remark.text for remark in found.set_aside if remark.text.startswith(reason)]


@pytest.mark.parametrize(
    "name", ["Qwen3.6-27B-MTP-Q4_K_M", "rwkv-eagle-7b-Q4_0", "draftsman-7b-Q4_0"]
)
def test_whole_models_are_no_drafts(name: str, tmp_path: Path) -> None:
    """A name that tells of a draft module inside, or only resembles one."""
    chat_model().write(tmp_path / f"{name}.gguf")
    assert only(tmp_path).problem == ""


def test_a_broken_projector_is_a_problem(tmp_path: Path) -> None:
    """It is no model; the model beside it is served without it."""
    chat_model().write(tmp_path / "gemma-3-4b-it-Q4_K_M.gguf")
    (tmp_path / "mmproj-f16.gguf").write_bytes(b"GGUF")
    cut = projector().write(tmp_path / "mmproj-q8_0.gguf")
    os.truncate(cut, cut.stat().st_size - 1)
    found = scanned(tmp_path)
    assert [(model.mmproj, model.problem) for model in found.models] == [(None, "")]
    assert {Path(r.path).name for r in found.problems} == {"mmproj-f16.gguf", "mmproj-q8_0.gguf"}


def test_a_projector_makes_a_model_see(tmp_path: Path) -> None:
    """Its size counts, and what it takes is told."""
    model = chat_model().write(tmp_path / "gemma-3-4b-it-Q4_K_M.gguf")
    path = projector(clip__has_audio_encoder=True).write(tmp_path / "mmproj-F16.gguf")
    found = only(tmp_path)
    assert (found.mmproj, found.vision, found.audio) == (path, True, True)
    assert found.size == model.stat().st_size + path.stat().st_size
    assert scanned(tmp_path).set_aside == ()


def test_quantizations_in_folders_share_a_projector(tmp_path: Path) -> None:
    """Unsloth's layout: a folder for each quantization, the projector beside the folders."""
    write_parts(tmp_path / "Big-70B-GGUF" / "UD-Q4_K_XL", stem="Big-70B-UD-Q4_K_XL")
    chat_model().write(tmp_path / "Big-70B-GGUF" / "Q8_0" / "model.gguf")
    path = projector().write(tmp_path / "Big-70B-GGUF" / "mmproj-F16.gguf")
    found = scanned(tmp_path)
    assert {model.id: model.mmproj for model in found.models} == {
        "big-70b:ud-q4_k_xl": path,
        "big-70b:q8_0": path,
    }
    assert found.set_aside == ()


@pytest.mark.parametrize(
    ("builder", "text"),
    [
        (GgufBuilder({"general.architecture": "llama"}, [Tensor("a", (1,))], version=1), "no longer reads"),
        (GgufBuilder({"general.architecture": "llama"}, [Tensor("a", (1,))], order=">"), "byte order"),
        (GgufBuilder({}, [Tensor("a", (1,))]), "does not say its architecture"),
        (chat_model(general__architecture="gptoss"), "Ollama's own engine"),
        (chat_model(general__architecture="flux"), "is a model of images"),
    ],
)  # fmt: skip
def test_what_llama_cpp_does_not_load_is_said(
    builder: GgufBuilder, text: str, tmp_path: Path
) -> None:
    """A whole file may still be none that a server loads."""
    builder.write(tmp_path / "x.gguf")
    assert text in only(tmp_path).problem
