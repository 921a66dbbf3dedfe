"""Where the weights lie: on the GPUs, in memory of the program, or in pages of the mapped file.

Sources: llama.cpp's `src/llama-model.cpp` (which layers go to the GPU, input tensors stay on the CPU),
`src/llama-model-loader.cpp` (the mapping is cut to the range from the first to the last tensor that is used
from it), `ggml/src/ggml-cpu/repack.cpp` (types that the CPU has in another order, in a copy).

Pages of a mapped file count as need: each token reads all weights, so that a page that was given up is
read again from the disk. Of what was copied, to the GPU or in another order, the page is never read again.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from modelswap.config.regex.re2_syntax import PatternError, compile_pattern

if TYPE_CHECKING:
    from collections.abc import Sequence

    from modelswap.catalog.gguf.header import GgufHeader
    from modelswap.catalog.gguf.tensors import TensorInfo
    from modelswap.config.regex.linear_regex import Linear

    from .options import Options

_BLOCK: Final = re.compile(r"blk\.([0-9]{1,6})\.")
"""The layer in the name of a tensor."""
_INPUTS: Final = (
    *("token_embd", "token_types", "position_embd", "per_layer_token_embd", "tok_embd_norm"),
    "per_layer_model_proj", "per_layer_proj_norm",
)  # fmt: skip
"""Beginnings of the names of tensors that the first step of a graph reads."""
_EXPERTS: Final = re.compile(r"\.ffn_(up|down|gate|gate_up)_(ch)?exps")
"""Tensors that `--cpu-moe` keeps on the CPU."""
_MATRIX: Final = 2
"""Dimensions of a tensor that can be repacked; experts have one more."""
_REPACKED_ROWS: Final = 8
"""Rows that are interleaved: others are left as they are."""
_MOST_OVERRIDES: Final = 32
"""Expressions of `--override-tensor` that are looked at."""


@dataclass(frozen=True, slots=True)
class Weights:
    """In bytes."""

    gpu: int = 0
    ram: int = 0
    reclaimable: int = 0
    """Mapped pages whose content was copied elsewhere."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """Which part of a model is on the GPUs."""

    layers: int
    """Of the model."""
    first: int
    """The first layer on the GPUs; those after it are there, too. `layers`: only the output is."""
    has_output: bool

    @property
    def has_gpu(self) -> bool:
        return self.has_output or self.first < self.layers

    @property
    def is_whole(self) -> bool:
        return self.has_output and self.first == 0


def split_of(layers: int, gpu_layers: int | None, *, gpus: bool) -> Split:
    """Return the split: the output goes to the GPU first, then the layers from the last one on."""
    if not gpus:
        return Split(layers=layers, first=layers, has_output=False)
    asked = layers + 1 if gpu_layers is None else gpu_layers
    first = min(layers, max(0, layers + 1 - asked))
    return Split(layers=layers, first=first, has_output=asked > 0)


def weigh(
    headers: Sequence[GgufHeader], options: Options, split: Split, repacked: frozenset[str]
) -> Weights:
    """Sum up the tensors of a model, which may be split over several files.

    *repacked* names the types of tensors that this CPU copies into another order.
    """
    overrides = _compiled(options)
    copied = repacked if options.is_repacked else frozenset[str]()
    names = {tensor.name for header in headers for tensor in header.tensors}
    is_tied = "output.weight" not in names
    total = Weights()
    for header in headers:
        part = _weigh_file(header, options, split, overrides, copied)
        total = Weights(
            total.gpu + part.gpu, total.ram + part.ram, total.reclaimable + part.reclaimable
        )
        embedding = next((one for one in header.tensors if one.name == "token_embd.weight"), None)
        if is_tied and embedding is not None:  # the output is a copy of the embeddings
            size = embedding.size or 0
            if split.has_output:
                total = Weights(total.gpu + size, total.ram, total.reclaimable)
            elif embedding.type in copied:
                total = Weights(total.gpu, total.ram + size, total.reclaimable)
    return total


def _weigh_file(
    header: GgufHeader,
    options: Options,
    split: Split,
    overrides: list[tuple[re.Pattern[str] | Linear, bool]],
    copied: frozenset[str],
) -> Weights:
    gpu = own = mapped = 0
    begin, end = None, 0
    for tensor in header.tensors:
        size = tensor.size or 0
        number = _layer(tensor.name)
        if number is not None and number >= split.layers:
            continue  # predicts further tokens, and is not loaded
        if _is_on_gpu(tensor.name, number, options, split, overrides):
            gpu += size
        elif not options.is_mapped or _is_repacked(tensor, copied):
            own += size
        else:
            mapped += size
            begin = tensor.offset if begin is None else min(begin, tensor.offset)
            end = max(end, tensor.offset + size)
    reach = end - begin if begin is not None else 0
    return Weights(gpu, own + mapped, max(0, reach - mapped))


def _layer(name: str) -> int | None:
    found = _BLOCK.match(name)
    return int(found[1]) if found else None


def _is_on_gpu(
    name: str,
    number: int | None,
    options: Options,
    split: Split,
    overrides: list[tuple[re.Pattern[str] | Linear, bool]],
) -> bool:
    if not split.has_gpu:
        return False
    for pattern, is_gpu in overrides:
        if pattern.search(name):
            return is_gpu
    if number is None:
        return split.has_output and not name.startswith(_INPUTS)
    if number < options.cpu_experts and _EXPERTS.search(name):
        return False
    return number >= split.first


def _is_repacked(tensor: TensorInfo, copied: frozenset[str]) -> bool:
    """Rows that are looked up, as those of embeddings, are not multiplied, and stay as they are."""
    shape = tensor.dimensions
    return (
        tensor.type in copied
        and len(shape) >= _MATRIX
        and shape[1] % _REPACKED_ROWS == 0
        and not tensor.name.startswith(_INPUTS)
    )


def _compiled(options: Options) -> list[tuple[re.Pattern[str] | Linear, bool]]:
    """Return expressions, and whether what they match goes to a GPU; wrong ones are left out."""
    found: list[tuple[re.Pattern[str] | Linear, bool]] = []
    for source, buffer in options.overrides[:_MOST_OVERRIDES]:
        is_gpu = not buffer.upper().startswith("CPU") and "HOST" not in buffer.upper()
        try:
            found.append((compile_pattern(source), is_gpu))
        except PatternError:
            continue
    return found
