"""What a header makes of a file: a model or something beside one, of which kind, and whether it can be served.

Source: llama.cpp's names of architectures, poolings and file types.
"""

from __future__ import annotations

import re
import sys
from enum import Enum
from typing import TYPE_CHECKING, Final

from modelswap.catalog.found import ModelKind

if TYPE_CHECKING:
    from .summary import GgufSummary


class Role(Enum):
    """What a GGUF file is; the text says why it is not taken for a model."""

    MODEL = ""
    PROJECTOR = "is a projector: it belongs to a model"
    DRAFT = "is a draft model: it speeds another model up"
    ADAPTER = "is an adapter (LoRA): it changes another model"
    VOCABULARY = "holds a vocabulary and no tensors"
    IMATRIX = "holds the importance matrix of a quantization"
    CONTROL_VECTOR = "is a control vector: it steers another model"


_DRAFT_ARCHITECTURES: Final = {"eagle3", "eagle", "dflash", "gemma4-assistant", "medusa"}
_DRAFT_NAME: Final = re.compile(r"(^|[-_.])(draft|drafter)([-_.]|$)", re.IGNORECASE)
_SIDECAR_NAME: Final = re.compile(
    r"(^|[-_.])(mtp|eagle[23]?|dflash2?|medusa)([-_.]|$)", re.IGNORECASE
)
"""Names of small draft modules, and of whole models that have such a module inside."""
_SIDECAR_BLOCKS: Final = 4
"""Layers: a draft module has one to four, a whole model has more."""
PROJECTOR_NAME: Final = re.compile(r"(^|[-_.])mmproj([-_.]|$)", re.IGNORECASE)
_EMBEDDING_ARCHITECTURES: Final = {
    "bert", "modern-bert", "nomic-bert", "nomic-bert-moe", "neo-bert", "jina-bert-v2", "jina-bert-v3",
    "eurobert", "gemma-embedding", "t5encoder", "llama-embed",
}  # fmt: skip
_EMBEDDING_NAME: Final = re.compile(r"embed(ding)?s?([-_.0-9]|$)", re.IGNORECASE)
_RERANK_NAME: Final = re.compile(r"re-?rank(er|ing)?", re.IGNORECASE)
_DIFFUSION_LANGUAGE: Final = {"dream", "llada", "llada-moe", "rnd1"}
"""Chat models that attend in both directions, as embedding models do."""
_RANK: Final = 4
"""llama.cpp's number of the pooling of a reranker."""
FILE_TYPES: Final = {
    0: "f32", 1: "f16", 2: "q4_0", 3: "q4_1", 7: "q8_0", 8: "q5_0", 9: "q5_1", 10: "q2_k",
    11: "q3_k_s", 12: "q3_k_m", 13: "q3_k_l", 14: "q4_k_s", 15: "q4_k_m", 16: "q5_k_s", 17: "q5_k_m",
    18: "q6_k", 19: "iq2_xxs", 20: "iq2_xs", 21: "q2_k_s", 22: "iq3_xs", 23: "iq3_xxs", 24: "iq1_s",
    25: "iq4_nl", 26: "iq3_s", 27: "iq3_m", 28: "iq2_s", 29: "iq2_m", 30: "iq4_xs", 31: "iq1_m",
    32: "bf16", 36: "tq1_0", 37: "tq2_0", 38: "mxfp4", 39: "nvfp4", 40: "q1_0",
}  # fmt: skip
"""`general.file_type` -> the name of the quantization."""
SPELLED: Final = {"fp16": "f16", "fp32": "f32"}
"""Other spellings of quantizations in file names."""


def role_by_name(stem: str) -> Role:
    """Tell what a file whose header cannot be read seems to be."""
    if PROJECTOR_NAME.search(stem):
        return Role.PROJECTOR
    return Role.DRAFT if _is_draft_by_name(stem) else Role.MODEL


def role(found: GgufSummary, stem: str) -> Role:
    is_part = found.split_count > 1
    if found.architecture == "clip" or found.type == "mmproj":
        return Role.PROJECTOR
    if found.type == "adapter":
        return Role.ADAPTER
    if found.type == "imatrix":
        return Role.IMATRIX
    if found.architecture == "controlvector":
        return Role.CONTROL_VECTOR
    if not found.tensors and not is_part:
        return Role.VOCABULARY
    if found.architecture in _DRAFT_ARCHITECTURES or _is_draft_by_name(stem):
        return Role.DRAFT
    is_small = not is_part and (not found.has_first_block or (found.blocks or 0) <= _SIDECAR_BLOCKS)
    if _SIDECAR_NAME.search(stem) and is_small:
        return Role.DRAFT
    return Role.MODEL


def _is_draft_by_name(stem: str) -> bool:
    """`mtp-` in front of a name marks a draft module by convention, as `mmproj-` marks a projector."""
    return stem.lower().startswith("mtp-") or bool(_DRAFT_NAME.search(stem))


def kind(found: GgufSummary, name: str) -> ModelKind:
    if found.pooling == _RANK or found.labels or _RERANK_NAME.search(name):
        return ModelKind.RERANK
    if (
        found.architecture in _EMBEDDING_ARCHITECTURES
        or found.pooling
        or _EMBEDDING_NAME.search(name)
        or (not found.is_causal and found.architecture not in _DIFFUSION_LANGUAGE)
    ):
        return ModelKind.EMBEDDING
    return ModelKind.CHAT


def quantization(found: GgufSummary) -> str:
    return "" if found.file_type is None else FILE_TYPES.get(found.file_type, "")


def problem(found: GgufSummary) -> str:
    """Say why llama.cpp does not load a whole file; empty where nothing is known against it."""
    if found.version == 1:
        return "is of version 1 of GGUF, which llama.cpp no longer reads"
    if found.is_big_endian != (sys.byteorder == "big"):
        order = "big" if found.is_big_endian else "little"
        return f"is written in {order}-endian byte order; this machine has the other one"
    if not found.architecture:
        return "does not say its architecture (`general.architecture`)"
    return found.misfit
