"""Where weights lie: on GPUs, in the program's memory, in mapped pages."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from modelswap.memory.prediction.options import read_options
from modelswap.memory.prediction.weights import Split, Weights, split_of, weigh
from support.model_headers import header_of, tensors_of

if TYPE_CHECKING:
    from modelswap.catalog.gguf.header import GgufHeader

NONE = frozenset[str]()
EMBEDDINGS, LAYER, EXPERTS, NORM, OUTPUT = (
    1000 * 64 * 2,
    64 * 64 * 2,
    64 * 8 * 4 * 2,
    64 * 4,
    128000,
)
"""Bytes of the tensors below."""


def model(label: str = "f16", *, is_tied: bool = False, layers: int = 4) -> GgufHeader:
    rows: list[tuple[str, tuple[int, ...], str]] = [("token_embd.weight", (64, 1000), label)]
    for n in range(layers):
        rows.append((f"blk.{n}.attn_q.weight", (64, 64), label))
        rows.append((f"blk.{n}.ffn_up_exps.weight", (64, 8, 4), label))
        rows.append((f"blk.{n}.attn_norm.weight", (64,), "f32"))
    rows += [] if is_tied else [("output.weight", (64, 1000), label)]
    return header_of("llama", tensors_of(*rows), block_count=4)


def weighed(
    flags: str,
    header: GgufHeader | None = None,
    *,
    gpus: bool = True,
    copied: frozenset[str] = NONE,
) -> Weights:
    options = read_options(flags.split(), {}, is_llama_server=True)
    split = split_of(4, options.gpu_layers, gpus=gpus)
    return weigh([header or model()], options, split, copied)


@pytest.mark.parametrize(
    ("gpu_layers", "first", "has_output"),
    [(None, 0, True), (99, 0, True), (5, 0, True), (4, 1, True), (1, 4, True), (0, 4, False)],
)
def test_the_output_goes_first_then_the_last_layers(
    gpu_layers: int | None,
    first: int,
    has_output: bool,  # noqa: FBT001 - a parameter of the table
) -> None:
    """Of four layers and the output."""
    assert split_of(4, gpu_layers, gpus=True) == Split(layers=4, first=first, has_output=has_output)


def test_without_a_gpu_all_is_on_the_cpu() -> None:
    """Whatever is asked for."""
    assert not split_of(4, 99, gpus=False).has_gpu


def test_embeddings_stay_on_the_cpu() -> None:
    """All layers on the GPU: the machine's memory has the embeddings alone."""
    whole = 4 * (LAYER + EXPERTS + NORM) + OUTPUT
    assert weighed("-ngl 99") == Weights(gpu=whole, ram=EMBEDDINGS)


def test_a_part_of_the_layers_leaves_the_mapping_whole() -> None:
    """Two layers and the output on the GPU: the others are read; the mapping ends behind the last of them."""
    found = weighed("-ngl 3")
    assert found.gpu == 2 * (LAYER + EXPERTS + NORM) + OUTPUT
    assert (found.ram, found.reclaimable) == (EMBEDDINGS + 2 * (LAYER + EXPERTS + NORM), 0)


@pytest.mark.parametrize(
    ("flags", "on_cpu"),
    [
        ("--cpu-moe", 4),
        ("--n-cpu-moe 3", 3),
        ("-ot exps=CPU", 4),
        ("-ot blk\\.[01]\\..*exps=CUDA_Host", 2),
        ("-ot (a+)+$=CUDA1", 0),
        ("-ot (=CPU", 0),
    ],
)
def test_experts_stay_where_the_command_says(flags: str, on_cpu: int) -> None:
    """By count or by expression; one that is none is left out. The pages between them were copied."""
    found = weighed(f"-ngl 99 {flags}")
    assert found.ram == EMBEDDINGS + on_cpu * EXPERTS
    assert found.reclaimable == (on_cpu * LAYER + (on_cpu - 1) * NORM if on_cpu else 0)


def test_nothing_is_mapped_without_mmap() -> None:
    """The same need, and no page beside it."""
    assert weighed("-ngl 99 --cpu-moe --no-mmap") == Weights(
        weighed("--cpu-moe").gpu, weighed("--cpu-moe").ram
    )


def test_repacked_weights_are_a_second_copy() -> None:
    """The embeddings are read as they are; the pages of the others are mapped and not read again."""
    header = model("q4_0")
    found = weighed("", header, gpus=False, copied=frozenset({"q4_0"}))
    assert found.ram == sum(tensor.size or 0 for tensor in header.tensors)
    last_norm = next(one for one in header.tensors if one.name == "blk.3.attn_norm.weight")
    mapped = (header.tensors[0].size or 0) + 4 * NORM
    assert found.reclaimable == last_norm.offset + NORM - mapped
    assert weighed("-nr", header, gpus=False, copied=frozenset({"q4_0"})).reclaimable == 0


def test_rows_that_cannot_be_interleaved_are_not_repacked() -> None:
    """Seven rows are no multiple of eight."""
    header = header_of("llama", tensors_of(("blk.0.ffn_up.weight", (64, 7), "q4_0")))
    found = weighed("", header, gpus=False, copied=frozenset({"q4_0"}))
    assert found == Weights(ram=7 * 36)


def test_an_output_that_is_the_embeddings_is_copied() -> None:
    """To the GPU, or into the other order; else both are the same tensor."""
    tied, own = model(is_tied=True), model()
    assert weighed("-ngl 99", tied) == weighed("-ngl 99", own)
    assert weighed("", tied, gpus=False).ram == weighed("", own, gpus=False).ram - OUTPUT
    tied, own = model("q4_0", is_tied=True), model("q4_0")
    copied = frozenset({"q4_0"})
    assert weighed("", tied, gpus=False, copied=copied) == weighed(
        "", own, gpus=False, copied=copied
    )


def test_layers_that_are_not_loaded_do_not_count() -> None:
    """Those behind the last one predict further tokens."""
    assert weighed("-ngl 99", model(layers=6)) == weighed("-ngl 99", model(layers=4))


def test_expressions_are_not_matched_against_a_flood_of_tensors() -> None:
    """A file of more tensors than any model has is weighed in bounded time."""
    rows = tensors_of(*((f"blk.0.t{n}_exps", (1,), "f16") for n in range(8193)))
    few = header_of("llama", rows[:8192])
    assert weighed("-ngl 99 -ot exps=CPU", few).gpu == 0
    assert weighed("-ngl 99 -ot exps=CPU", header_of("llama", rows)).ram == 0
