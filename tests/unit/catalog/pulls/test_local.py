"""What was pulled is found where each kind of source keeps it, whole or not at all."""

from __future__ import annotations

import json
from hashlib import sha256
from typing import TYPE_CHECKING

import pytest

from modelswap.catalog.pull_source import parse_source
from modelswap.catalog.pulled import located
from modelswap.catalog.pulls.local import locate
from modelswap.catalog.pulls.places import Places
from modelswap.catalog.pulls.tree import TreeEntry, encode_tree

if TYPE_CHECKING:
    from pathlib import Path

    from modelswap.catalog.pulls.model import PulledModel

NEW, OLD = "a" * 40, "b" * 40


@pytest.fixture
def places(tmp_path: Path) -> Places:
    return Places.usual(
        {"HF_HOME": str(tmp_path / "hf"), "XDG_CACHE_HOME": str(tmp_path / "cache")}, tmp_path
    )


def find(text: str, places: Places) -> PulledModel | None:
    return locate(parse_source(text), places)


def cached(places: Places, *paths: str, commit: str = NEW, tree: tuple[str, ...] = ()) -> Path:
    """Write a snapshot as `huggingface_hub` does; `tree` are the files that the hub lists."""
    repository = places.repository("acme/tiny")
    snapshot = repository / "snapshots" / commit
    (repository / "blobs").mkdir(parents=True, exist_ok=True)
    snapshot.mkdir(parents=True, exist_ok=True)
    for path in paths:
        blob = repository / "blobs" / sha256(path.encode()).hexdigest()
        blob.write_bytes(path.encode())
        pointer = snapshot / path
        pointer.parent.mkdir(parents=True, exist_ok=True)
        pointer.symlink_to(blob)
    (repository / "refs").mkdir(exist_ok=True)
    (repository / "refs" / "main").write_text(commit)
    if tree:
        (repository / "trees").mkdir(exist_ok=True)
        content = encode_tree((path, TreeEntry(1, "c" * 40)) for path in tree)
        (repository / "trees" / f"{commit}.json").write_bytes(content)
    return snapshot


def test_a_quantization_is_found_with_its_projector(places: Places) -> None:
    snapshot = cached(places, "x-Q4_K_M.gguf", "x-Q8_0.gguf", "mmproj-F16.gguf")
    found = find("hf:acme/tiny:Q8_0", places)
    assert found is not None
    assert (found.path, found.mmproj) == (snapshot / "x-Q8_0.gguf", snapshot / "mmproj-F16.gguf")
    assert found.all_files == (found.path, found.mmproj)


def test_nothing_is_found_where_nothing_is(places: Places) -> None:
    for text in ("hf:acme/tiny", "ollama:tiny", "https://host/tiny.gguf"):
        assert find(text, places) is None


def test_the_preferred_quantization_is_taken_without_the_hubs_list(places: Places) -> None:
    """Another one may be the accident of another program; the hub is asked then."""
    cached(places, "x-Q2_K.gguf")
    assert find("hf:acme/tiny", places) is None
    assert find("hf:acme/tiny:Q2_K", places) is not None
    assert find("hf:acme/tiny/x-Q2_K.gguf", places) is not None
    cached(places, "x-Q4_K_M.gguf")
    assert find("hf:acme/tiny", places) is not None


def test_the_hubs_list_says_what_is_missing(places: Places) -> None:
    """With the list, a projector that was not downloaded makes the model incomplete."""
    listed = ("x-Q5_0.gguf", "mmproj-F16.gguf")
    cached(places, "x-Q5_0.gguf", tree=listed)
    assert find("hf:acme/tiny", places) is None
    cached(places, "mmproj-F16.gguf", tree=listed)
    assert find("hf:acme/tiny", places) is not None


@pytest.mark.parametrize("content", [b"{", b'{"format_version": 2, "files": {}}', b"[]"])
def test_a_list_that_cannot_be_read_counts_as_none(places: Places, content: bytes) -> None:
    cached(places, "x-Q4_K_M.gguf", tree=("other.gguf",))
    (places.repository("acme/tiny") / "trees" / f"{NEW}.json").write_bytes(content)
    assert find("hf:acme/tiny", places) is not None


