"""The options of a llama.cpp server that its memory depends on, read as the server reads them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from modelswap.catalog.gguf.tensors import BLOCKS
from modelswap.config.discover.llama_options import options_by_key

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

MOST_CONTEXT: Final = 1 << 27
"""Tokens: a hundred times more than the longest context of a known model."""
MOST_SEQUENCES: Final = 256
"""As many as llama.cpp serves at once (`LLAMA_MAX_SEQ`)."""
ALL_LAYERS: Final = 1 << 16
"""More layers than any model has."""
_BATCH: Final = 2048
"""Tokens that llama-server takes at once, without `--batch-size`."""
_UBATCH: Final = 512
"""Tokens that are computed at once, without `--ubatch-size`."""
_AUTO_SLOTS: Final = 4
"""Slots of llama-server without `--parallel`; they share one cache (`tools/server`, from 2025-12 on)."""
_DIGITS: Final = 12
"""Of a number that is read; Python refuses thousands."""
_FALSE: Final = frozenset({"0", "false", "off", "disabled", "no"})
_CACHE_TYPES: Final = frozenset(
    {"f32", "f16", "bf16", "q8_0", "q4_0", "q4_1", "iq4_nl", "q5_0", "q5_1"}
)
_BLOCKS: Final = {name: (elements, size) for name, elements, size in BLOCKS.values()}

Words = dict[str, list[str]]
"""Option, by its last name: its values in order; a switch has `true` or `false`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheType:
    """How keys or values are kept."""

    elements: int
    """Of one block."""
    size: int
    """Bytes of one block."""

    def row(self, width: int) -> int:
        """Return the bytes of *width* elements."""
        return -(-width // self.elements) * self.size


F16: Final = CacheType(elements=1, size=2)


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What the command and its environment ask for; 0 and `None` stand for what they leave open."""

    model: str = ""
    projector: str = ""
    draft: str = ""
    adapters: tuple[str, ...] = ()
    context: int = 0
    """Tokens of all slots together; 0: as many as the model was trained for."""
    slots: int = 1
    is_unified: bool = False
    """All slots share one cache."""
    ubatch: int = _UBATCH
    keys: CacheType = F16
    values: CacheType = F16
    draft_keys: CacheType = F16
    draft_values: CacheType = F16
    has_flash_attention: bool = True
    has_full_windows: bool = False
    """`--swa-full`: windowed layers keep the whole context."""
    is_embedding: bool = False
    gpu_layers: int | None = None
    """`None`: as many as fit."""
    draft_gpu_layers: int | None = None
    devices: tuple[str, ...] | None = None
    """Names as llama.cpp gives them, such as `CUDA0`; `("none",)`: no GPU."""
    main_gpu: int | None = None
    """The only GPU that is used, with `--split-mode none`."""
    has_cache_on_gpu: bool = True
    has_projector_on_gpu: bool = True
    overrides: tuple[tuple[str, str], ...] = ()
    """Regular expression for a tensor's name, and the buffer that it goes to."""
    cpu_experts: int = 0
    """Layers whose experts stay on the CPU."""
    is_mapped: bool = True
    is_repacked: bool = True
    is_fitted: bool = True


def read_options(
    arguments: Sequence[str], env: Mapping[str, str], *, is_llama_server: bool
) -> Options:
    """Read options; the command line wins over the environment (`LLAMA_ARG_…`).

    Our own engine serves one slot by default, llama-server four that share a cache.
    """
    words = _words(arguments, env)
    slots = _number(words, "parallel", -1)
    is_auto = slots < 1
    batch = max(1, _number(words, "batch-size", _BATCH))
    ubatch = max(1, _number(words, "ubatch-size", _UBATCH) or batch)
    is_embedding = _switch(words, "embedding") or _switch(words, "reranking")
    return Options(
        model=_last(words, "model"),
        projector=_last(words, "mmproj") if _switch(words, "mmproj-auto", default=True) else "",
        draft=_last(words, "model-draft"),
        adapters=_adapters(words),
        context=min(max(0, _number(words, "ctx-size", 0)), MOST_CONTEXT),
        slots=min((_AUTO_SLOTS if is_llama_server else 1) if is_auto else slots, MOST_SEQUENCES),
        is_unified=_switch(words, "kv-unified", default=is_auto and is_llama_server),
        ubatch=min(ubatch, batch, MOST_CONTEXT),
        keys=_cache_type(words, "cache-type-k"),
        values=_cache_type(words, "cache-type-v"),
        draft_keys=_cache_type(words, "cache-type-k-draft"),
        draft_values=_cache_type(words, "cache-type-v-draft"),
        has_flash_attention=_last(words, "flash-attn") not in _FALSE,
        has_full_windows=_switch(words, "swa-full"),
        is_embedding=is_embedding,
        gpu_layers=_layers(words, "n-gpu-layers"),
        draft_gpu_layers=_layers(words, "n-gpu-layers-draft"),
        devices=_devices(words),
        main_gpu=_main_gpu(words),
        has_cache_on_gpu=_switch(words, "kv-offload", default=True),
        has_projector_on_gpu=_switch(words, "mmproj-offload", default=True),
        overrides=_overrides(words),
        cpu_experts=ALL_LAYERS if _switch(words, "cpu-moe") else _number(words, "n-cpu-moe", 0),
        is_mapped=_is_mapped(words),
        is_repacked=_switch(words, "repack", default=True),
        is_fitted=_last(words, "fit") not in _FALSE,
    )


def _words(arguments: Sequence[str], env: Mapping[str, str]) -> Words:
    known = options_by_key()
    found: Words = {}
    for key, value in env.items():
        if key in known and not value.startswith("-"):
            option, is_opposite = known[key]
            is_off = not option.takes_value and ((value.lower() in _FALSE) != is_opposite)
            found[option.name] = [value if option.takes_value else _text(is_on=not is_off)]
    rest = iter(arguments)
    given: Words = {}
    for word in rest:
        if not word.startswith("-"):
            continue
        name, equals, value = word.partition("=") if word.startswith("--") else (word, "", "")
        entry = known.get(name.lstrip("-").replace("_", "-"))
        if entry is None:
            continue
        option, is_opposite = entry
        if not option.takes_value:
            value = _text(is_on=not is_opposite)
        elif not equals:
            value = next(rest, "")
        given.setdefault(option.name, []).append(value)
    return found | given


def _text(*, is_on: bool) -> str:
    return "true" if is_on else "false"


def _last(words: Words, name: str) -> str:
    return words[name][-1] if name in words else ""


def _switch(words: Words, name: str, *, default: bool = False) -> bool:
    return _last(words, name) == "true" if name in words else default


def _number(words: Words, name: str, default: int) -> int:
    text = _last(words, name)
    digits = text.removeprefix("-")
    if not (digits.isascii() and digits.isdecimal() and len(digits) <= _DIGITS):
        return default
    return int(text)


def _layers(words: Words, name: str) -> int | None:
    """Return layers on the GPU; `auto`, nothing and, as it once did, a negative number mean what fits."""
    if _last(words, name) == "all":
        return ALL_LAYERS
    layers = _number(words, name, -1)
    return None if layers < 0 else min(layers, ALL_LAYERS)


def _cache_type(words: Words, name: str) -> CacheType:
    text = _last(words, name).lower()
    elements, size = _BLOCKS[text if text in _CACHE_TYPES else "f16"]
    return CacheType(elements=elements, size=size)


def _adapters(words: Words) -> tuple[str, ...]:
    """Return files of LoRA adapters: names with commas, and with a scale behind a colon."""
    plain = [path for value in words.get("lora", ()) for path in value.split(",")]
    scaled = [
        path.rpartition(":")[0] or path
        for value in words.get("lora-scaled", ())
        for path in value.split(",")
    ]
    return tuple(filter(None, (*plain, *scaled)))


def _devices(words: Words) -> tuple[str, ...] | None:
    names = tuple(filter(None, (part.strip() for part in _last(words, "device").split(","))))
    return names or None


def _main_gpu(words: Words) -> int | None:
    if _last(words, "split-mode") != "none":
        return None
    return max(0, _number(words, "main-gpu", 0))


def _overrides(words: Words) -> tuple[tuple[str, str], ...]:
    pairs = (
        part.rpartition("=")
        for value in words.get("override-tensor", ())
        for part in value.split(",")
    )
    return tuple((pattern, buffer) for pattern, equals, buffer in pairs if equals and pattern)


def _is_mapped(words: Words) -> bool:
    mode = _last(words, "load-mode")
    if mode:
        return mode.startswith("mmap")
    return _switch(words, "mmap", default=True)
