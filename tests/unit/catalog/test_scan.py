"""From folders to a catalog: what is listed, under which name, and what goes wrong without harm."""

from __future__ import annotations

import os
import random
from itertools import permutations
from pathlib import Path

import pytest

from modelswap.catalog.found import ModelKind, ModelSource
from modelswap.catalog.header_cache import HeaderCache
from modelswap.catalog.roots import Root
from modelswap.catalog.scan import Catalog, scan
from modelswap.demo.weights import write_model
from support.gguf_builder import GgufBuilder, chat_model, projector


def names(catalog: Catalog) -> dict[str, tuple[str, ...]]:
    return {model.id: model.aliases for model in catalog.models}


def scanned(*paths: Path) -> Catalog:
    return scan([Root(path) for path in paths])


def test_a_file_is_a_model(tmp_path: Path) -> None:
    """All that a header and a name say is in the catalog."""
    path = chat_model(tokenizer__chat_template="{% if tools %}<think>{% endif %}").write(
        tmp_path / "sub" / "deep" / "Qwen3-8B-Q4_K_M.gguf"
    )
    found = scanned(tmp_path)
    (model,) = found.models
    assert (model.id, model.aliases[0]) == ("qwen3-8b:q4_k_m", "qwen3-8b")
    assert "Qwen3-8B-Q4_K_M" in model.aliases
    assert (model.path, model.files, model.size) == (path, (path,), path.stat().st_size)
    assert (model.kind, model.source) == (ModelKind.CHAT, ModelSource.FOLDER)
    assert (model.architecture, model.quantization) == ("qwen3", "q4_k_m")
    assert (model.context_length, model.parameters) == (40960, 64 * 67)
    assert (model.vision, model.tools, model.reasoning, model.problem) == (False, True, True, "")
    assert (found.problems, found.set_aside) == ((), ())


def test_a_model_that_runs_is_found(tmp_path: Path) -> None:
    """The tiny models of the demonstration, which llama.cpp loads, are listed without a problem."""
    write_model(tmp_path / "red.gguf", vocab=400)
    write_model(tmp_path / "vector.gguf", vocab=400, pooling="mean")
    assert {m.id: (m.kind, m.problem) for m in scanned(tmp_path).models} == {
        "red:f16": (ModelKind.CHAT, ""),
        "vector:f16": (ModelKind.EMBEDDING, ""),
    }


def test_short_names_are_given_where_one_model_has_them(tmp_path: Path) -> None:
    """Two quantizations share no short name; each keeps its own."""
    chat_model().write(tmp_path / "Qwen3-8B-Q4_K_M.gguf")
    chat_model(file_type=7).write(tmp_path / "Qwen3-8B-Q8_0.gguf")
    chat_model().write(tmp_path / "Phi-4.gguf")
    found = names(scanned(tmp_path))
    assert found.keys() == {"phi-4:q4_k_m", "qwen3-8b:q4_k_m", "qwen3-8b:q8_0"}
    assert "phi-4" in found["phi-4:q4_k_m"]
    assert "qwen3-8b" not in found["qwen3-8b:q4_k_m"] + found["qwen3-8b:q8_0"]


def test_two_files_of_one_name_are_told_apart(tmp_path: Path) -> None:
    """Their folders make their names longer, whichever was seen first."""
    for owner in ("unsloth", "bartowski"):
        chat_model().write(tmp_path / "a" / owner / "Qwen3-8B-Q4_K_M.gguf")
    chat_model().write(tmp_path / "b" / "Qwen3-8B-Q4_K_M.gguf")
    expected = {
        "b/qwen3-8b:q4_k_m",
        "bartowski/qwen3-8b:q4_k_m",
        "unsloth/qwen3-8b:q4_k_m",
    }
    roots = [tmp_path / "a" / "bartowski", tmp_path / "a" / "unsloth", tmp_path / "b"]
    for order in permutations(roots):
        assert names(scanned(*order)).keys() == expected


