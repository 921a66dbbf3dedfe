"""Makes a model of a folder with `config.json` and safetensors files, as vLLM and SGLang serve it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import msgspec

from modelswap.catalog.files import Remark
from modelswap.catalog.found import FoundModel, ModelFormat, ModelKind
from modelswap.catalog.names import meaningful
from modelswap.catalog.small_files import read_start
from modelswap.catalog.unnamed_model import UnnamedModel, choose
from modelswap.units import Bytes

from .summary import REASONING, TOOLS, BrokenFile, total

if TYPE_CHECKING:
    from collections.abc import Callable

    from modelswap.catalog.files import Folder, FoundFile
    from modelswap.catalog.unnamed_model import Place

    from .summary import SafetensorsSummary

    Read = Callable[[FoundFile], SafetensorsSummary | BrokenFile]

T = TypeVar("T")
_ENDING: Final = ".safetensors"
_CONFIG: Final = "config.json"
_INDEX: Final = "model.safetensors.index.json"
MOST_JSON: Final = Bytes(32 << 20)
"""The longest file of JSON that is read: indices of many tensors have some megabytes."""
_NAMED: Final = 3
"""Missing files that a message names."""
_WHOLE: Final = {"F64", "F32", "F16", "BF16", "F8_E4M3", "F8_E5M2"}
"""Types of tensors that hold one parameter in each element; quantized ones pack several."""


class _Quantization(msgspec.Struct):
    quant_method: str = ""
    bits: int | None = None
    quant_algo: str = ""


class _Config(msgspec.Struct):
    """Of `config.json`; other keys are ignored."""

    architectures: list[str] | None = None
    model_type: str = ""
    max_position_embeddings: int | None = None
    torch_dtype: str | None = None
    dtype: str | None = None
    vision_config: Any = None
    audio_config: Any = None
    text_config: _Config | None = None
    quantization_config: _Quantization | None = None
    quantization: _Quantization | None = None
    """As MLX writes it."""


class _Index(msgspec.Struct):
    weight_map: dict[str, str]


_CONFIG_DECODER: Final = msgspec.json.Decoder(_Config)
_INDEX_DECODER: Final = msgspec.json.Decoder(_Index)
"""Made here, as the first use of a type on two threads at once crashes msgspec 0.22."""


@dataclass(frozen=True, slots=True)
class FolderVerdict:
    candidate: UnnamedModel | None = None
    set_aside: Remark | None = None
    """Why the folder is no model, where it looks like one."""
    hides_folders: bool = False
    """Whether the folders inside are parts of this one."""


def find_model(folder: Folder, place: Place, read: Read) -> FolderVerdict:
    names = folder.files.keys()
    weights = [file for name, file in folder.files.items() if name.lower().endswith(_ENDING)]
    if "model_index.json" in names:
        aside = Remark(
            folder.path, "is a pipeline that makes images or videos, not a language model"
        )
        return FolderVerdict(set_aside=aside, hides_folders=True)
    if "adapter_config.json" in names:
        aside = Remark(folder.path, "is an adapter (LoRA): it changes another model")
        return FolderVerdict(set_aside=aside if weights else None)
    if _CONFIG not in names or not weights:
        return FolderVerdict()
    candidate = _candidate(folder, place, weights, read)
    return FolderVerdict(candidate=candidate, hides_folders="modules.json" in names)


def _candidate(folder: Folder, place: Place, weights: list[FoundFile], read: Read) -> UnnamedModel:
    problem = ""
    config = _Config()
    try:
        config = _decode(folder.files[_CONFIG], _CONFIG_DECODER)
        weights = listed(folder, weights)
    except (OSError, ValueError, RecursionError) as error:
        problem = _said(error)
    summaries = [read(file) for file in weights]
    for file, found in zip(weights, summaries, strict=True):
        if isinstance(found, BrokenFile):
            problem = problem or f"{file.name} {found.text}"
    template = _template(folder)
    base = place.title or meaningful(place.root) or "model"
    files = tuple(Path(file.path) for file in weights)
    inner = config.text_config or config
    model = FoundModel(
        id="",
        aliases=(),
        path=Path(folder.path),
        files=files,
        size=Bytes(sum(file.size for file in weights)),
        format=ModelFormat.SAFETENSORS,
        source=place.source,
        kind=_kind(config, folder, base),
        architecture=config.model_type or next(iter(config.architectures or ()), ""),
        quantization=_quantization(config),
        parameters=_parameters(summaries),
        context_length=inner.max_position_embeddings or config.max_position_embeddings,
        vision=config.vision_config is not None,
        audio=config.audio_config is not None,
        tools=bool(TOOLS.search(template)),
        reasoning=bool(REASONING.search(template)),
        problem=problem,
    )
    choice = choose(place, base, base, "", folder.path, alone=False, is_broken=bool(problem))
    return UnnamedModel(model, choice, weights[0].identity)


def _said(error: Exception) -> str:
    if isinstance(error, OSError):
        return f"cannot be read: {error.strerror}"
    return str(error)


def _decode(file: FoundFile, decoder: msgspec.json.Decoder[T]) -> T:
    if file.size > MOST_JSON:
        raise ValueError(f"has a {file.name} of {file.size} bytes; at most {MOST_JSON} are read")
    try:
        return decoder.decode(read_start(Path(file.path), MOST_JSON))
    except msgspec.MsgspecError as error:
        raise ValueError(f"has a {file.name} that is not as expected: {error}") from None


def listed(folder: Folder, weights: list[FoundFile]) -> list[FoundFile]:
    """Return the files of the model: those of the index; raise for the ones that are not there.

    Mistral's own format, `consolidated`, lies beside the same weights in the usual one.
    """
    index = folder.files.get(_INDEX)
    names = sorted(set(_decode(index, _INDEX_DECODER).weight_map.values())) if index else []
    if not names:
        return [each for each in weights if not each.name.startswith("consolidated")] or weights
    missing = [name for name in names if name not in folder.files]
    if missing:
        others = f" and {len(missing) - _NAMED} more" if len(missing) > _NAMED else ""
        raise ValueError(
            f"lacks {len(missing)} of its {len(names)} files: {', '.join(missing[:_NAMED])}{others}"
        )
    return [folder.files[name] for name in names]


def _template(folder: Folder) -> str:
    """Return the text that holds the chat template; empty where there is none."""
    for name in ("chat_template.jinja", "chat_template.json", "tokenizer_config.json"):
        file = folder.files.get(name)
        if file is not None and file.size <= MOST_JSON:
            try:
                return read_start(Path(file.path), MOST_JSON).decode("utf-8", "replace")
            except OSError:
                continue
    return ""


def _kind(config: _Config, folder: Folder, name: str) -> ModelKind:
    architecture = next(iter(config.architectures or ()), "")
    if architecture.endswith("ForSequenceClassification") or "rerank" in name:
        return ModelKind.RERANK
    is_sentence = "modules.json" in folder.files
    if is_sentence or architecture.endswith(("Model", "ForMaskedLM")) or "embed" in name:
        return ModelKind.EMBEDDING
    return ModelKind.CHAT


def _quantization(config: _Config) -> str:
    inner = config.text_config or config
    quantized = config.quantization_config or inner.quantization_config
    if quantized is not None and (quantized.quant_method or quantized.quant_algo):
        bits = f"-{quantized.bits}bit" if quantized.bits else ""
        return (quantized.quant_method or quantized.quant_algo).lower() + bits
    if config.quantization is not None and config.quantization.bits:
        return f"mlx-{config.quantization.bits}bit"
    dtype = config.dtype or config.torch_dtype or inner.dtype or inner.torch_dtype or ""
    return {"bfloat16": "bf16", "float16": "f16", "float32": "f32"}.get(dtype, "")


def _parameters(summaries: list[SafetensorsSummary | BrokenFile]) -> int | None:
    counts: list[int] = []
    for found in summaries:
        if isinstance(found, BrokenFile) or not _WHOLE.issuperset(found.dtypes):
            return None
        counts.append(found.parameters)
    return total(counts)
