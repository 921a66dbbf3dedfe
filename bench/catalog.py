"""Measure scans for models: a thousand headers, read and remembered, among many other files."""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from bench.table import Figure
from modelswap.catalog.header_cache import HeaderCache
from modelswap.catalog.roots import Root
from modelswap.catalog.scan import scan
from support.gguf_builder import STRING, GgufBuilder, Tensor, chat_model

if TYPE_CHECKING:
    from collections.abc import Iterator

FILES = 1000
FAMILIES = 20
"""Vocabularies: 50 quantizations and fine-tunes share each."""
WORDS = 150_000
"""Strings of a vocabulary; as many merges. They are empty, so that they are a hole in the file."""
LAYERS = 36
PARTS = (
    "attn_norm",
    "attn_q",
    "attn_k",
    "attn_v",
    "attn_output",
    "ffn_norm",
    "ffn_gate",
    "ffn_up",
    "ffn_down",
)
OTHERS = 10_000


def catalog(rounds: int, *, quick: bool) -> list[Figure]:
    """A first scan without the files in the page cache, a second one with the cache of headers."""
    first = Figure("1,000 models: first scan", "ms", most=2000)
    second = Figure("1,000 models: second scan", "ms", most=500)
    others = Figure("10,000 other files: scan", "ms", most=500)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        files = list(_write_models(folder / "models"))
        for number in range(OTHERS):
            path = folder / "others" / str(number // 1000) / f"{number}.txt"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        for number in range(max(2, rounds // 2 if quick else rounds)):
            for file in files:
                _forget(file)
            for figure, place in ((first, "models"), (second, "models"), (others, "others")):
                began = time.perf_counter()
                found = scan([Root(folder / place)], HeaderCache(folder / f"cache-{number}"))
                figure.add("modelswap", (time.perf_counter() - began) * 1000)
                servable = sum(not model.problem for model in found.models)
                if servable != (FILES if place == "models" else 0):
                    raise AssertionError(f"{servable} models in {place}")
    return [first, second, others]


def _write_models(folder: Path) -> Iterator[Path]:
    tensors = [Tensor("token_embd.weight", (64, 64))]
    tensors += [Tensor(f"blk.{n}.{part}.weight", (64, 64)) for n in range(LAYERS) for part in PARTS]
    make = GgufBuilder({})
    for number in range(FILES):
        words = WORDS + number % FAMILIES
        vocabulary = b"".join(
            make.string(f"tokenizer.ggml.{key}") + make.array(STRING, words, bytes(8 * words))
            for key in ("tokens", "merges")
        )
        after = make.string("general.quantization_version") + b"\4\0\0\0\2\0\0\0"
        metadata = dict(chat_model(f"Model{number}", "8B").metadata)
        del metadata["tokenizer.ggml.tokens"]
        builder = GgufBuilder(metadata, tensors, raw=vocabulary + after, raw_keys=3)
        yield _write_sparse(
            builder, folder / f"{number % FAMILIES}" / f"Model{number}-8B-Q4_K_M.gguf"
        )


def _write_sparse(builder: GgufBuilder, path: Path) -> Path:
    """Write a file whose zeros are holes, so that a thousand of them fit on any disk."""
    builder.write(path)
    data, size = builder.header(), path.stat().st_size
    with path.open("wb") as file:
        step = 1 << 16
        for start in range(0, len(data), step):
            part = data[start : start + step]
            if part.strip(b"\0"):
                file.seek(start)
                file.write(part)
        file.truncate(size)
        os.fsync(file.fileno())
    return path


def _forget(path: Path) -> None:
    """Have the system drop a file from its page cache."""
    if hasattr(os, "posix_fadvise"):
        fd = os.open(path, os.O_RDONLY)
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(fd)
