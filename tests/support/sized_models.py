"""GGUF files of several architectures that llama.cpp loads and runs; their weights are zeros.

The weights are holes in the files, so that a file of any size is written at once; a server that
maps or reads it takes the same memory as for other weights of the same shapes.
"""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING, Any

from support.gguf_builder import F16, GgufBuilder, SignedNumbers, Tensor

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

F32, Q4_0, Q8_0, Q4_K, MXFP4 = 0, 2, 8, 12, 39
"""ggml's numbers of types of tensors."""
_SYLLABLES = tuple(a + b for a, b in product("bdfgklmnprstvz", "aeiou"))
_CONTROL = ("<unk>", "<s>", "</s>", "<|im_start|>", "<|im_end|>")
_TEMPLATE = "{% for m in messages %}{{ m['content'] }}{% endfor %}"


def _vocabulary(size: int) -> dict[str, Any]:
    """Return keys of a SentencePiece vocabulary with byte fallback."""
    tokens = [*_CONTROL, *(f"<0x{byte:02X}>" for byte in range(256))]
    tokens += ["▁", *map(chr, range(33, 127))]
    words = ("▁" + "".join(word) for n in (1, 2, 3) for word in product(_SYLLABLES, repeat=n))
    special = len(tokens)
    while len(tokens) < size:
        tokens.append(next(words))
    kinds = [2, *([3] * (len(_CONTROL) - 1)), *([6] * 256)]
    return {
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.pre": "default",
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.scores": [-float(max(0, n - special)) for n in range(size)],
        "tokenizer.ggml.token_type": SignedNumbers(kinds + [1] * (size - len(kinds))),
        "tokenizer.ggml.unknown_token_id": 0,
        "tokenizer.ggml.bos_token_id": 1,
        "tokenizer.ggml.eos_token_id": 2,
        "tokenizer.ggml.add_bos_token": True,
        "tokenizer.ggml.add_space_prefix": False,
        "tokenizer.chat_template": _TEMPLATE,
    }


def _word_pieces(size: int) -> dict[str, Any]:
    """Return keys of BERT's vocabulary."""
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    tokens += [mark + chr(code) for mark in ("▁", "") for code in range(33, 127)]
    words = ("▁" + "".join(word) for n in (1, 2, 3) for word in product(_SYLLABLES, repeat=n))
    while len(tokens) < size:
        tokens.append(next(words))
    return {
        "tokenizer.ggml.model": "bert",
        "tokenizer.ggml.pre": "default",
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": SignedNumbers([3] * 5 + [1] * (size - 5)),
        "tokenizer.ggml.token_type_count": 2,
        "tokenizer.ggml.bos_token_id": 2,
        "tokenizer.ggml.eos_token_id": 3,
        "tokenizer.ggml.unknown_token_id": 1,
        "tokenizer.ggml.seperator_token_id": 3,
        "tokenizer.ggml.padding_token_id": 0,
        "tokenizer.ggml.cls_token_id": 2,
        "tokenizer.ggml.mask_token_id": 4,
    }


class _Model:
    """One model in the making."""

    def __init__(
        self, architecture: str, kind: int, vocabulary: dict[str, Any], **keys: Any
    ) -> None:
        self.kind = kind
        self.metadata: dict[str, Any] = {
            "general.architecture": architecture,
            "general.file_type": 1,
        }
        for key, value in keys.items():
            self.metadata[f"{architecture}.{key.replace('__', '.')}"] = value
        self.metadata |= vocabulary
        self.tensors: list[Tensor] = []

    def matrix(self, name: str, *shape: int, kind: int | None = None) -> None:
        self.tensors.append(Tensor(f"{name}.weight", shape, self.kind if kind is None else kind))

    def vector(self, name: str, *shape: int, ending: str = ".weight") -> None:
        self.tensors.append(Tensor(name + ending, shape, F32))

    def built(self) -> GgufBuilder:
        return GgufBuilder(self.metadata, self.tensors)


