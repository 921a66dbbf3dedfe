"""The bytes of caches and states, beside figures that others published or the engine prints."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from modelswap.memory.prediction.cache import cells_of, layer_cache, layer_state, ubatch_of
from modelswap.memory.prediction.options import Options, read_options
from modelswap.memory.prediction.shape import shape_of
from support.model_headers import deepseek_v3, header_of, qwen35_9b, transformer

if TYPE_CHECKING:
    from modelswap.catalog.gguf.header import GgufHeader

MIB = 1 << 20


def options(command: str) -> Options:
    return read_options(command.split(), {}, is_llama_server=False)


def cache(header: GgufHeader, command: str) -> int:
    shape, asked = shape_of(header), options(command)
    cells = cells_of(shape, asked)
    return sum(layer_cache(layer, cells, asked.keys, asked.values) for layer in shape.layers)


def states(header: GgufHeader, command: str) -> int:
    return sum(layer_state(layer, options(command)) for layer in shape_of(header).layers)


@pytest.mark.parametrize(
    ("command", "mib"),
    [
        ("-c 8192", 1024),
        ("", 1024),
        ("-c 2048", 256),
        ("-c 32768", 4096),
        ("-c 8192 -ctk q8_0 -ctv q8_0", 544),
        ("-c 8192 -ctk q4_0", 656),
        ("-c 8192 -ctk f32", 1536),
        ("-c 8000", 1024),
        ("-c 8192 -np 4", 1024),
        ("-c 1000 -np 3", 192),
    ],
)
def test_llama_3_8b_caches_what_llama_cpp_prints(command: str, mib: int) -> None:
    """32 layers, 8 heads of 128: 1 GiB at 8,192 tokens in f16; sizes are rounded up to 256 tokens a slot."""
    assert cache(transformer(), command) == mib * MIB


@pytest.mark.parametrize(
    ("keys", "size"),
    [
        ({"block_count": 80, "attention__head_count": 64, "embedding_length": 8192}, 327_680),
        ({"block_count": 126, "attention__head_count": 128, "embedding_length": 16384}, 516_096),
    ],
    ids=["Qwen2.5 72B", "Llama 3.1 405B"],
)
def test_large_models_cache_what_is_published(keys: dict[str, Any], size: int) -> None:
    """Bytes of a token, as in table 1 of "Insights into DeepSeek-V3" (arXiv 2505.09343)."""
    assert cache(transformer(**keys), "-c 256") == size * 256


def test_deepseek_v3_caches_one_latent_vector() -> None:
    """70.272 KB a token, as in the same table: keys alone, of which the values are a part."""
    assert cache(deepseek_v3(), "-c 256") == 70_272 * 256


def test_a_hybrid_caches_only_its_layers_with_attention() -> None:
    """Qwen3.5 9B at 65,536 tokens prints 2,048 MiB of KV cache and 50.25 MiB of states (`RS buffer`)."""
    assert cache(qwen35_9b(), "-c 65536") == 2048 * MIB
    assert states(qwen35_9b(), "-c 65536") == 50.25 * MIB
    assert states(qwen35_9b(), "-c 65536 -np 4") == 4 * 50.25 * MIB


@pytest.mark.parametrize(
    ("command", "full", "windowed"),
    [
        ("-c 8192", 32, 20),
        ("-c 8192 -np 2", 32, 40),
        ("-c 8192 -np 2 -kvu", 32, 30),
        ("-c 8192 -np 4 -kvu", 32, 50),
        ("-c 8192 -ub 128", 32, 15),
        ("-c 8192 --swa-full", 32, 160),
        ("-c 512", 2, 10),
    ],
)
def test_windows_take_what_the_engine_prints(command: str, full: int, windowed: int) -> None:
    """Twelve layers, two of them full, with windows of 512: the engine's own figures, in MiB."""
    header = transformer(
        "gemma3", block_count=12, attention__head_count_kv=2, attention__key_length=256,
        attention__value_length=256, attention__sliding_window=512, context_length=32768,
    )  # fmt: skip
    assert cache(header, command) == (full + windowed) * MIB


@pytest.mark.parametrize(
    ("architecture", "keys", "size"),
    [
        ("mamba", {"ssm__conv_kernel": 4, "ssm__inner_size": 2048, "ssm__state_size": 16}, 155_648),
        ("rwkv6", {"wkv__head_size": 64}, 4 * (2 * 1024 + 64 * 1024)),
        ("rwkv7", {"wkv__head_size": 64, "token_shift_count": 1}, 4 * (1024 + 64 * 1024)),
        ("arwkv7", {"wkv__head_size": 64}, 4 * (1024 + 64 * 1024)),
        ("lfm2", {"shortconv__l_cache": 3, "attention__head_count_kv": 0}, 4 * 2 * 1024),
        (
            "kimi-linear",
            {"kda__head_dim": 64, "ssm__conv_kernel": 4, "attention__head_count_kv": (0,)},
            4 * (3 * 3 * 8 * 64 + 64 * 64 * 8),
        ),
    ],
)
def test_states_follow_the_architecture(architecture: str, keys: dict[str, Any], size: int) -> None:
    """One layer of one sequence; mamba's 16 layers of this width take 2.38 MiB, as the engine prints."""
    shape = {"block_count": 1, "embedding_length": 1024, "attention__head_count": 8}
    assert states(header_of(architecture, **(shape | keys)), "-c 4096") == size
    assert cache(header_of(architecture, **(shape | keys)), "-c 4096") == 0


def test_a_batch_is_no_longer_than_the_context() -> None:
    """Where attention is causal; an encoder takes the batch that it is given."""
    assert ubatch_of(shape_of(transformer()), options("-c 256 -ub 512")) == 256
    assert ubatch_of(shape_of(transformer("bert")), options("-c 256 -ub 512")) == 512
