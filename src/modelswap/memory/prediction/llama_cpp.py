"""The need of one server of llama.cpp: the sum of its parts, on the GPUs and in the machine's memory."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from modelswap.memory.estimate import CACHE, Estimate, Part
from modelswap.units import Bytes

from .cache import cells_of, layer_cache, layer_state
from .compute import compute_bytes, input_bytes, output_bytes
from .projector import projector_compute, projector_weights
from .shape import shape_of
from .weights import split_of, weigh

if TYPE_CHECKING:
    from collections.abc import Sequence

    from modelswap.catalog.gguf.header import GgufHeader
    from modelswap.core.placement.policy import DeviceId

    from .options import Options

PROGRAM: Final = Bytes(32 << 20)
"""Of a server without its model: measured of our engine, 11 MB of its own and 20 MB of its libraries."""
TOKEN: Final = Bytes(230)
"""Of each token of the vocabulary and each merge of its tokenizer, for its text and where to find it: measured
with 1,000 to 128,000 tokens, and with SmolLM2's merges."""
GPU_CONTEXT: Final = Bytes(457 << 20)
"""Of each GPU, for the driver's context, kernels and workspaces. Ollama sets as much aside
(`cudaMinimumMemory`); llama.cpp's pull requests 20595 and 23604 measured 107 to 555 MiB of the context alone."""
GPU_LIBRARIES: Final = Bytes(300 << 20)
"""Of the machine's memory, for the libraries of CUDA or ROCm and the driver's own. A guess: not measured."""
MOST: Final = 1 << 60
"""Bytes of one part: a header may claim more than any machine has."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Files:
    """The headers of the files that the options name."""

    model: Sequence[GgufHeader]
    """Of each file of a split model, the first one first."""
    draft: Sequence[GgufHeader] = ()
    projector: GgufHeader | None = None
    adapters: Sequence[GgufHeader] = ()


@dataclass(frozen=True, slots=True)
class _Machine:
    has_gpus: bool
    gpus: int
    """That the server uses, at least."""
    repacked: frozenset[str]


@dataclass(slots=True)
class _Sum:
    gpu: dict[str, int] = field(default_factory=dict[str, int])
    ram: dict[str, int] = field(default_factory=dict[str, int])
    reclaimable: int = 0

    def add(self, name: str, size: int, *, is_on_gpu: bool) -> None:
        side = self.gpu if is_on_gpu else self.ram
        side[name] = side.get(name, 0) + size

    def parts(self) -> tuple[Part, ...]:
        sides = [
            Part(name=name, bytes=Bytes(min(size, MOST)), is_on_gpu=is_on_gpu)
            for side, is_on_gpu in ((self.gpu, True), (self.ram, False))
            for name, size in side.items()
            if size
        ]
        if self.reclaimable:
            size = Bytes(min(self.reclaimable, MOST))
            sides.append(Part(name="copied weights", bytes=size, is_reclaimable=True))
        return tuple(sides)


def estimate(
    options: Options,
    files: Files,
    *,
    gpus: bool,
    devices: tuple[DeviceId, ...] = (),
    repacked: frozenset[str] = frozenset(),
) -> Estimate:
    """Return the need of a server.

    *gpus*: whether it sees a GPU. *devices*: those it is bound to, where the command or its environment says
    so. *repacked*: the types of tensors that this machine's CPU copies into another order; with a GPU llama.cpp
    prefers other buffers, and copies none.
    """
    total = _Sum()
    copied = frozenset[str]() if gpus else repacked
    machine = _Machine(gpus, max(1, len(devices)), copied)
    has_gpu = _add_model(total, options, files.model, machine)
    if files.draft:
        drafting = replace(
            options, gpu_layers=options.draft_gpu_layers, keys=options.draft_keys,
            values=options.draft_values, overrides=(), cpu_experts=0,
        )  # fmt: skip
        has_gpu |= _add_model(total, drafting, files.draft, machine)
    for header in files.adapters:
        size = sum(tensor.size or 0 for tensor in header.tensors)
        total.add("adapters", size, is_on_gpu=has_gpu)
    if files.projector is not None:
        is_on_gpu = gpus and options.has_projector_on_gpu
        size = projector_weights(files.projector) + projector_compute(files.projector)
        total.add("projector", size, is_on_gpu=is_on_gpu)
        has_gpu |= is_on_gpu
    total.add("program", PROGRAM, is_on_gpu=False)
    if gpus:
        total.add("program", GPU_LIBRARIES, is_on_gpu=False)
    if has_gpu:
        total.add("program", GPU_CONTEXT * machine.gpus, is_on_gpu=True)
    is_open = not options.context or (gpus and options.gpu_layers is None)
    return Estimate(parts=total.parts(), devices=devices, is_fitted=options.is_fitted and is_open)


def _add_model(
    total: _Sum,
    options: Options,
    headers: Sequence[GgufHeader],
    machine: _Machine,
) -> bool:
    """Add one model with its context; return whether a GPU computes a part of it."""
    shape = shape_of(headers[0])
    split = split_of(len(shape.layers), options.gpu_layers, gpus=machine.has_gpus)
    weights = weigh(headers, options, split, machine.repacked)
    total.add("weights", weights.gpu, is_on_gpu=True)
    total.add("weights", weights.ram, is_on_gpu=False)
    total.reclaimable += weights.reclaimable
    cells = cells_of(shape, options)
    for number, layer in enumerate(shape.layers):
        is_on_gpu = number >= split.first and options.has_cache_on_gpu
        size = layer_cache(layer, cells, options.keys, options.values) if shape.has_cache else 0
        total.add(CACHE, size, is_on_gpu=is_on_gpu)
        total.add("recurrent state", layer_state(layer, options), is_on_gpu=is_on_gpu)
    buffer = compute_bytes(shape, options, cells)
    if split.has_gpu:
        total.add("compute buffers", buffer * machine.gpus, is_on_gpu=True)
    is_all_on_gpu = split.is_whole and not (options.overrides or options.cpu_experts)
    on_cpu = input_bytes(shape, options, cells) if is_all_on_gpu else buffer
    total.add("compute buffers", on_cpu + output_bytes(shape, options), is_on_gpu=False)
    total.add("program", (shape.vocabulary + shape.merges) * TOKEN, is_on_gpu=False)
    return split.has_gpu