def test_names_do_not_depend_on_the_order_of_entries(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever order the file system tells its entries in, the catalog is the same."""
    for folder, name in (
        ("x", "model"),
        ("x", "Qwen3-8B-Q4_K_M"),
        ("y", "model"),
        ("y", "qwen3-8b-q4_k_m"),
    ):
        chat_model().write(tmp_path / folder / f"{name}.gguf")
    (tmp_path / "z").symlink_to(tmp_path / "x")
    first = scanned(tmp_path)

    class Shuffled:
        def __init__(self, path: str) -> None:
            with original(path) as entries:
                self._entries = list(entries)
            random.shuffle(self._entries)

        def __enter__(self) -> list[os.DirEntry[str]]:
            return self._entries

        def __exit__(self, *_: object) -> None:
            pass

    original = os.scandir
    monkeypatch.setattr(os, "scandir", Shuffled)
    for _ in range(10):
        assert scanned(tmp_path) == first


@pytest.mark.parametrize(
    "name", ["model.gguf", "ggml-model-q4_k_m.gguf", "a" * 40 + ".gguf", "Q4_K_M.gguf"]
)
def test_a_folder_names_a_file_that_says_nothing(name: str, tmp_path: Path) -> None:
    """As in a deployment: the model's folder may hold a file of any name."""
    chat_model("Other").write(tmp_path / "my-assistant" / name)
    assert list(names(scanned(tmp_path))) == ["my-assistant:q4_k_m"]


def test_the_folder_of_one_model_is_an_alias(tmp_path: Path) -> None:
    """A name that stays when the file in the folder is replaced by another one."""
    chat_model().write(tmp_path / "my-assistant" / "Qwen3-8B-Q4_K_M.gguf")
    assert "my-assistant" in names(scanned(tmp_path))["qwen3-8b:q4_k_m"]


def test_a_mounted_volume_does_not_leak_into_names(tmp_path: Path) -> None:
    """Kubernetes links files to `..data`, and that to a folder with a date."""
    version = tmp_path / "prod" / "..2026_11_27_10_00_00.123"
    chat_model().write(version / "model.gguf")
    (tmp_path / "prod" / "..data").symlink_to(version.name)
    (tmp_path / "prod" / "model.gguf").symlink_to("..data/model.gguf")
    (model,) = scanned(tmp_path).models
    assert (model.id, model.path) == ("prod:q4_k_m", tmp_path / "prod" / "model.gguf")


def test_the_header_names_what_neither_file_nor_folder_does(tmp_path: Path) -> None:
    """A lone `model.gguf` in the folder that was asked for."""
    chat_model("Qwen3", "8B", general__finetune="Instruct").write(
        tmp_path / "models" / "model.gguf"
    )
    assert list(names(scanned(tmp_path / "models"))) == ["qwen3-8b-instruct:q4_k_m"]


def test_one_file_at_two_paths_is_one_model(tmp_path: Path) -> None:
    """Links, hard and symbolic, add names and no models."""
    path = chat_model().write(tmp_path / "Qwen3-8B-Q4_K_M.gguf")
    (tmp_path / "favourite.gguf").symlink_to(path)
    (tmp_path / "hard").mkdir()
    (tmp_path / "hard" / "twin.gguf").hardlink_to(path)
    (model,) = scanned(tmp_path, tmp_path / "hard").models
    assert model.path == path
    assert {"favourite", "twin"} <= set(model.aliases)


def test_a_broken_file_is_listed_and_changes_nothing(tmp_path: Path) -> None:
    """It has its reason, and takes no name from a model that can be served."""
    good = chat_model().write(tmp_path / "a" / "Qwen3-8B-Q4_K_M.gguf")
    before = names(scanned(tmp_path))
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "Qwen3-8B-Q4_K_M.gguf").write_bytes(good.read_bytes()[:100])
    (tmp_path / "b" / "empty.gguf").write_bytes(b"")
    cut = chat_model().write(tmp_path / "b" / "cut-Q4_0.gguf")
    os.truncate(cut, cut.stat().st_size - 1)
    found = scanned(tmp_path)
    problems = {model.id: model.problem for model in found.models}
    assert {id_: aliases for id_, aliases in names(found).items() if not problems[id_]} == before
    assert "is cut off" in problems["b/qwen3-8b:q4_k_m"]
    assert problems["empty"] == "is empty (0 bytes)"
    assert "still being copied" in problems["cut:q4_0"]


