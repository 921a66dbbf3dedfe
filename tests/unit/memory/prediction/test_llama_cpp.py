"""The sum of all parts, on the GPUs and in the machine's memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelswap.core.placement.policy import DeviceId
from modelswap.memory.prediction.llama_cpp import (
    GPU_CONTEXT,
    GPU_LIBRARIES,
    MOST,
    PROGRAM,
    TOKEN,
    Files,
    estimate,
)
from modelswap.memory.prediction.options import read_options
from support.model_headers import header_of, qwen35_9b, tensors_of, transformer

if TYPE_CHECKING:
    from modelswap.catalog.gguf.header import GgufHeader
    from modelswap.memory.estimate import Estimate

MIB = 1 << 20


def needed(
    header: GgufHeader,
    flags: str,
    *,
    gpus: bool = False,
    devices: tuple[str, ...] = (),
    draft: GgufHeader | None = None,
    projector: GgufHeader | None = None,
    adapter: GgufHeader | None = None,
) -> Estimate:
    options = read_options(flags.split(), {}, is_llama_server=False)
    files = Files(
        model=[header],
        draft=[draft] if draft else [],
        projector=projector,
        adapters=[adapter] if adapter else [],
    )
    return estimate(options, files, gpus=gpus, devices=tuple(map(DeviceId, devices)))


def parts(found: Estimate, *, gpu: bool) -> dict[str, float]:
    """Return MiB by name."""
    return {part.name: part.bytes / MIB for part in found.parts if part.is_on_gpu is gpu}


def llama() -> GgufHeader:
    header = transformer(vocabulary=1000)
    rows = [("token_embd.weight", (4096, 1024), "f16"), ("output.weight", (4096, 1024), "f16")]
    rows += [(f"blk.{n}.ffn_gate.weight", (4096, 1024), "f16") for n in range(32)]
    return header_of(
        "llama", tensors_of(*rows), vocabulary=1000, **{
            key.removeprefix("llama."): value
            for key, value in header.metadata.items() if key.startswith("llama.")
        },
    )  # fmt: skip


def test_without_a_gpu_all_is_in_ram() -> None:
    """Weights, cache, buffers, and the program with its vocabulary."""
    found = needed(llama(), "-c 8192")
    assert found.gpu == 0
    assert parts(found, gpu=False) == {
        "weights": 34 * 8,
        "KV cache": 1024,
        "compute buffers": pytest.approx(8 + 512 * 4 * (3 * 14336 + 5 * 4096) / MIB, abs=0.1),
        "program": (PROGRAM + 1000 * TOKEN) / MIB,
    }


def test_merges_of_a_tokenizer_count_as_its_tokens() -> None:
    """A vocabulary of byte pairs takes twice the memory."""
    merging = llama()
    merging.lengths["tokenizer.ggml.merges"] = 900
    assert needed(merging, "").ram - needed(llama(), "").ram == 900 * TOKEN


def test_a_gpu_holds_everything_but_the_embeddings() -> None:
    """And a context of the driver; the machine's memory has the libraries and the inputs."""
    found = needed(llama(), "-c 8192 -ngl 99", gpus=True)
    gpu, ram = parts(found, gpu=True), parts(found, gpu=False)
    assert (gpu["weights"], gpu["KV cache"], gpu["program"]) == (33 * 8, 1024, GPU_CONTEXT / MIB)
    assert (ram["weights"], "KV cache" in ram) == (8, False)
    assert ram["program"] == (PROGRAM + GPU_LIBRARIES + 1000 * TOKEN) / MIB
    assert ram["compute buffers"] < gpu["compute buffers"]


def test_layers_take_their_cache_along() -> None:
    """Sixteen of 32 layers on the GPU, and half of the cache; none with `--no-kv-offload`."""
    found = needed(llama(), "-c 8192 -ngl 17", gpus=True)
    assert parts(found, gpu=True)["KV cache"] == parts(found, gpu=False)["KV cache"] == 512
    kept = needed(llama(), "-c 8192 -ngl 17 -nkvo", gpus=True)
    assert parts(kept, gpu=False)["KV cache"] == 1024
    assert parts(kept, gpu=False)["compute buffers"] == parts(kept, gpu=True)["compute buffers"] + (
        1000 * 4 / MIB
    )


def test_no_layer_on_the_gpu_leaves_it_alone() -> None:
    """`-ngl 0`."""
    assert needed(llama(), "-c 8192 -ngl 0", gpus=True).gpu == 0


def test_each_gpu_has_buffers_and_a_context() -> None:
    """Weights and cache are split."""
    one = parts(needed(llama(), "-ngl 99", gpus=True, devices=("gpu0",)), gpu=True)
    two = parts(needed(llama(), "-ngl 99", gpus=True, devices=("gpu0", "gpu1")), gpu=True)
    assert two["weights"] == one["weights"]
    assert two["program"] == 2 * one["program"]
    assert two["compute buffers"] == 2 * one["compute buffers"]
    assert needed(llama(), "", gpus=True, devices=("gpu1",)).devices == ("gpu1",)


