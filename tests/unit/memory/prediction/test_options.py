"""The options of llama.cpp's server, as the server reads them."""

from __future__ import annotations

from typing import Any

import pytest

from modelswap.memory.prediction.options import (
    ALL_LAYERS,
    F16,
    MOST_CONTEXT,
    MOST_SEQUENCES,
    CacheType,
    Options,
    read_options,
)

Q8_0 = CacheType(elements=32, size=34)


def read(command: str, env: dict[str, str] | None = None, *, server: bool = True) -> Options:
    return read_options(command.split(), env or {}, is_llama_server=server)


def test_llama_server_has_four_slots_that_share_a_cache() -> None:
    """Unless `--parallel` says something; our engine has one slot."""
    assert (read("").slots, read("").is_unified) == (4, True)
    assert (read("-np -1").slots, read("-np -1").is_unified) == (4, True)
    assert (read("-np 2").slots, read("-np 2").is_unified) == (2, False)
    assert (read("-np 2 -kvu").slots, read("-np 2 -kvu").is_unified) == (2, True)
    assert (read("", server=False).slots, read("", server=False).is_unified) == (1, False)


@pytest.mark.parametrize(
    ("command", "name", "value"),
    [
        ("-m a.gguf --model b.gguf", "model", "b.gguf"),
        ("--model=a.gguf", "model", "a.gguf"),
        ("--ctx-size 4096", "context", 4096),
        ("--ctx_size=4096", "context", 4096),
        ("-c 999999999999", "context", MOST_CONTEXT),
        ("-c 9999999999999999999", "context", 0),
        ("-c -5", "context", 0),
        ("-c", "context", 0),
        ("-c many", "context", 0),
        ("--unknown 7 -c 8", "context", 8),
        ("-np 100000", "slots", MOST_SEQUENCES),
        ("-b 128", "ubatch", 128),
        ("-b 128 -ub 0", "ubatch", 128),
        ("-ctk q8_0", "keys", Q8_0),
        ("-ctv Q8_0", "values", Q8_0),
        ("-ctv q6_k", "values", F16),
        ("-ctkd q8_0", "draft_keys", Q8_0),
        ("-ctvd q8_0", "draft_values", Q8_0),
        ("-fa off", "has_flash_attention", False),
        ("-fa auto", "has_flash_attention", True),
        ("--swa-full", "has_full_windows", True),
        ("--embeddings", "is_embedding", True),
        ("--rerank", "is_embedding", True),
        ("-ngl 99", "gpu_layers", 99),
        ("-ngl all", "gpu_layers", ALL_LAYERS),
        ("-ngl 9999999", "gpu_layers", ALL_LAYERS),
        ("-ngl auto", "gpu_layers", None),
        ("-ngl -1", "gpu_layers", None),
        ("-ngl 0", "gpu_layers", 0),
        ("-ngld 3", "draft_gpu_layers", 3),
        ("-md d.gguf", "draft", "d.gguf"),
        ("--mmproj p.gguf", "projector", "p.gguf"),
        ("--mmproj p.gguf --no-mmproj", "projector", ""),
        ("--no-mmproj-offload", "has_projector_on_gpu", False),
        ("-nkvo", "has_cache_on_gpu", False),
        ("--device CUDA0,CUDA1", "devices", ("CUDA0", "CUDA1")),
        ("--device none", "devices", ("none",)),
        ("-mg 1", "main_gpu", None),
        ("-sm none", "main_gpu", 0),
        ("-sm none -mg 1", "main_gpu", 1),
        ("--cpu-moe", "cpu_experts", ALL_LAYERS),
        ("--n-cpu-moe 5", "cpu_experts", 5),
        ("-ot exps=CPU,blk\\.0=CUDA0", "overrides", (("exps", "CPU"), ("blk\\.0", "CUDA0"))),
        ("-ot nothing", "overrides", ()),
        ("--no-mmap", "is_mapped", False),
        ("--mlock", "is_mapped", True),
        ("-lm none", "is_mapped", False),
        ("-lm mmap", "is_mapped", True),
        ("-nr", "is_repacked", False),
        ("--fit off", "is_fitted", False),
        ("--lora a.gguf,b.gguf --lora c.gguf", "adapters", ("a.gguf", "b.gguf", "c.gguf")),
        ("--lora-scaled a.gguf:0.5", "adapters", ("a.gguf",)),
    ],
)
def test_flags(command: str, name: str, value: Any) -> None:
    """The last one counts; what is no number, or is not known, leaves the default."""
    assert getattr(read(command), name) == value


def test_the_environment_counts_where_the_command_says_nothing() -> None:
    """As `LLAMA_ARG_…`, switches with `true`, `0` and the like."""
    env = {"LLAMA_ARG_CTX_SIZE": "1024", "LLAMA_ARG_MMAP": "0", "LLAMA_ARG_SWA_FULL": "1"}
    assert (read("", env).context, read("-c 2048", env).context) == (1024, 2048)
    assert (read("", env).is_mapped, read("", env).has_full_windows) == (False, True)
    assert read("", {"PATH": "/bin", "LLAMA_ARG_CTX_SIZE": "-c"}).context == 0


def test_a_row_ends_with_a_whole_block() -> None:
    """Rows of quantized caches are whole blocks."""
    assert (Q8_0.row(64), Q8_0.row(33), Q8_0.row(0), F16.row(33)) == (68, 68, 0, 66)