def test_unreadable_folders_and_files_are_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder and a file without permission; the system's answer is made up, as root may read all."""
    chat_model().write(tmp_path / "open.gguf")
    chat_model().write(tmp_path / "closed.gguf")
    (tmp_path / "shut").mkdir()
    listing, opening = os.scandir, os.open

    def scandir(path: str) -> object:
        if path.endswith("shut"):
            raise PermissionError(13, "Permission denied", path)
        return listing(path)

    def open_(path: object, *arguments: int) -> int:
        if str(path).endswith("closed.gguf"):
            raise PermissionError(13, "Permission denied", path)
        return opening(path, *arguments)  # type: ignore[arg-type]  # as it was given

    monkeypatch.setattr(os, "scandir", scandir)
    monkeypatch.setattr(os, "open", open_)
    found = scanned(tmp_path)
    assert {model.id: model.problem for model in found.models} == {
        "closed": "cannot be read: Permission denied",
        "open:q4_k_m": "",
    }
    assert [(remark.path, remark.text) for remark in found.problems] == [
        (str(tmp_path / "shut"), "cannot be read: Permission denied")
    ]


def test_absent_roots_are_problems(tmp_path: Path) -> None:
    """A folder that does not exist, and a file in place of one."""
    (tmp_path / "file").write_text("x")
    found = scanned(tmp_path / "absent", tmp_path / "file")
    assert [remark.text for remark in found.problems] == [
        "cannot be read: No such file or directory",
        "is not a folder",
    ]


def test_loops_of_links_end(tmp_path: Path) -> None:
    """Links that lead back up are followed once."""
    chat_model().write(tmp_path / "a" / "Qwen3-8B-Q4_K_M.gguf")
    (tmp_path / "a" / "up").symlink_to(tmp_path)
    (tmp_path / "a" / "self").symlink_to("self")
    (tmp_path / "b").symlink_to("a")
    (tmp_path / "dangling.gguf").symlink_to("nothing")
    found = scanned(tmp_path)
    assert [model.path for model in found.models] == [tmp_path / "a" / "Qwen3-8B-Q4_K_M.gguf"]
    assert {remark.text for remark in found.problems} == {
        "points to a file that does not exist", "Too many levels of symbolic links",
    }  # fmt: skip


def test_downloads_under_way_are_set_aside(tmp_path: Path) -> None:
    """Files that carry the ending of a download, and those that aria2 keeps its state beside."""
    for name in ("a.gguf.part", "b.gguf.incomplete", "c.gguf.crdownload", "notes.tmp"):
        (tmp_path / name).write_bytes(b"GGUF")
    chat_model().write(tmp_path / "d.gguf")
    (tmp_path / "d.gguf.aria2").write_bytes(b"x")
    found = scanned(tmp_path)
    assert {Path(r.path).name for r in found.set_aside} == {
        "a.gguf.part", "b.gguf.incomplete", "c.gguf.crdownload", "d.gguf.aria2",
    }  # fmt: skip
    assert [model.problem for model in found.models] == [
        "d.gguf.aria2 lies beside it: it is being downloaded"
    ]


def test_names_that_cannot_be_shown_are_left_out(tmp_path: Path) -> None:
    """Bytes that are no UTF-8, and control characters, would break JSON and logs."""
    data = chat_model().header()
    for name in (b"bad\xff.gguf", b"new\nline.gguf"):
        Path(os.fsdecode(os.path.join(os.fsencode(tmp_path), name))).write_bytes(data)  # noqa: PTH118
    found = scanned(tmp_path)
    assert found.models == ()
    assert [Path(remark.path).name for remark in found.problems] == [
        "bad\\udcff.gguf",
        "new\\nline.gguf",
    ]