def dense(
    architecture: str = "llama",
    *,
    kind: int = F16,
    layers: int = 8,
    embd: int = 1024,
    heads: int = 16,
    kv_heads: int = 4,
    head: int = 64,
    ff: int = 2816,
    vocab: int = 32000,
    trained: int = 8192,
    is_tied: bool = False,
    **keys: Any,
) -> GgufBuilder:
    """Return a dense transformer: llama, qwen2, qwen3, gemma2 or gemma3."""
    model = _Model(
        architecture, kind, _vocabulary(vocab),
        context_length=trained, embedding_length=embd, block_count=layers, feed_forward_length=ff,
        attention__head_count=heads, attention__head_count_kv=kv_heads,
        attention__key_length=head, attention__value_length=head,
        attention__layer_norm_rms_epsilon=1e-6, rope__dimension_count=head, vocab_size=vocab, **keys,
    )  # fmt: skip
    model.matrix("token_embd", embd, vocab)
    for n in range(layers):
        block = f"blk.{n}."
        _attention(model, block, embd, q=heads * head, kv=kv_heads * head, head=head)
        if architecture.startswith("gemma"):
            model.vector(f"{block}post_attention_norm", embd)
            model.vector(f"{block}post_ffw_norm", embd)
        _feed_forward(model, block, embd, ff)
    model.vector("output_norm", embd)
    if not is_tied:
        model.matrix("output", embd, vocab)
    return model.built()


def _attention(model: _Model, block: str, embd: int, *, q: int, kv: int, head: int) -> None:
    architecture = model.metadata["general.architecture"]
    model.vector(f"{block}attn_norm", embd)
    model.matrix(f"{block}attn_q", embd, q)
    model.matrix(f"{block}attn_k", embd, kv)
    model.matrix(f"{block}attn_v", embd, kv)
    model.matrix(f"{block}attn_output", q, embd)
    if architecture == "qwen2":
        for part, size in (("q", q), ("k", kv), ("v", kv)):
            model.vector(f"{block}attn_{part}", size, ending=".bias")
    if architecture in {"qwen3", "qwen3moe", "gemma3"}:
        model.vector(f"{block}attn_q_norm", head)
        model.vector(f"{block}attn_k_norm", head)


def _feed_forward(model: _Model, block: str, embd: int, ff: int) -> None:
    model.vector(f"{block}ffn_norm", embd)
    model.matrix(f"{block}ffn_gate", embd, ff)
    model.matrix(f"{block}ffn_up", embd, ff)
    model.matrix(f"{block}ffn_down", ff, embd)


def gemma3(**keys: Any) -> GgufBuilder:
    """Return a model with five layers of sliding windows to each one that sees everything."""
    given: dict[str, Any] = {
        "layers": 12, "head": 256, "heads": 4, "kv_heads": 2, "ff": 3072, "is_tied": True,
        "attention__sliding_window": 512, "trained": 32768,
    }  # fmt: skip
    return dense("gemma3", **(given | keys))


def qwen3moe(
    *, kind: int = F16, layers: int = 6, embd: int = 512, experts: int = 32, ff: int = 384,
    vocab: int = 32000, trained: int = 8192,
) -> GgufBuilder:  # fmt: skip
    """Return a mixture of experts, of which eight take part in each token."""
    heads, kv_heads, head = 8, 2, 64
    model = _Model(
        "qwen3moe", kind, _vocabulary(vocab),
        context_length=trained, embedding_length=embd, block_count=layers, feed_forward_length=ff,
        attention__head_count=heads, attention__head_count_kv=kv_heads,
        attention__key_length=head, attention__value_length=head,
        attention__layer_norm_rms_epsilon=1e-6, expert_count=experts, expert_used_count=8,
        expert_feed_forward_length=ff, vocab_size=vocab,
    )  # fmt: skip
    model.matrix("token_embd", embd, vocab)
    for n in range(layers):
        block = f"blk.{n}."
        _attention(model, block, embd, q=heads * head, kv=kv_heads * head, head=head)
        model.vector(f"{block}ffn_norm", embd)
        model.matrix(f"{block}ffn_gate_inp", embd, experts, kind=F32)
        model.matrix(f"{block}ffn_gate_exps", embd, ff, experts)
        model.matrix(f"{block}ffn_up_exps", embd, ff, experts)
        model.matrix(f"{block}ffn_down_exps", ff, embd, experts)
    model.vector("output_norm", embd)
    model.matrix("output", embd, vocab)
    return model.built()


def mamba(
    *, kind: int = F16, layers: int = 16, embd: int = 1024, vocab: int = 32000
) -> GgufBuilder:
    """Return a model without attention, whose state is the same for any context."""
    inner, state, rank, width = 2 * embd, 16, embd // 16, 4
    model = _Model(
        "mamba", kind, _vocabulary(vocab),
        context_length=1 << 20, embedding_length=embd, block_count=layers, feed_forward_length=0,
        attention__head_count=0, ssm__conv_kernel=width, ssm__inner_size=inner,
        ssm__state_size=state, ssm__time_step_rank=rank, attention__layer_norm_rms_epsilon=1e-5,
        vocab_size=vocab,
    )  # fmt: skip
    model.matrix("token_embd", embd, vocab)
    for n in range(layers):
        block = f"blk.{n}."
        model.vector(f"{block}attn_norm", embd)
        _state_space(model, block, embd, inner=inner, state=state, rank=rank, width=width)
    model.vector("output_norm", embd)
    return model.built()


