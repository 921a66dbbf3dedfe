"""Finds out that llama.cpp refuses a file, because it was written for another program.

Source: Ollama keeps a list of the files of its own that llama.cpp does not read, and translates them
while it loads them (`llama/compat` in its repository). What can be told from a header is told here; a
file that nothing is said about may still be refused.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from modelswap.catalog.gguf.header import GgufHeader

_OLLAMA_ARCHITECTURES: Final = {
    "mllama", "gptoss", "qwen25vl", "deepseekocr", "glmocr", "glm4moelite", "olmo3", "nemotron_h_omni",
}  # fmt: skip
"""Names of architectures that only Ollama writes."""
_IMAGE_ARCHITECTURES: Final = {
    "flux", "sd1", "sd3", "sdxl", "aura", "hidream", "cosmos", "ltxv", "hyvid", "wan", "lumina2",
    "qwen_image", "z_image", "pig",
}  # fmt: skip
"""Models of images and videos, as converted for ComfyUI and stable-diffusion.cpp."""
_SOUND_ARCHITECTURES: Final = {"wavtokenizer-dec", "whisper"}
_ENCODER_TENSORS: Final = ("v.", "mm.", "a.")
"""How the names of an image or sound encoder's tensors begin; llama.cpp wants them in a file of their own."""
_SECTIONS: Final = 4
"""Numbers that llama.cpp wants in `rope.dimension_sections` of Qwen 3.5; Ollama writes three."""
_OLLAMA: Final = "as files for Ollama's own engine do"


def misfit(header: GgufHeader) -> str:
    """Say why llama.cpp refuses the file: a clause that goes on after its name; empty for none known."""
    architecture = header.architecture
    if architecture in _OLLAMA_ARCHITECTURES:
        return (
            f"has the architecture {architecture!r}, {_OLLAMA}; llama.cpp knows the model, if at all,"
            " under another name and layout"
        )
    if architecture in _IMAGE_ARCHITECTURES:
        return f"is a model of images ({architecture}), which llama.cpp does not run"
    if architecture in _SOUND_ARCHITECTURES:
        return f"is a model of sound ({architecture}), which llama.cpp does not serve"
    if architecture == "clip":
        return ""
    names = {tensor.name for tensor in header.tensors}
    if any(name.startswith(_ENCODER_TENSORS) for name in names):
        return (
            f"holds an image or sound encoder among the tensors of the language model, {_OLLAMA};"
            " llama.cpp refuses tensors that it does not expect"
        )
    return _misfit_of(architecture, header, names)


def _misfit_of(architecture: str, header: GgufHeader, names: set[str]) -> str:
    if architecture == "gemma3":
        epsilon = "gemma3.attention.layer_norm_rms_epsilon"
        if any(name.startswith("dense.") for name in names):
            return f"is an embedding model marked as gemma3, {_OLLAMA}; llama.cpp expects gemma-embedding"
        if header.tensors and epsilon not in header.metadata:
            return f"lacks {epsilon!r}, {_OLLAMA}; llama.cpp demands it"
    if architecture == "gemma3n" and _rows(header, "token_embd.weight") != _rows(
        header, "per_layer_token_embd.weight"
    ):
        return f"has more tokens than embeddings for each layer, {_OLLAMA}; llama.cpp wants as many"
    if architecture in {"qwen35", "qwen35moe"}:
        count = header.lengths.get(f"{architecture}.rope.dimension_sections", _SECTIONS)
        if count != _SECTIONS:
            return f"has {count} rope sections, {_OLLAMA}; llama.cpp wants {_SECTIONS}"
    return ""


def _rows(header: GgufHeader, name: str) -> int | None:
    found = (tensor.dimensions for tensor in header.tensors if tensor.name == name)
    return next((shape[1] for shape in found if len(shape) > 1), None)