def test_fifty_thousand_files_are_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Most of them are no models; a thousand names of one file are one model, read once."""
    opened = 0
    original = os.open

    def counted(path: object, *arguments: int) -> int:
        nonlocal opened
        opened += 1
        return original(path, *arguments)  # type: ignore[arg-type]  # as it was given

    model = chat_model().write(tmp_path / "Qwen3-8B-Q4_K_M.gguf")
    for number in range(50_000):
        ending = "gguf" if number % 50 == 0 else "txt"
        (tmp_path / f"{number:05}.{ending}").hardlink_to(model)
    monkeypatch.setattr(os, "open", counted)
    found = scanned(tmp_path)
    assert [model.id for model in found.models] == ["qwen3-8b:q4_k_m"]
    assert len(found.models[0].aliases) < 20
    assert opened == 1


def test_the_second_scan_opens_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the cache knows is only looked up; a changed file is read again."""
    folder = tmp_path / "models"
    chat_model().write(folder / "Qwen3-8B-Q4_K_M.gguf")
    (folder / "broken.gguf").write_bytes(b"x")
    path = tmp_path / "state" / "headers"
    first = scan([Root(folder)], HeaderCache(path))
    opened: list[str] = []
    original = os.open

    def noted(path: object, *arguments: int) -> int:
        opened.append(str(path))
        return original(path, *arguments)  # type: ignore[arg-type]  # as it was given

    monkeypatch.setattr(os, "open", noted)
    assert scan([Root(folder)], HeaderCache(path)) == first
    assert opened == []
    changed = chat_model("Other", "1B").write(folder / "broken.gguf")
    assert len(scan([Root(folder)], HeaderCache(path)).models) == 2
    assert opened[0] == str(changed)


def test_a_cache_that_cannot_be_written_is_a_problem(tmp_path: Path) -> None:
    """The catalog is whole without it."""
    chat_model().write(tmp_path / "Qwen3-8B-Q4_K_M.gguf")
    (tmp_path / "file").write_text("x")
    found = scan([Root(tmp_path)], HeaderCache(tmp_path / "file" / "cache"))
    assert list(names(found)) == ["qwen3-8b:q4_k_m"]
    assert [remark.text.partition(":")[0] for remark in found.problems] == [
        "the cache of headers cannot be written"
    ]


def test_lm_studio_names_by_publisher(tmp_path: Path) -> None:
    """PUBLISHER/REPOSITORY/FILE: the repository is an alias, the publisher tells equal names apart."""
    for publisher in ("lmstudio-community", "unsloth"):
        folder = tmp_path / publisher / "Qwen3-8B-GGUF"
        chat_model().write(folder / "Qwen3-8B-Q4_K_M.gguf")
        projector().write(folder / "mmproj-model-f16.gguf")
    found = scan([Root(tmp_path, ModelSource.LM_STUDIO)])
    assert names(found).keys() == {
        "lmstudio-community/qwen3-8b:q4_k_m", "unsloth/qwen3-8b:q4_k_m",
    }  # fmt: skip
    assert "unsloth/Qwen3-8B-GGUF:Q4_K_M" in names(found)["unsloth/qwen3-8b:q4_k_m"]
    assert all(model.vision and model.mmproj for model in found.models)


def test_hostile_and_honest_files_together(tmp_path: Path) -> None:
    """Random bytes beside models: each file has its outcome, and the models are whole."""
    noise = random.Random(1)  # noqa: S311 - the same files each time
    for number in range(50):
        data = b"GGUF\3\0\0\0" + noise.randbytes(noise.randrange(200))
        (tmp_path / f"noise-{number}x.gguf").write_bytes(data)
    chat_model().write(tmp_path / "Qwen3-8B-Q4_K_M.gguf")
    GgufBuilder({"general.architecture": "llama"}).write(tmp_path / "vocab.gguf")
    found = scanned(tmp_path)
    assert sum(not model.problem for model in found.models) == 1
    assert len(found.models) == 51
    assert [remark.text for remark in found.set_aside] == ["holds a vocabulary and no tensors"]
