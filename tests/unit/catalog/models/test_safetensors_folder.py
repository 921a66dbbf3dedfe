"""Folders of safetensors files: models for vLLM and SGLang, or something else."""

from __future__ import annotations

import json
import struct
from typing import TYPE_CHECKING, Any

import pytest

from modelswap.catalog.found import ModelFormat, ModelKind
from modelswap.catalog.roots import Root
from modelswap.catalog.scan import Catalog, scan

if TYPE_CHECKING:
    from pathlib import Path

    from modelswap.catalog.found import FoundModel

CHAT = {
    "architectures": ["Qwen3ForCausalLM"],
    "model_type": "qwen3",
    "max_position_embeddings": 40960,
    "torch_dtype": "bfloat16",
}


def write_weights(path: Path, dtype: str = "BF16", shape: tuple[int, ...] = (8, 4)) -> None:
    size = 2 * shape[0] * shape[1]
    header = json.dumps(
        {
            "__metadata__": {"format": "pt"},
            "w": {"dtype": dtype, "shape": shape, "data_offsets": [0, size]},
        }
    ).encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(struct.pack("<Q", len(header)) + header + b"\0" * size)


def write_model(folder: Path, config: dict[str, Any] = CHAT, parts: int = 1, **files: Any) -> Path:
    names = [f"model-{n + 1:05}-of-{parts:05}.safetensors" for n in range(parts)]
    for name in names:
        write_weights(folder / name)
    if parts > 1:
        index = {"weight_map": {f"w{n}": name for n, name in enumerate(names)}}
        (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    (folder / "config.json").write_text(json.dumps(config))
    for name, content in files.items():
        (folder / f"{name}.json").write_text(json.dumps(content))
    return folder


def scanned(path: Path) -> Catalog:
    return scan([Root(path)])


def only(path: Path) -> FoundModel:
    (model,) = scanned(path).models
    return model


def test_a_folder_is_a_model(tmp_path: Path) -> None:
    """Named after the folder; what its configuration says is told."""
    folder = write_model(
        tmp_path / "Qwen3-8B", tokenizer_config={"chat_template": "{% if tools %}<think>"}
    )
    model = only(tmp_path)
    assert (model.id, model.path, model.format) == ("qwen3-8b", folder, ModelFormat.SAFETENSORS)
    assert (model.architecture, model.quantization, model.context_length) == (
        "qwen3",
        "bf16",
        40960,
    )
    assert (model.parameters, model.tools, model.reasoning, model.problem) == (32, True, True, "")
    assert model.size == sum(path.stat().st_size for path in folder.glob("*.safetensors"))


def test_parts_are_listed_by_the_index(tmp_path: Path) -> None:
    """A part that the index lists and the folder lacks is said; files beside it do not count."""
    folder = write_model(tmp_path / "m", parts=3)
    write_weights(folder / "consolidated.safetensors")
    assert (len(only(tmp_path).files), only(tmp_path).parameters) == (3, 96)
    (folder / "model-00002-of-00003.safetensors").unlink()
    assert only(tmp_path).problem == "lacks 1 of its 3 files: model-00002-of-00003.safetensors"


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"architectures": ["BertModel"]}, ("m", ModelKind.EMBEDDING, "", False)),
        ({"architectures": ["XLMRobertaForSequenceClassification"]}, ("m", ModelKind.RERANK, "", False)),
        ({"quantization_config": {"quant_method": "awq", "bits": 4}}, ("m", ModelKind.CHAT, "awq-4bit", False)),
        ({"quantization_config": {"quant_method": "fp8"}}, ("m", ModelKind.CHAT, "fp8", False)),
        ({"quantization": {"bits": 4, "group_size": 64}}, ("m", ModelKind.CHAT, "mlx-4bit", False)),
        ({"vision_config": {"x": 1}, "text_config": {"dtype": "float16"}}, ("m", ModelKind.CHAT, "f16", True)),
    ],
)  # fmt: skip
def test_a_configuration_tells_the_kind(
    config: dict[str, Any], expected: tuple[object, ...], tmp_path: Path
) -> None:
    """Architectures, quantizations and encoders as they are written for transformers and MLX."""
    write_model(tmp_path / "m", config)
    model = only(tmp_path)
    assert (model.id, model.kind, model.quantization, model.vision) == expected


