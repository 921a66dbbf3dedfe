"""Writes tiny language models with random weights, as GGUF files that llama.cpp loads and runs.

Llama architecture, a vocabulary with byte fallback (any text can be tokenized), a ChatML-like
template. The responses are readable gibberish and hardly ever end: always send `max_tokens`.
"""

from __future__ import annotations

from itertools import chain, islice, product
from typing import TYPE_CHECKING, Final, Literal

import gguf
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    Weights = NDArray[np.float16] | NDArray[np.float32]

Pooling = Literal["mean", "cls", "last"]

CHAT_TEMPLATE: Final = (
    "{% for m in messages %}"
    "{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
_CONTROL: Final = ("<s>", "</s>", "<|im_start|>", "<|im_end|>")
_SPECIAL: Final = 1 + len(_CONTROL) + 256  # tokens that are not text: unknown, control, bytes
_SYLLABLES: Final = tuple(a + b for a, b in product("bdfgklmnprstvz", "aeiou"))
_SMALLEST: Final = _SPECIAL + 1 + 94  # tokens: the special ones, a space, printable ASCII
_LARGEST: Final = _SMALLEST + sum(len(_SYLLABLES) ** n for n in (1, 2, 3))
"""Tokens of the largest vocabulary: all words of up to three syllables."""
_SPACE: Final = "\N{LOWER ONE EIGHTH BLOCK}"
_HEAD: Final = 32  # dimensions of one attention head; `embd` is a multiple of it


class ShapeError(ValueError):
    """llama.cpp cannot load a model of the requested shape."""


def write_model(
    path: Path,
    *,
    seed: int = 0,
    layers: int = 2,
    embd: int = 64,
    vocab: int = 1024,
    ctx: int = 4096,
    pooling: Pooling | None = None,
    name: str = "tiny-random",
) -> None:
    """Write one model; the same arguments give the same bytes.

    `embd` is a multiple of 32, at least 64; `vocab` is between 356 and 348,326.
    `pooling` makes an embeddings model. About 0.5 MB by default.
    """
    if embd < 2 * _HEAD or embd % _HEAD:
        raise ShapeError(f"embd must be a multiple of {_HEAD}, at least {2 * _HEAD}, not {embd}")
    writer = gguf.GGUFWriter(path, "llama")
    _describe(writer, name=name, layers=layers, embd=embd, ctx=ctx, pooling=pooling)
    _write_vocabulary(writer, vocab)
    for tensor, weights in _tensors(np.random.default_rng(seed), layers, embd, vocab):
        writer.add_tensor(tensor, weights)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _describe(
    writer: gguf.GGUFWriter, *, name: str, layers: int, embd: int, ctx: int, pooling: Pooling | None
) -> None:
    writer.add_name(name)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16)
    writer.add_context_length(ctx)
    writer.add_embedding_length(embd)
    writer.add_block_count(layers)
    writer.add_feed_forward_length(2 * embd)
    writer.add_head_count(embd // _HEAD)
    writer.add_head_count_kv(embd // _HEAD)
    writer.add_rope_dimension_count(_HEAD)
    writer.add_layer_norm_rms_eps(1e-5)
    if pooling is not None:
        writer.add_pooling_type(gguf.PoolingType[pooling.upper()])


def _write_vocabulary(writer: gguf.GGUFWriter, size: int) -> None:
    if not _SMALLEST <= size <= _LARGEST:
        raise ShapeError(f"vocab must be between {_SMALLEST} and {_LARGEST}, not {size}")
    tokens = list(islice(_tokens(), size))
    writer.add_vocab_size(size)
    writer.add_tokenizer_model("llama")
    writer.add_tokenizer_pre("default")
    writer.add_token_list([text for text, _, _ in tokens])
    writer.add_token_scores([score for _, score, _ in tokens])
    writer.add_token_types([int(kind) for _, _, kind in tokens])
    writer.add_unk_token_id(0)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_eot_token_id(4)
    writer.add_add_bos_token(True)  # noqa: FBT003 - gguf's own signature
    writer.add_add_eos_token(False)  # noqa: FBT003 - gguf's own signature
    # A space put before every text would keep grammars with control tokens from ever matching.
    writer.add_add_space_prefix(False)  # noqa: FBT003 - gguf's own signature
    writer.add_chat_template(CHAT_TEMPLATE)


def _tokens() -> Iterator[tuple[str, float, gguf.TokenType]]:
    """Yield special tokens, bytes, printable ASCII, then made-up words of growing length."""
    yield "<unk>", 0.0, gguf.TokenType.UNKNOWN
    for text in _CONTROL:
        yield text, 0.0, gguf.TokenType.CONTROL
    for byte in range(256):
        yield f"<0x{byte:02X}>", 0.0, gguf.TokenType.BYTE
    for text in (_SPACE, *map(chr, range(33, 127))):
        yield text, -1.0, gguf.TokenType.NORMAL
    words = chain.from_iterable(product(_SYLLABLES, repeat=n) for n in (1, 2, 3))
    for i, word in enumerate(words):
        yield _SPACE + "".join(word), -2.0 - i * 1e-3, gguf.TokenType.NORMAL


def _tensors(
    rng: np.random.Generator, layers: int, embd: int, vocab: int
) -> Iterator[tuple[str, Weights]]:
    def matrix(rows: int, columns: int) -> Weights:
        normal = rng.standard_normal((rows, columns), dtype=np.float32)
        return (normal / np.float32(columns**0.5)).astype(np.float16)

    norm = np.ones(embd, dtype=np.float32)
    yield "token_embd.weight", matrix(vocab, embd)
    for i in range(layers):
        block = f"blk.{i}"
        yield f"{block}.attn_norm.weight", norm
        for part in ("attn_q", "attn_k", "attn_v", "attn_output"):
            yield f"{block}.{part}.weight", matrix(embd, embd)
        yield f"{block}.ffn_norm.weight", norm
        yield f"{block}.ffn_gate.weight", matrix(2 * embd, embd)
        yield f"{block}.ffn_up.weight", matrix(2 * embd, embd)
        yield f"{block}.ffn_down.weight", matrix(embd, 2 * embd)
    yield "output_norm.weight", norm
    output = matrix(vocab, embd)
    output[:_SPECIAL] = 0  # a logit of zero is never among the likeliest: text only
    yield "output.weight", output