def _state_space(
    model: _Model, block: str, embd: int, *, inner: int, state: int, rank: int, width: int
) -> None:
    model.matrix(f"{block}ssm_in", embd, 2 * inner)
    model.vector(f"{block}ssm_conv1d", width, inner)
    model.vector(f"{block}ssm_conv1d", inner, ending=".bias")
    model.matrix(f"{block}ssm_x", inner, rank + 2 * state)
    model.matrix(f"{block}ssm_dt", rank, inner)
    model.vector(f"{block}ssm_dt", inner, ending=".bias")
    model.vector(f"{block}ssm_a", state, inner, ending="")
    model.vector(f"{block}ssm_d", inner, ending="")
    model.matrix(f"{block}ssm_out", inner, embd)


def jamba(
    *, kind: int = F16, layers: int = 8, embd: int = 1024, vocab: int = 32000, ff: int = 2816
) -> GgufBuilder:
    """Return a hybrid: every fourth layer has attention, the others a recurrent state."""
    inner, state, rank, width = 2 * embd, 16, embd // 16, 4
    heads, kv_heads, head = 16, 4, embd // 16
    model = _Model(
        "jamba", kind, _vocabulary(vocab),
        context_length=1 << 18, embedding_length=embd, block_count=layers, feed_forward_length=ff,
        attention__head_count=heads,
        attention__head_count_kv=[kv_heads if n % 4 == 2 else 0 for n in range(layers)],
        ssm__conv_kernel=width, ssm__inner_size=inner, ssm__state_size=state,
        ssm__time_step_rank=rank, attention__layer_norm_rms_epsilon=1e-6, vocab_size=vocab,
        expert_count=0, expert_used_count=0,
    )  # fmt: skip
    model.matrix("token_embd", embd, vocab)
    for n in range(layers):
        block = f"blk.{n}."
        if n % 4 == 2:
            _attention(model, block, embd, q=embd, kv=kv_heads * head, head=head)
        else:
            model.vector(f"{block}attn_norm", embd)
            _state_space(model, block, embd, inner=inner, state=state, rank=rank, width=width)
            model.vector(f"{block}ssm_dt_norm", rank)
            model.vector(f"{block}ssm_b_norm", state)
            model.vector(f"{block}ssm_c_norm", state)
        _feed_forward(model, block, embd, ff)
    model.vector("output_norm", embd)
    model.matrix("output", embd, vocab)
    return model.built()


def deepseek2(
    *, kind: int = F16, layers: int = 8, embd: int = 1024, vocab: int = 32000, ff: int = 2816
) -> GgufBuilder:
    """Return a model with multi-head latent attention, whose cache holds one latent for all heads."""
    heads, query, rank, rope, nope, value = 8, 512, 256, 32, 64, 64
    model = _Model(
        "deepseek2", kind, _vocabulary(vocab),
        context_length=1 << 15, embedding_length=embd, block_count=layers, feed_forward_length=ff,
        attention__head_count=heads, attention__head_count_kv=1,
        attention__key_length=rank + rope, attention__value_length=rank,
        attention__key_length_mla=nope + rope, attention__value_length_mla=value,
        attention__kv_lora_rank=rank, attention__q_lora_rank=query, rope__dimension_count=rope,
        attention__layer_norm_rms_epsilon=1e-6, vocab_size=vocab,
        leading_dense_block_count=layers, expert_count=8, expert_used_count=2,
        expert_feed_forward_length=256, expert_shared_count=1, expert_weights_scale=1.0,
        expert_gating_func=1,
    )  # fmt: skip
    model.matrix("token_embd", embd, vocab)
    for n in range(layers):
        block = f"blk.{n}."
        model.vector(f"{block}attn_norm", embd)
        model.matrix(f"{block}attn_q_a", embd, query)
        model.vector(f"{block}attn_q_a_norm", query)
        model.matrix(f"{block}attn_q_b", query, heads * (nope + rope))
        model.matrix(f"{block}attn_kv_a_mqa", embd, rank + rope)
        model.vector(f"{block}attn_kv_a_norm", rank)
        model.matrix(f"{block}attn_k_b", nope, rank, heads)
        model.matrix(f"{block}attn_v_b", rank, value, heads)
        model.matrix(f"{block}attn_output", heads * value, embd)
        _feed_forward(model, block, embd, ff)
    model.vector("output_norm", embd)
    model.matrix("output", embd, vocab)
    return model.built()