def test_a_draft_model_has_a_context_of_its_own() -> None:
    """With its own types of cache and its own layers on the GPU."""
    alone = needed(llama(), "-c 8192 -ngl 0", gpus=True)
    both = needed(
        llama(), "-c 8192 -ngl 0 -ngld 99 -ctkd q8_0 -ctvd q8_0", gpus=True, draft=llama()
    )
    assert parts(both, gpu=True)["KV cache"] == 544
    assert parts(both, gpu=False)["KV cache"] == parts(alone, gpu=False)["KV cache"]


def test_projector_and_adapters_add_their_tensors() -> None:
    """On the GPU, unless the command keeps the projector off it."""
    extra = header_of("clip", tensors_of(("v.weight", (1024, 1024), "f16")))
    gpu = needed(llama(), "-ngl 99", gpus=True, projector=extra, adapter=extra)
    assert (parts(gpu, gpu=True)["projector"], parts(gpu, gpu=True)["adapters"]) == (2, 2)
    cpu = needed(llama(), "-ngl 0 --no-mmproj-offload", gpus=True, projector=extra, adapter=extra)
    assert (parts(cpu, gpu=False)["projector"], parts(cpu, gpu=False)["adapters"]) == (2, 2)
    assert cpu.gpu == 0


def test_states_grow_with_the_slots_and_not_with_the_context() -> None:
    """The model without caches in six of eight layers prints 50.25 MiB a slot."""
    for flags in ("-c 4096 -np 2", "-c 65536 -np 2"):
        assert parts(needed(qwen35_9b(), flags), gpu=False)["recurrent state"] == 100.5


@pytest.mark.parametrize(
    ("flags", "gpus", "is_fitted"),
    [
        ("", False, True),
        ("-c 4096", False, False),
        ("-c 4096", True, True),
        ("-c 4096 -ngl 99", True, False),
        ("-ngl 99", True, True),
        ("--fit off", True, False),
    ],
)
def test_what_is_not_set_is_fitted(flags: str, gpus: bool, is_fitted: bool) -> None:  # noqa: FBT001 - a parameter of the table
    """llama.cpp shortens a context, and takes fewer layers, that the command does not set."""
    assert needed(llama(), flags, gpus=gpus).is_fitted is is_fitted


VALUES = st.one_of(
    st.integers(-(1 << 63), (1 << 64) - 1),
    st.floats(),
    st.booleans(),
    st.text(max_size=4),
    st.lists(st.integers(-5, 1 << 62), max_size=9).map(tuple),
    st.lists(st.text(max_size=2), max_size=3).map(tuple),
)
KEYS = [
    "block_count", "context_length", "embedding_length", "feed_forward_length", "expert_count",
    "expert_used_count", "expert_feed_forward_length", "nextn_predict_layers",
    "attention.head_count", "attention.head_count_kv", "attention.key_length",
    "attention.value_length", "attention.key_length_mla", "attention.key_length_swa",
    "attention.value_length_swa", "attention.sliding_window", "attention.sliding_window_pattern",
    "attention.shared_kv_layers", "attention.indexer.key_length", "attention.causal",
    "ssm.conv_kernel", "ssm.inner_size", "ssm.state_size", "ssm.group_count", "wkv.head_size",
    "token_shift_count", "shortconv.l_cache", "kda.head_dim", "full_attention_interval",
]  # fmt: skip
KINDS = [
    "llama", "gemma3", "gemma3n", "gemma4", "qwen3next", "jamba", "nemotron_h", "mamba", "rwkv7",
    "bert", "deepseek2", "lfm2", "x",
]  # fmt: skip
NAMES = st.sampled_from(
    [
        "token_embd.weight",
        "output.weight",
        "blk.0.ffn_gate_exps.weight",
        "blk.99999.a",
        "blk.x.b",
        "",
    ]
)


@given(
    kind=st.sampled_from(KINDS),
    values=st.dictionaries(st.sampled_from(KEYS), VALUES),
    names=st.lists(NAMES, max_size=4, unique=True),
    flags=st.sampled_from(
        ["", "-ngl 3 -np 4", "-c 1 -ub 99999999 -b 99999999 -fa off", "--embedding"]
    ),
    gpus=st.booleans(),
)
def test_whatever_a_header_says_the_need_is_a_bounded_number(
    kind: str,
    values: dict[str, object],
    names: list[str],
    flags: str,
    gpus: bool,  # noqa: FBT001 - a parameter of the table
) -> None:
    """No exception, nothing negative, nothing beyond what 64 bits hold."""
    tensors = tensors_of(*((name, (64, 1 << 40), "f16") for name in names))
    found = needed(header_of(kind, tensors, vocabulary=1 << 60, **values), flags, gpus=gpus)
    assert all(0 < part.bytes <= MOST for part in found.parts)
    assert 0 < found.ram < 1 << 63
