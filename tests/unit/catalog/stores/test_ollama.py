"""Ollama's store: manifests that name blobs."""

from __future__ import annotations

import json
import os
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import pytest

from modelswap.catalog.found import ModelKind, ModelSource
from modelswap.catalog.roots import Root
from modelswap.catalog.scan import Catalog, scan
from support.gguf_builder import GgufBuilder, Tensor, chat_model, projector

if TYPE_CHECKING:
    from pathlib import Path

KIND = "application/vnd.ollama.image."


class OllamaStore:
    def __init__(self, path: Path) -> None:
        self.path = path
        (path / "blobs").mkdir(parents=True)

    def blob(self, content: bytes | GgufBuilder) -> dict[str, Any]:
        """Write a blob; return its layer, without a kind."""
        data = content if isinstance(content, bytes) else content.header()
        digest = sha256(data).hexdigest()
        path = self.path / "blobs" / f"sha256-{digest}"
        if isinstance(content, bytes):
            path.write_bytes(content)
        else:
            content.write(path)
        return {"digest": f"sha256:{digest}", "size": path.stat().st_size}

    def manifest(self, *layers: tuple[str, dict[str, Any]], **other: Any) -> dict[str, Any]:
        return {
            "schemaVersion": 2,
            "layers": [{"mediaType": KIND + kind, **layer} for kind, layer in layers],
            **other,
        }

    def put(self, name: str, manifest: object, folder: str = "manifests") -> Path:
        host = "" if name.count("/") > 2 else "registry.ollama.ai/"
        path = self.path / folder / f"{host}{name}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(manifest if isinstance(manifest, str) else json.dumps(manifest))
        return path

    def model(self, name: str, *others: tuple[str, dict[str, Any]]) -> Path:
        return self.put(name, self.manifest(("model", self.blob(chat_model())), *others))


@pytest.fixture
def store(tmp_path: Path) -> OllamaStore:
    return OllamaStore(tmp_path / "models")


def scanned(store: OllamaStore) -> Catalog:
    return scan([Root(store.path, ModelSource.OLLAMA)])


def problem(store: OllamaStore) -> str:
    (model,) = scanned(store).models
    return model.problem


def test_a_manifest_is_a_model(store: OllamaStore) -> None:
    """With Ollama's name, its parameters, projector and adapters."""
    params = {
        "temperature": 0.6,
        "stop": ["<|im_end|>"],
        "num_ctx": 4096,
        "x": {"y": 1},
        "penalize_newline": True,
    }
    config = store.blob(b'{"model_format": "gguf", "file_type": "Q4_K_M", "new": 1}')
    weights, mmproj, lora = store.blob(chat_model()), store.blob(projector()), store.blob(b"lora")
    store.put(
        "library/qwen3/8b",
        store.manifest(
            ("model", weights), ("projector", mmproj), ("adapter", lora),
            ("params", store.blob(json.dumps(params).encode())), ("template", store.blob(b"{{ .Tools }}")),
            config=config,
        ),
    )  # fmt: skip
    (model,) = scanned(store).models
    assert (model.id, model.aliases) == ("qwen3:8b", ("qwen3",))
    assert model.path == store.path / "blobs" / weights["digest"].replace(":", "-")
    assert model.mmproj == store.path / "blobs" / mmproj["digest"].replace(":", "-")
    assert [path.read_bytes() for path in model.adapters] == [b"lora"]
    assert model.options == {
        "temperature": "0.6", "stop": '["<|im_end|>"]', "num_ctx": "4096", "penalize_newline": "true",
    }  # fmt: skip
    assert (model.quantization, model.vision, model.kind) == ("q4_k_m", True, ModelKind.CHAT)
    assert model.size == weights["size"] + mmproj["size"] + lora["size"]
    assert (model.source, model.problem) == (ModelSource.OLLAMA, "")


def test_names_are_those_of_ollama(store: OllamaStore) -> None:
    """Its own host and library are left out, others are not."""
    store.model("library/qwen3/8b", ("params", store.blob(b"{}")))
    store.model("someone/Tuned/v1", ("params", store.blob(b"[]")))
    store.model("hf.co/bartowski/Llama-3.2-1B-GGUF/Q4_K_M", ("params", store.blob(b"1")))
    found = {model.id: model.aliases for model in scanned(store).models}
    assert found.keys() == {
        "qwen3:8b",
        "someone/tuned:v1",
        "hf.co/bartowski/llama-3.2-1b-gguf:q4_k_m",
    }
    assert (
        "hf.co/bartowski/Llama-3.2-1B-GGUF:Q4_K_M"
        in found["hf.co/bartowski/llama-3.2-1b-gguf:q4_k_m"]
    )


def test_names_of_the_same_blobs_are_one_model(store: OllamaStore) -> None:
    """`latest` is an alias; a name with parameters of its own is a model of its own."""
    for tag in ("latest", "8b"):
        store.model(f"library/qwen3/{tag}")
    store.model("library/mine/latest", ("params", store.blob(b'{"temperature": 0}')))
    found = {model.id: model.aliases for model in scanned(store).models}
    assert found == {"mine:latest": ("mine",), "qwen3:8b": ("qwen3", "qwen3:latest")}


@pytest.mark.parametrize(
    "digest",
    [
        "../../etc/passwd",
        "sha256:../../../etc/passwd",
        "sha256:" + "a" * 63,
        "sha256-" + "g" * 64,
        "/etc/passwd",
        "",
    ],
)
def test_a_manifest_that_points_outside_is_refused(digest: str, store: OllamaStore) -> None:
    """Only a digest names a blob."""
    store.put("library/evil/latest", store.manifest(("model", {"digest": digest, "size": 1})))
    assert problem(store) == f"has a manifest that names {digest!r} instead of a blob of its store"


