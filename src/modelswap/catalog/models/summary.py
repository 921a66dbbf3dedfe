"""What the catalog keeps of a file's header: small enough to be cached for a thousand files."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

import msgspec

from modelswap.catalog.gguf.metadata import TEMPLATE

from .foreign_layout import misfit

if TYPE_CHECKING:
    from collections.abc import Iterable

    from modelswap.catalog.gguf.header import GgufHeader

TOOLS: Final = re.compile(r"\btools\b|\btool_calls?\b|\bfunctions\b")
"""How chat templates name the tools that a request offers."""
REASONING: Final = re.compile(
    r"<think>|</think>|\[THINK\]|<\|?thinking\|?>|enable_thinking|reasoning_content|reasoning_effort"
    r"|<\|channel\|>|\bthinking\b",
)
"""How chat templates name thoughts that come before the response."""

_LONGEST: Final = 200
"""Characters of a name that are kept."""
MOST_PARAMETERS: Final = 1 << 62
"""As many as a signed number of 64 bits counts."""


class GgufSummary(
    msgspec.Struct, frozen=True, tag_field="of", tag="gguf", omit_defaults=True, gc=False
):
    """`None` and the empty string stand for what the file does not say."""

    version: int
    architecture: str = ""
    type: str = ""
    """`general.type`: model, adapter, mmproj, imatrix."""
    name: str = ""
    basename: str = ""
    size_label: str = ""
    finetune: str = ""
    file_type: int | None = None
    """llama.cpp's number of the quantization."""
    parameters: int = 0
    tensors: int = 0
    blocks: int | None = None
    has_first_block: bool = True
    """Whether the tensors of layer 0 are there: a sidecar has only a late layer."""
    context_length: int | None = None
    embedding_length: int | None = None
    pooling: int | None = None
    """llama.cpp's number of the pooling: 1 mean, 2 cls, 3 last, 4 rank."""
    is_causal: bool = True
    labels: int = 0
    """Classes that a classifier tells apart."""
    split_number: int = 0
    split_count: int = 1
    split_tensors: int = 0
    """Tensors of all parts together."""
    tools: bool = False
    reasoning: bool = False
    has_vision_encoder: bool = False
    has_audio_encoder: bool = False
    projection_length: int | None = None
    """Width of what a projector gives to its model."""
    misfit: str = ""
    """Why llama.cpp refuses the file although it is whole; `foreign_layout` finds it out."""
    data_end: int = 0
    """Where in the file the last tensor ends."""
    is_big_endian: bool = False


class SafetensorsSummary(msgspec.Struct, frozen=True, tag_field="of", tag="safetensors", gc=False):
    """What the header of one file of tensors says."""

    parameters: int
    dtypes: tuple[str, ...]


class BrokenFile(msgspec.Struct, frozen=True, tag_field="of", tag="broken", gc=False):
    text: str
    """What is wrong with it: a clause that goes on after its name."""


def _plain(text: str) -> str:
    """Return a text that may stand in a list: one short line."""
    return "".join(filter(str.isprintable, text[:_LONGEST]))


def summarize(header: GgufHeader) -> GgufSummary:
    metadata = header.metadata
    templates = [
        value
        for key, value in metadata.items()
        if key.startswith(TEMPLATE) and isinstance(value, str)
    ]
    return GgufSummary(
        version=header.version,
        architecture=_plain(header.architecture),
        type=_plain(header.text("general.type")),
        name=_plain(header.text("general.name")),
        basename=_plain(header.text("general.basename")),
        size_label=_plain(header.text("general.size_label")),
        finetune=_plain(header.text("general.finetune")),
        file_type=header.number("general.file_type"),
        parameters=header.parameters,
        tensors=len(header.tensors),
        blocks=header.of_model("block_count"),
        has_first_block=any("blk.0." in tensor.name for tensor in header.tensors),
        context_length=header.of_model("context_length"),
        embedding_length=header.of_model("embedding_length"),
        pooling=header.of_model("pooling_type"),
        is_causal=metadata.get(f"{header.architecture}.attention.causal") is not False,
        labels=header.lengths.get(f"{header.architecture}.classifier.output_labels", 0),
        split_number=header.number("split.no") or 0,
        split_count=header.number("split.count") or 1,
        split_tensors=header.number("split.tensors.count") or 0,
        tools=any(map(TOOLS.search, templates)) or f"{TEMPLATE}.tool_use" in metadata,
        reasoning=any(map(REASONING.search, templates)),
        has_vision_encoder=metadata.get("clip.has_vision_encoder") is True,
        has_audio_encoder=metadata.get("clip.has_audio_encoder") is True,
        projection_length=header.number("clip.vision.projection_dim"),
        misfit=misfit(header),
        data_end=header.data_end,
        is_big_endian=header.is_big_endian,
    )


def total(parameters: Iterable[int]) -> int | None:
    """Return a sum of parameters; `None` for none, and for more than can be."""
    found = sum(parameters)
    return found if 0 < found <= MOST_PARAMETERS else None
