"""Every key of `discover`: where models are looked for, and how those that are found are started."""

from __future__ import annotations

from typing import Final

from modelswap.deferred import dataclass

from .field_types import ListOf, OneOrMore, Record, Text, key
from .schema import RawModel

STORES: Final = ("huggingface", "lmstudio", "ollama")
"""Stores of other programs that are read."""


@dataclass(frozen=True, repr=False, eq=False)
class RawTemplate(RawModel):
    """How the found models that `match` fits are served: any keys of a model, and these."""

    match: tuple[str, ...] = key(
        "match",
        OneOrMore(Text()),
        (),
        "Patterns with `*`, `?` and `[…]` for the id, an alias, the architecture, the kind (`chat`, "
        "`embedding`, `rerank`) or the format (`gguf`, `safetensors`); none: every model.",
        shown="all",
    )
    args: str = key("args", Text(), "", "Arguments that are added to the command.")


@dataclass(frozen=True, repr=False, eq=False)
class RawDiscover:
    paths: tuple[str, ...] = key(
        "paths", OneOrMore(Text()), (), "Folders; every model at any depth of them is served."
    )
    stores: tuple[str, ...] = key(
        "stores",
        OneOrMore(Text(STORES)),
        (),
        "Stores of other programs, read-only: `huggingface`, `lmstudio`, `ollama`.",
    )
    presets: tuple[str, ...] = key(
        "presets",
        OneOrMore(Text()),
        (),
        "Presets of llama.cpp's router (INI): `[*]` for all models, a section for a model's own options.",
    )
    templates: tuple[RawTemplate, ...] = key(
        "templates",
        ListOf(Record(RawTemplate)),
        (),
        "How found models are started. All that match count: a later one's keys win, `args` add up. "
        "`cmd` may hold `${MODEL_PATH}`, `${MODEL_ARGS}`, `${MODEL_ID}` and `${PORT}`.",
    )