def gpt_oss(
    *, layers: int = 8, embd: int = 1024, experts: int = 16, ff: int = 1024, vocab: int = 32000
) -> GgufBuilder:
    """Return a mixture of experts in MXFP4; every other layer has a window of 128 tokens."""
    heads, kv_heads, head = 16, 4, 64
    model = _Model(
        "gpt-oss", Q8_0, _vocabulary(vocab),
        context_length=1 << 17, embedding_length=embd, block_count=layers, feed_forward_length=ff,
        attention__head_count=heads, attention__head_count_kv=kv_heads,
        attention__key_length=head, attention__value_length=head, attention__sliding_window=128,
        attention__layer_norm_rms_epsilon=1e-5, expert_count=experts, expert_used_count=4,
        expert_feed_forward_length=ff, vocab_size=vocab,
    )  # fmt: skip
    model.matrix("token_embd", embd, vocab)
    for n in range(layers):
        block = f"blk.{n}."
        _attention(model, block, embd, q=heads * head, kv=kv_heads * head, head=head)
        for part, size in (("q", heads), ("k", kv_heads), ("v", kv_heads)):
            model.vector(f"{block}attn_{part}", size * head, ending=".bias")
        model.vector(f"{block}attn_output", embd, ending=".bias")
        model.vector(f"{block}attn_sinks", heads)
        model.vector(f"{block}post_attention_norm", embd)
        model.matrix(f"{block}ffn_gate_inp", embd, experts, kind=F32)
        model.vector(f"{block}ffn_gate_inp", experts, ending=".bias")
        for part in ("gate", "up", "down"):
            inputs, outputs = (ff, embd) if part == "down" else (embd, ff)
            model.matrix(f"{block}ffn_{part}_exps", inputs, outputs, experts, kind=MXFP4)
            model.vector(f"{block}ffn_{part}_exps", outputs, experts, ending=".bias")
    model.vector("output_norm", embd)
    model.matrix("output", embd, vocab)
    return model.built()


def bert(
    *, kind: int = F16, layers: int = 12, embd: int = 1024, ff: int = 4096, vocab: int = 30000,
    trained: int = 512,
) -> GgufBuilder:  # fmt: skip
    """Return an encoder for embeddings, which has no cache."""
    model = _Model(
        "bert", kind, _word_pieces(vocab),
        context_length=trained, embedding_length=embd, block_count=layers, feed_forward_length=ff,
        attention__head_count=16, attention__layer_norm_epsilon=1e-12, attention__causal=False,
        pooling_type=1,
    )  # fmt: skip
    model.matrix("token_embd", embd, vocab)
    model.matrix("position_embd", embd, trained, kind=F32)
    model.matrix("token_types", embd, 2, kind=F32)
    for ending in (".weight", ".bias"):
        model.vector("token_embd_norm", embd, ending=ending)
    for n in range(layers):
        for name, inputs, outputs in _encoder_parts(embd, ff):
            model.matrix(f"blk.{n}.{name}", inputs, outputs)
            model.vector(f"blk.{n}.{name}", outputs, ending=".bias")
        for name in ("attn_output_norm", "layer_output_norm"):
            for ending in (".weight", ".bias"):
                model.vector(f"blk.{n}.{name}", embd, ending=ending)
    return model.built()


def _encoder_parts(embd: int, ff: int) -> Iterator[tuple[str, int, int]]:
    for part in ("attn_q", "attn_k", "attn_v", "attn_output"):
        yield part, embd, embd
    yield "ffn_up", embd, ff
    yield "ffn_down", ff, embd


MODELS: dict[str, Callable[[], GgufBuilder]] = {
    "llama": dense,
    "qwen2": lambda: dense("qwen2", is_tied=True),
    "qwen3": lambda: dense("qwen3", is_tied=True),
    "gemma3": gemma3,
    "qwen3moe": qwen3moe,
    "mamba": mamba,
    "jamba": jamba,
    "deepseek2": deepseek2,
    "gpt-oss": gpt_oss,
    "bert": bert,
}
"""By architecture; some hundred MB each."""


def adapter(*, layers: int = 4, embd: int = 1024, rank: int = 1024) -> GgufBuilder:
    """Return a LoRA adapter for the attention of `dense`."""
    metadata = {
        "general.architecture": "llama",
        "general.type": "adapter",
        "adapter.type": "lora",
        "adapter.lora.alpha": 16.0,
    }
    tensors = [
        Tensor(f"blk.{n}.attn_{part}.weight.lora_{side}", shape, F16)
        for n in range(layers)
        for part in ("q", "output")
        for side, shape in (("a", (embd, rank)), ("b", (rank, embd)))
    ]
    return GgufBuilder(metadata, tensors)
