"""Models, flags and prompts for which a prediction of memory is compared with a real engine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from modelswap.memory.predict import predict
from support import sized_models as models
from support.engine_memory import engine_command, measured_peak
from support.server import free_port
from support.sized_models import Q4_0, Q4_K, Q8_0, dense

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from support.gguf_builder import GgufBuilder

NEAR = 0.15
"""How far a prediction may be off, as a share of what was measured."""


@dataclass(frozen=True, slots=True)
class Case:
    name: str
    make: Callable[[], GgufBuilder]
    flags: str
    """`DRAFT` and `LORA` stand for paths of such files."""
    tokens: int = 512
    """Of the prompt: one physical batch, and the whole context where its buffer depends on it."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """Bytes of the machine's memory."""

    predicted: int
    measured: int

    @property
    def error(self) -> float:
        return self.predicted / self.measured - 1


def outcome(path: Path, flags: list[str], tokens: int) -> Outcome:
    """Predict, then measure; a mapped page that is never read again is resident, too."""
    port = free_port()
    command = engine_command(path, port, flags)
    found = predict(command, {}, {})
    assert found is not None
    return Outcome(found.ram + found.reclaimable, measured_peak(command, port, tokens))


def run(case: Case, folder: Path) -> Outcome:
    path = case.make().write(folder / "model.gguf")
    flags = []
    for flag in case.flags.split():
        if flag == "DRAFT":
            small = dense(layers=2, embd=512, heads=8, kv_heads=2, ff=1024)
            flags.append(str(small.write(folder / "draft.gguf")))
        elif flag == "LORA":
            flags.append(str(models.adapter().write(folder / "lora.gguf")))
        else:
            flags.append(flag)
    return outcome(path, flags, case.tokens)


def _llama(**shape: int) -> Callable[[], GgufBuilder]:
    return lambda: dense(**({"layers": 4} | shape))  # type: ignore[arg-type] # numbers alone


QUICK = (
    Case("llama f16", _llama(), "-c 32768"),
    Case("llama q4_0, repacked", _llama(kind=Q4_0), "-c 16384 -ctk q8_0 -ctv q8_0"),
    Case("llama q8_0, four slots", _llama(kind=Q8_0), "-c 16384 -np 4 -ub 256", 256),
    Case("gemma3, windows", lambda: models.gemma3(layers=6), "-c 16384 -np 2 -ub 256", 256),
    Case("qwen3moe, not mapped", lambda: models.qwen3moe(layers=3), "-c 4096 --no-mmap"),
    Case("mamba", lambda: models.mamba(layers=6), "-np 4 -ub 256", 256),
    Case("jamba, hybrid", lambda: models.jamba(layers=4), "-c 8192 -ub 128", 128),
    Case("deepseek2, latent cache", lambda: models.deepseek2(layers=4), "-c 8192 -ub 256", 256),
    Case("bert, embeddings", lambda: models.bert(layers=4), "--embedding", 500),
    Case("llama without flash attention", _llama(), "-c 512 -fa off", 500),
)
"""Some seconds each."""
ALL = (
    *QUICK,
    Case("llama f16", _llama(), "-c 2048"),
    Case("llama f16", _llama(), "-c 8192"),
    Case("llama f16, eight layers", _llama(layers=8), "-c 4096 -ub 1024", 1024),
    Case("llama f16, filled", _llama(), "-c 4096", 4090),
    Case("llama f16", _llama(), "-c 8192 -np 4 -kvu"),
    Case("llama f16, draft model", _llama(), "-c 4096 -md DRAFT"),
    Case("llama f16, adapter", _llama(), "-c 4096 --lora LORA"),
    Case("llama without flash attention", _llama(), "-c 2048 -fa off -ub 256", 2040),
    Case("llama q4_0", _llama(kind=Q4_0, layers=8), "-c 4096 -nr"),
    Case("llama q4_k", _llama(kind=Q4_K, layers=8), "-c 4096"),
    Case("llama q4_k", _llama(kind=Q4_K, layers=8), "-c 4096 --no-mmap"),
    Case("llama q8_0", _llama(kind=Q8_0, layers=8), "-c 32768 -ctk q4_0 -ctv q4_0"),
    Case("qwen2, tied", lambda: dense("qwen2", layers=4, is_tied=True), "-c 8192"),
    Case("qwen3", lambda: dense("qwen3", layers=4), "-c 16384 -np 4"),
    Case(
        "qwen3, embeddings",
        lambda: dense("qwen3", layers=4),
        "--embedding --pooling last -c 2048",
    ),
    Case("gemma3, windows", lambda: models.gemma3(layers=6), "-c 4096"),
    Case("gemma3, windows", lambda: models.gemma3(layers=6), "-c 32768 -np 4 -kvu"),
    Case("gemma3, full windows", lambda: models.gemma3(layers=6), "-c 16384 --swa-full"),
    Case("qwen3moe", lambda: models.qwen3moe(layers=6), "-c 16384"),
    Case("mamba", lambda: models.mamba(layers=8), ""),
    Case("jamba, hybrid", lambda: models.jamba(layers=8), "-c 32768 -ub 256", 256),
    Case("deepseek2, latent cache", lambda: models.deepseek2(layers=8), "-c 32768 -ub 256", 256),
    Case("gpt-oss", lambda: models.gpt_oss(layers=4), "-c 8192"),
    Case("gpt-oss", lambda: models.gpt_oss(layers=4), "-c 32768 -np 2"),
    Case("bert, embeddings", lambda: models.bert(layers=12), "--embedding", 500),
)
"""For `python -m bench memory`: minutes."""