def test_an_older_whole_revision_serves_while_a_newer_one_is_incomplete(places: Places) -> None:
    parts = ("x-Q8_0-00001-of-00002.gguf", "x-Q8_0-00002-of-00002.gguf")
    whole = cached(places, *parts, commit=OLD)
    cached(places, parts[0], commit=NEW)
    found = find("hf:acme/tiny:Q8_0", places)
    assert found is not None
    assert found.files == tuple(whole / part for part in parts)


def test_a_link_without_its_blob_is_no_file(places: Places) -> None:
    cached(places, "x-Q4_K_M.gguf")
    for blob in (places.repository("acme/tiny") / "blobs").iterdir():
        blob.unlink()
    assert find("hf:acme/tiny", places) is None


def test_a_folder_of_safetensors_has_all_its_parts(places: Places) -> None:
    name = "model.safetensors.index.json"
    snapshot = cached(places, "config.json", "model-00001-of-00002.safetensors", name)
    index = {"weight_map": {f"t{n}": f"model-0000{n}-of-00002.safetensors" for n in (1, 2)}}
    (snapshot / name).write_text(json.dumps(index))
    assert find("hf:acme/tiny", places) is None
    cached(places, "model-00002-of-00002.safetensors")
    found = find("hf:acme/tiny", places)
    assert found is not None
    assert found.path == snapshot
    (snapshot / name).write_text("{")
    assert find("hf:acme/tiny", places) is None


def store(path: Path, layers: dict[str, bytes], *, name: str = "tiny") -> Path:
    """Write a model into a store as Ollama does."""
    manifest_path = path / "manifests" / "registry.ollama.ai" / "library" / name / "latest"
    manifest_path.parent.mkdir(parents=True, exist_ok=True)
    (path / "blobs").mkdir(exist_ok=True)
    listed: list[dict[str, object]] = []
    for kind, data in layers.items():
        digest = sha256(data).hexdigest()
        (path / "blobs" / f"sha256-{digest}").write_bytes(data)
        media = f"application/vnd.ollama.image.{kind}"
        listed.append({"mediaType": media, "digest": f"sha256:{digest}", "size": len(data)})
    manifest_path.write_text(json.dumps({"schemaVersion": 2, "layers": listed}))
    return manifest_path


@pytest.mark.parametrize("index", [0, -1])
def test_a_model_of_any_store_is_found(places: Places, index: int) -> None:
    """Ollama's own, and the one of ours."""
    store(places.ollama[index], {"model": b"weights", "projector": b"eye", "params": b"{}"})
    found = find("ollama:tiny", places)
    assert found is not None
    assert found.mmproj is not None
    assert (found.path.read_bytes(), found.mmproj.read_bytes()) == (b"weights", b"eye")


def test_a_store_with_a_missing_or_short_blob_has_no_model(places: Places) -> None:
    store(places.ollama[0], {"model": b"weights"})
    (blob,) = (places.ollama[0] / "blobs").iterdir()
    blob.write_bytes(b"weigh")
    assert find("ollama:tiny", places) is None
    blob.unlink()
    assert find("ollama:tiny", places) is None


def test_single_tensors_are_no_model(places: Places) -> None:
    store(places.ollama[0], {"tensor": b"t"})
    assert find("ollama:tiny", places) is None


def test_files_of_an_address_lie_together(places: Places) -> None:
    """All parts of a split file; another query is another file."""
    source = parse_source("https://me:pw@Host/d/x-00001-of-00002.gguf?v=1")
    other = parse_source("https://host/d/x-00001-of-00002.gguf?v=2")
    files = list(places.files_of(source))  # type: ignore[arg-type]  # it is an address
    assert [path.name for path in files] == ["x-00001-of-00002.gguf", "x-00002-of-00002.gguf"]
    assert "pw" not in str(files[0])
    files[0].parent.mkdir(parents=True)
    files[0].write_bytes(b"1")
    assert locate(source, places) is None
    files[1].write_bytes(b"2")
    found = locate(source, places)
    assert found is not None
    assert found.files == tuple(files)
    assert locate(other, places) is None


def test_the_environment_says_where_to_look(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    cached(Places.usual(), "x-Q4_K_M.gguf")
    found = located("hf:acme/tiny")
    assert found is not None
    assert found.path.is_relative_to(tmp_path / "hub")
    with pytest.raises(ValueError, match="names no source"):
        located("tiny")
