"""The bytes of compute buffers, beside what the engine prints."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from modelswap.memory.prediction.cache import cells_of
from modelswap.memory.prediction.compute import compute_bytes, input_bytes, output_bytes
from modelswap.memory.prediction.options import read_options
from modelswap.memory.prediction.shape import Shape, shape_of
from support.model_headers import header_of, tensors_of

if TYPE_CHECKING:
    from modelswap.memory.prediction.options import Options

MIB = 1 << 20
SMALL: dict[str, Any] = {
    "block_count": 8, "context_length": 8192, "embedding_length": 1024, "feed_forward_length": 2816,
    "attention__head_count": 16, "attention__head_count_kv": 4, "attention__key_length": 64,
    "attention__value_length": 64,
}  # fmt: skip


def made(architecture: str = "llama", **keys: Any) -> Shape:
    gate = tensors_of(("blk.0.ffn_gate.weight", (1024, 2816), "f16"))
    tensors = () if architecture == "bert" else gate
    return shape_of(header_of(architecture, tensors, vocabulary=32000, **(SMALL | keys)))


def options(command: str) -> Options:
    return read_options(command.split(), {}, is_llama_server=False)


def buffer(shape: Shape, command: str) -> float:
    asked = options(command)
    return compute_bytes(shape, asked, cells_of(shape, asked)) / MIB


@pytest.mark.parametrize(
    ("keys", "command", "printed"),
    [
        ({}, "-c 512", 27.02),
        ({}, "-c 8192", 34.52),
        ({}, "-c 32768", 58.52),
        ({}, "-c 2048 -ub 64", 3.56),
        ({}, "-c 2048 -ub 2048", 114.07),
        ({"embedding_length": 2048}, "-c 2048", 38.52),
        ({"feed_forward_length": 8192}, "-c 2048", 60.02),
        ({}, "-c 8192 -np 4", 28.52),
        ({}, "-c 8192 -np 4 -kvu", 34.52),
        ({"expert_count": 32, "expert_used_count": 8, "expert_feed_forward_length": 384,
          "embedding_length": 512, "feed_forward_length": 384}, "-c 8192", 31.02),
        ({"expert_count": 32, "expert_used_count": 8, "expert_feed_forward_length": 384,
          "feed_forward_length": 384}, "-c 2048", 46.02),
    ],
)  # fmt: skip
def test_buffers_are_those_that_the_engine_prints(
    keys: dict[str, Any], command: str, printed: float
) -> None:
    """MiB, within a tenth of one, for feed-forward networks and experts."""
    assert buffer(made(**keys), command) == pytest.approx(printed, abs=0.1)


@pytest.mark.parametrize(
    ("keys", "command", "printed"),
    [
        ({}, "-c 2048 -fa off", 81.01),
        ({}, "-c 8192 -fa off", 285.01),
        ({"attention__head_count": 64, "attention__head_count_kv": 8}, "-c 2048 -fa off", 288.01),
        ({"attention__head_count": 128, "attention__head_count_kv": 128,
          "feed_forward_length": 256}, "-c 2048", 76.02),
    ],
)  # fmt: skip
def test_wide_attention_is_near_what_the_engine_prints(
    keys: dict[str, Any], command: str, printed: float
) -> None:
    """Within 5 %: scores of all heads without flash attention, else queries and keys."""
    assert buffer(made(**keys), command) == pytest.approx(printed, rel=0.05)


def test_recurrent_layers_need_their_inner_width() -> None:
    """30.16 MiB for mamba of this width; it has no mask."""
    shape = made("mamba", ssm__inner_size=2048, ssm__state_size=16, feed_forward_length=0)
    assert buffer(shape, "-c 8192") == pytest.approx(30.16, abs=0.2)


def test_an_encoder_has_no_gate_and_sees_its_batch() -> None:
    """18.51 MiB for BERT of this width: two widths of its network, and a mask of the batch."""
    shape = made("bert", feed_forward_length=4096, attention__causal=False)
    assert buffer(shape, "--embedding") == pytest.approx(18.51, abs=0.1)
    assert buffer(shape, "--embedding -fa off") > buffer(shape, "--embedding")


def test_embeddings_of_a_language_model_need_all_likelihoods() -> None:
    """74.52 MiB, of which 62.5 are likelihoods of a batch; the results are as large once more."""
    command = "--embedding --pooling last -c 2048"
    assert buffer(made("qwen3"), command) == pytest.approx(74.52, abs=0.1)
    assert output_bytes(made("qwen3"), options(command)) == 512 * (32000 + 1024) * 4


def test_results_are_one_row_a_slot() -> None:
    """0.49 MiB for four slots and 32,000 tokens."""
    assert output_bytes(made(), options("-np 4")) == 4 * 32000 * 4


def test_inputs_alone_stay_on_the_cpu() -> None:
    """With all layers on a GPU: the mask and the embeddings of a batch, as in `CUDA_Host compute buffer`."""
    shape, asked = made(), options("-c 8192")
    assert input_bytes(shape, asked, cells_of(shape, asked)) / MIB == pytest.approx(10, abs=0.1)
