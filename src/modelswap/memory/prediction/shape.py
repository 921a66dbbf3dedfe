"""What a GGUF header says of a model, as far as its memory depends on it.

Sources: llama.cpp's `src/llama-hparams.cpp` (widths of cache and state of a layer), and the reading of
hyperparameters of each architecture in `src/models/`, as of autumn 2026.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from modelswap.catalog.gguf.header import GgufHeader

MOST_LAYERS: Final = 512
"""As many as llama.cpp loads (`LLAMA_MAX_LAYERS`)."""
_MOST: Final = 1 << 24
"""The largest width, vocabulary or count that is believed; known ones are below 2^20."""

_WINDOW_PERIODS: Final = {
    "gemma2": (2, False), "gemma3": (6, False), "gemma3n": (5, False), "gemma4": (6, False),
    "cohere2": (4, False), "cohere2moe": (4, False), "olmo2": (4, False), "exaone4": (4, False),
    "exaone-moe": (4, False), "gpt-oss": (2, False), "afmoe": (4, False), "plamo3": (8, False),
    "llama4": (4, False), "smallthinker": (4, True),
}  # fmt: skip
"""Architecture: of so many layers one has no window; whether it is the first one, else the last."""
_DEFAULT_WINDOWS: Final = {"gemma2": 4096, "llama4": 8192, "cohere2": 4096}
"""Tokens, where the file does not say them."""
_NO_CACHE: Final = frozenset(
    {"bert", "nomic-bert", "nomic-bert-moe", "jina-bert-v2", "jina-bert-v3", "neo-bert", "eurobert"}
    | {"modern-bert", "gemma-embedding", "t5encoder", "dream", "llada", "llada-moe"}
)
"""Architectures that see the whole text at once."""
_ONLY_RECURRENT: Final = frozenset({"mamba", "mamba2", "rwkv6", "rwkv6qwen2", "rwkv7", "arwkv7"})
_ONE_TOKEN_SHIFT: Final = frozenset({"rwkv6qwen2", "arwkv7"})
_BOTH: Final = frozenset({"falcon-h1"})
"""Each layer has attention and a state."""
_INTERVAL: Final = frozenset({"qwen3next", "qwen35", "qwen35moe"})
"""Architectures where the last of each `full_attention_interval` layers has attention, the others a state."""
_FULL_ATTENTION_INTERVAL: Final = 4
"""Layers, where the file does not say it."""
_WITHOUT_HEADS: Final = frozenset(
    {"jamba", "granitehybrid", "nemotron_h", "nemotron_h_moe", "lfm2", "lfm2moe", "plamo2"}
    | {"kimi-linear"}
)
"""Architectures whose layers without heads of keys have a state."""
_KEPT_OF_GEMMA3N: Final = 20
"""Layers of gemma3n that have a cache; the later ones use theirs."""


@dataclass(frozen=True, slots=True)
class Layer:
    """What one layer keeps between tokens."""

    keys: int = 0
    """Elements of each token."""
    values: int = 0
    is_windowed: bool = False
    state: int = 0
    """Elements of each sequence, 4 bytes each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """Widths are elements."""

    layers: tuple[Layer, ...]
    """Without those that only predict further tokens."""
    context: int
    """Tokens that the model was trained for."""
    window: int
    """Tokens that windowed layers see."""
    has_cache: bool
    is_causal: bool
    embd: int
    ff: int
    """Of all experts that take part in one token together, where there are experts."""
    experts_used: int
    is_gated: bool
    """The feed-forward network has a gate."""
    queries: int
    """Of all heads together."""
    keys: int
    """Of the widest layer."""
    heads: int
    inner: int
    """Of recurrent layers; 0 without them."""
    vocabulary: int
    has_output: bool
    """The model tells likelihoods of tokens, and not only embeddings."""


class _Keys:
    """The numbers below the architecture's name."""

    def __init__(self, header: GgufHeader) -> None:
        self._header = header

    def number(self, key: str, default: int = 0) -> int:
        found = self._header.of_model(key)
        return default if found is None else min(found, _MOST)

    def each(self, key: str, count: int, default: int = 0) -> list[int]:
        """Return a number for each layer; the last one counts for the layers that an array lacks."""
        value = self._header.metadata.get(f"{self._header.architecture}.{key}")
        if not isinstance(value, tuple):
            return [self.number(key, default)] * count
        found = [min(max(0, int(one)), _MOST) for one in value[:count] if isinstance(one, int)]
        return found + [found[-1] if found else default] * (count - len(found))

    def is_array(self, key: str) -> bool:
        return isinstance(self._header.metadata.get(f"{self._header.architecture}.{key}"), tuple)


