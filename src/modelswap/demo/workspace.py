"""Writes the folder of the demonstration: three models and a configuration."""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from .weights import Pooling, write_model

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class DemoModel:
    id: str
    description: str
    layers: int
    pooling: Pooling | None = None

    @property
    def is_chat(self) -> bool:
        return self.pooling is None


MODELS: Final = (
    DemoModel("ada", "chats (gibberish)", layers=2),
    DemoModel("bob", "chats (other gibberish)", layers=4),
    DemoModel("vec", "makes embeddings", layers=2, pooling="mean"),
)

_HEAD: Final = """\
# Written by `modelswap demo`. Requests name a model; the right server runs.
healthCheckTimeout: 60
startPort: {start_port}
models:
"""
_MODEL: Final = """\
  {id}:
    description: {description}
    cmd: >
      ${{llama-server}} --host 127.0.0.1 --port ${{PORT}}
      --model {file} --ctx-size 2048 --parallel 2{more}
"""


def build(folder: Path, *, start_port: int) -> Path:
    """Write the models that are missing, and the configuration; return its path."""
    folder.mkdir(parents=True, exist_ok=True)
    text = _HEAD.format(start_port=start_port)
    for seed, model in enumerate(MODELS):
        file = folder / f"{model.id}.gguf"
        if not file.exists():
            _write(file, model, seed)
        text += _MODEL.format(
            id=model.id,
            description=json.dumps(model.description),
            file=shlex.quote(str(file)),
            more="" if model.is_chat else " --embeddings",
        )
    config = folder / "config.yaml"
    config.write_text(text, encoding="utf-8")
    return config


def _write(file: Path, model: DemoModel, seed: int) -> None:
    """Write the model under another name first: the next run would use a half-written one."""
    part = file.with_suffix(".part")
    write_model(part, seed=seed, layers=model.layers, pooling=model.pooling, name=model.id)
    part.replace(file)