def test_a_manifest_that_is_a_link_out_is_refused(store: OllamaStore, tmp_path: Path) -> None:
    """A link to a blob is the newer layout; a link to anything outside is not followed."""
    outside = tmp_path / "outside.json"
    outside.write_text(json.dumps(store.manifest(("model", store.blob(chat_model())))))
    path = store.put("library/evil/latest", "")
    path.unlink()
    path.symlink_to(outside)
    assert "points outside its store" in problem(store)


def test_the_newer_layout_is_read(store: OllamaStore) -> None:
    """Names are links to blobs, and a list names one manifest for each program."""
    child = store.manifest(("model", store.blob(chat_model())))
    reference = store.blob(json.dumps(child).encode())["digest"]
    listing = {
        "mediaType": "application/vnd.ollama.manifest.list.v2+json",
        "manifests": [{"runner": "mlx", "layers": []}, {"runner": "llamacpp", "digest": reference}],
    }
    digest = store.blob(json.dumps(listing).encode())["digest"]
    path = store.put("library/qwen3/8b", "", "manifests-v2")
    path.unlink()
    path.symlink_to(os.path.relpath(store.path / "blobs" / digest.replace(":", "-"), path.parent))
    store.put("library/qwen3/8b", "no manifest")  # the older layout, which the newer one replaces
    (model,) = scanned(store).models
    assert (model.id, model.problem) == ("qwen3:8b", "")


def test_a_list_for_other_programs_is_said(store: OllamaStore) -> None:
    """A model that is there for MLX only."""
    listing = {
        "mediaType": "application/vnd.ollama.manifest.list.v2+json",
        "manifests": [{"runner": "mlx", "layers": []}],
    }
    store.put("library/qwen3/8b", listing)
    assert problem(store) == "is there for mlx only, not for llama.cpp"


def test_missing_and_partial_blobs_are_said(store: OllamaStore) -> None:
    """A blob that was removed, one that is being downloaded, one of the wrong size."""
    path = store.model("library/qwen3/8b")
    layer = json.loads(path.read_text())["layers"][0]
    blob = store.path / "blobs" / layer["digest"].replace(":", "-")
    os.truncate(blob, 100)
    assert problem(store) == f"needs {blob.name} with {layer['size']} bytes; the file has 100"
    blob.unlink()
    assert problem(store) == f"needs {blob.name}, which is not in the store"
    blob.with_name(f"{blob.name}-partial").touch()
    assert problem(store) == f"is still being downloaded: of {blob.name} only a part is there"


@pytest.mark.parametrize(
    ("layers", "text"),
    [
        ([("model", b"{}")], "starts with b'{}' instead of b'GGUF'"),
        ([("tensor; name=x", b"x")], "is kept as single tensors for Ollama's own engine"),
        ([("license", b"x")], "has no weights in its manifest"),
        ([("model", chat_model(general__architecture="gptoss"))], "Ollama's own engine"),
        (
            [("model", GgufBuilder({"general.architecture": "llama4"}, [Tensor("v.x", (4,))]))],
            "holds an image or sound encoder",
        ),
        ([("model", chat_model()), ("model", chat_model("B"))], "has 2 files of weights"),
        ([("model", chat_model()), ("projector", b"x")], "has a projector"),
    ],
)
def test_what_llama_cpp_cannot_load_is_said(
    layers: list[tuple[str, bytes | GgufBuilder]], text: str, store: OllamaStore
) -> None:
    """The model is listed with its reason, at its manifest, whose path has its name."""
    written = [(kind, store.blob(content)) for kind, content in layers]
    path = store.put("library/x/latest", store.manifest(*written))
    (model,) = scanned(store).models
    assert text in model.problem
    assert model.path == path


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"layers": 5}', '{"layers": [{"digest": 5}]}', "[" * 100_000]
)
def test_a_broken_manifest_harms_nothing(text: str, store: OllamaStore) -> None:
    """It is listed; the others are served."""
    store.put("library/broken/latest", text)
    store.model("library/qwen3/8b")
    found = {model.id: bool(model.problem) for model in scanned(store).models}
    assert found == {"broken:latest": True, "qwen3:8b": False}


def test_models_of_the_cloud_are_set_aside(store: OllamaStore) -> None:
    """Nothing of them is on the disk."""
    config = store.blob(b'{"remote_host": "https://ollama.com", "remote_model": "big"}')
    store.put("library/big/cloud", store.manifest(config=config))
    found = scanned(store)
    assert (found.models, [remark.text for remark in found.set_aside]) == (
        (), ["runs on https://ollama.com: nothing of it is here"],
    )  # fmt: skip


def test_a_store_inside_a_folder_is_recognized(store: OllamaStore, tmp_path: Path) -> None:
    """Its blobs are not looked at one by one."""
    store.model("library/qwen3/8b")
    assert [model.id for model in scan([Root(tmp_path)]).models] == ["qwen3:8b"]


def test_other_files_are_passed_over(store: OllamaStore) -> None:
    """Manifests lie four folders deep; what the system leaves elsewhere is none."""
    store.model("library/qwen3/8b")
    (store.path / "manifests" / ".DS_Store").touch()
    (store.path / "manifests" / "notes").touch()
    (store.path / "manifests" / "registry.ollama.ai" / "library" / "qwen3" / "loop").symlink_to(
        ".."
    )
    assert [model.id for model in scanned(store).models if not model.problem] == ["qwen3:8b"]