def shape_of(header: GgufHeader) -> Shape:
    """Return the shape; what a file does not say counts as absent."""
    keys = _Keys(header)
    kind = header.architecture
    tensors = {tensor.name: tensor for tensor in header.tensors}
    count = min(keys.number("block_count"), MOST_LAYERS)
    count -= min(count, keys.number("nextn_predict_layers"))
    heads = keys.each("attention.head_count", count)
    embd = keys.number("embedding_length")
    head = keys.number("attention.key_length", embd // max(1, *heads))
    layers = _layers(keys, kind, count, head)
    experts_used = keys.number("expert_used_count") if keys.number("expert_count") else 0
    token_embd = tensors.get("token_embd.weight")
    rows = token_embd.dimensions[1] if token_embd and len(token_embd.dimensions) > 1 else 0
    return Shape(
        layers=layers,
        context=keys.number("context_length"),
        window=keys.number("attention.sliding_window", _DEFAULT_WINDOWS.get(kind, 0)),
        has_cache=kind not in _NO_CACHE,
        is_causal=header.metadata.get(f"{kind}.attention.causal") is not False
        and kind not in _NO_CACHE,
        embd=embd,
        ff=max(
            *keys.each("feed_forward_length", count),
            experts_used * keys.number("expert_feed_forward_length"),
            0,
        ),
        experts_used=experts_used,
        is_gated=any("ffn_gate" in name or "ffn_up_gate" in name for name in tensors),
        queries=head * max(heads, default=0),
        keys=max((layer.keys for layer in layers), default=0),
        heads=max(heads, default=0),
        inner=_inner(keys, layers, embd),
        vocabulary=min(header.lengths.get("tokenizer.ggml.tokens", 0) or rows, _MOST),
        has_output=kind not in _NO_CACHE,
    )


def _layers(keys: _Keys, kind: str, count: int, head: int) -> tuple[Layer, ...]:
    if kind in _NO_CACHE:
        return (Layer(),) * count
    kv_heads = keys.each(
        "attention.head_count_kv", count, max(keys.each("attention.head_count", 1))
    )
    windowed = _windows(keys, kind, count)
    recurrent = _recurrent(keys, kind, kv_heads)
    state = _state(keys, kind)
    value = keys.number("attention.value_length", head)
    widths = {False: (head, value), True: (
        keys.number("attention.key_length_swa", head),
        keys.number("attention.value_length_swa", value),
    )}  # fmt: skip
    cached = count - keys.number("attention.shared_kv_layers")
    if kind == "gemma3n":
        cached = min(count, _KEPT_OF_GEMMA3N)
    is_latent = bool(keys.number("attention.key_length_mla"))
    indexer = keys.number("attention.indexer.key_length")
    found: list[Layer] = []
    for number, (heads, has_window, has_state) in enumerate(
        zip(kv_heads, windowed, recurrent, strict=True)
    ):
        key, value = widths[has_window]
        has_cache = number < cached and (not has_state or kind in _BOTH)
        found.append(
            Layer(
                keys=heads * key + indexer if has_cache else 0,
                values=0 if is_latent or not has_cache else heads * value,
                is_windowed=has_window,
                state=state if has_state else 0,
            )
        )
    return tuple(found)


def _windows(keys: _Keys, kind: str, count: int) -> list[bool]:
    """Tell the layers whose cache is a window; without a window, none.

    Two architectures have the key `sliding_window`, which llama.cpp does not use for them: phi3, qwen2.
    """
    name = "attention.sliding_window_pattern"
    if not keys.number("attention.sliding_window", _DEFAULT_WINDOWS.get(kind, 0)):
        return [False] * count
    if keys.is_array(name):
        return [bool(one) for one in keys.each(name, count)]
    default, is_first = _WINDOW_PERIODS.get(kind, (0, False))
    period = keys.number(name, default)
    if period < 2:  # noqa: PLR2004 - 0: no pattern is known; 1: each layer sees everything
        return [False] * count
    full = 0 if is_first else period - 1
    return [number % period != full for number in range(count)]


def _recurrent(keys: _Keys, kind: str, kv_heads: list[int]) -> list[bool]:
    count = len(kv_heads)
    if kind in _ONLY_RECURRENT or kind in _BOTH:
        return [True] * count
    if kind in _INTERVAL:
        interval = keys.number("full_attention_interval", _FULL_ATTENTION_INTERVAL) or 1
        return [(number + 1) % interval != 0 for number in range(count)]
    if kind in _WITHOUT_HEADS:
        widths = keys.each("feed_forward_length", count)
        is_apart = kind.startswith("nemotron_h")  # a layer is attention, a network or a state
        return [
            not heads and not (is_apart and width)
            for heads, width in zip(kv_heads, widths, strict=True)
        ]
    return [False] * count


def _state(keys: _Keys, kind: str) -> int:
    """Return elements of a recurrent layer's state: of its convolution, and of the recurrence.

    RWKV: token shifts of the model's width, and a square for each head. LFM2: a short convolution.
    Kimi's linear attention: three convolutions, and a square for each head. Mamba and those made of it: the
    width of the convolution less one, for the inner width and two inputs of each group; the inner width
    times the state (`n_embd_r` and `n_embd_s` of `llama-hparams.cpp`).
    """
    embd = keys.number("embedding_length")
    if head := keys.number("wkv.head_size"):
        shifts = keys.number("token_shift_count", 1 if kind in _ONE_TOKEN_SHIFT else 2)
        return shifts * embd + embd * head
    if length := keys.number("shortconv.l_cache"):
        return embd * (length - 1)
    before = max(0, keys.number("ssm.conv_kernel") - 1)
    if head := keys.number("kda.head_dim"):
        heads = max(keys.each("attention.head_count", 1))
        return 3 * before * heads * head + head * head * heads
    inner, state = keys.number("ssm.inner_size"), keys.number("ssm.state_size")
    return before * (inner + 2 * keys.number("ssm.group_count") * state) + state * inner


def _inner(keys: _Keys, layers: tuple[Layer, ...], embd: int) -> int:
    if not any(layer.state for layer in layers):
        return 0
    return keys.number("ssm.inner_size") or embd
