"""What is known of a model that was found on disk."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from modelswap.units import Bytes


class ModelKind(Enum):
    """What a model is for; it decides how its server is started."""

    CHAT = "chat"
    EMBEDDING = "embedding"
    RERANK = "rerank"


class ModelFormat(Enum):
    GGUF = "gguf"
    SAFETENSORS = "safetensors"


class ModelSource(Enum):
    """Whose folder it was found in."""

    FOLDER = "folder"
    HUGGING_FACE = "huggingface"
    LM_STUDIO = "lmstudio"
    OLLAMA = "ollama"
    PRESET = "preset"
    """In none: a preset of llama.cpp's router names its file."""


@dataclass(frozen=True, slots=True)
class FoundModel:
    """One model: it can be served when `problem` is empty."""

    id: str
    """The name that people type, such as `qwen3-8b:q4_k_m`; unique in a catalog."""
    aliases: tuple[str, ...]
    """Shorter names that no other model has."""
    path: Path
    """What a server is given: the first file of a GGUF model, the folder of a safetensors model."""
    files: tuple[Path, ...]
    """All files of its weights, in order."""
    size: Bytes
    """Of all `files` and the `mmproj`."""
    format: ModelFormat
    source: ModelSource
    kind: ModelKind = ModelKind.CHAT
    mmproj: Path | None = None
    """The projector of a model that takes images or sound."""
    architecture: str = ""
    """As the file says: `llama`, `qwen3moe`, `bert`."""
    quantization: str = ""
    """Lower case: `q4_k_m`; empty where it is not known."""
    parameters: int | None = None
    context_length: int | None = None
    """Tokens that it was trained for."""
    vision: bool = False
    audio: bool = False
    tools: bool = False
    """Its chat template takes tools."""
    reasoning: bool = False
    """Its chat template makes it think aloud."""
    options: dict[str, str] = field(default_factory=dict[str, str])
    """Parameters that its store holds for it, such as Ollama's `temperature`; a list is written as JSON."""
    adapters: tuple[Path, ...] = ()
    """LoRA files that its store applies to it."""
    problem: str = ""
    """Why it cannot be served."""