def test_weights_in_two_formats_count_once(tmp_path: Path) -> None:
    """Mistral's repositories hold the same weights twice."""
    folder = write_model(tmp_path / "m")
    write_weights(folder / "consolidated.safetensors")
    assert [path.name for path in only(tmp_path).files] == ["model-00001-of-00001.safetensors"]


def test_models_that_share_a_configuration_are_two(tmp_path: Path) -> None:
    """Their weights tell them apart."""
    first, second = write_model(tmp_path / "a"), write_model(tmp_path / "b")
    (second / "config.json").unlink()
    (second / "config.json").symlink_to(first / "config.json")
    (second / "model.safetensors.index.json").write_text('{"weight_map": {}}')
    assert [model.id for model in scanned(tmp_path).models] == ["a", "b"]


def test_packed_weights_are_not_counted(tmp_path: Path) -> None:
    """One element of a quantized tensor holds several parameters."""
    write_weights(write_model(tmp_path / "m") / "model-00001-of-00001.safetensors", dtype="I32")
    assert only(tmp_path).parameters is None


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("config.json", "{"),
        ("config.json", "[1]"),
        ("config.json", '{"max_position_embeddings": "many"}'),
        ("config.json", "[" * 100_000),
        ("model.safetensors.index.json", '{"weight_map": {"a": "../../etc/passwd"}}'),
        ("model-00001-of-00001.safetensors", ""),
        ("model-00001-of-00001.safetensors", "version https://git-lfs.github.com/spec/v1"),
        ("model-00001-of-00001.safetensors", "\x7f\0\0\0\0\0\0\0{}"),
        ("model-00001-of-00001.safetensors", "\2\0\0\0\0\0\0\0[]"),
        ("model-00001-of-00001.safetensors", '\x0e\0\0\0\0\0\0\0{"a":{"b":12}}'),
    ],
)
def test_a_broken_folder_is_listed_with_its_reason(name: str, content: str, tmp_path: Path) -> None:
    """Whatever a file holds, the model has a problem and no other model is touched."""
    (write_model(tmp_path / "m") / name).write_text(content)
    write_model(tmp_path / "good")
    found = {model.id: model.problem for model in scanned(tmp_path).models}
    assert found["good"] == ""
    assert found["m"]


def test_cut_off_weights_are_said(tmp_path: Path) -> None:
    """A download that has not ended."""
    path = write_model(tmp_path / "m") / "model-00001-of-00001.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    assert "is cut off: its tensors have 64 bytes, 63 are there" in only(tmp_path).problem


def test_adapters_and_pipelines_are_set_aside(tmp_path: Path) -> None:
    """A LoRA, and a model of images with its parts in folders."""
    write_weights(tmp_path / "lora" / "adapter_model.safetensors")
    (tmp_path / "lora" / "adapter_config.json").write_text("{}")
    write_model(tmp_path / "sdxl" / "text_encoder")
    (tmp_path / "sdxl" / "model_index.json").write_text("{}")
    found = scanned(tmp_path)
    assert found.models == ()
    assert [remark.text.partition(":")[0] for remark in found.set_aside] == [
        "is an adapter (LoRA)",
        "is a pipeline that makes images or videos, not a language model",
    ]


def test_parts_of_a_sentence_transformer_are_no_models(tmp_path: Path) -> None:
    """Its layers lie in folders that look like models."""
    write_model(tmp_path / "st", {"architectures": ["Gemma3TextModel"]}, modules=[])
    write_model(tmp_path / "st" / "2_Dense", {})
    assert (only(tmp_path).id, only(tmp_path).kind) == ("st", ModelKind.EMBEDDING)
