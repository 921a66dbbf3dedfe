"""The bytes of compute buffers: what lives at once while one physical batch passes a layer.

llama.cpp's allocator packs the tensors of a graph (`ggml-alloc.c`), so that the size is the largest sum
of what lives at one point. The sums below are those of the graphs in `src/models/`. They were compared with
what the engine prints (`compute buffer size`) for 45 combinations of widths, contexts, batches and slots:
equal within 1 MiB for feed-forward networks and experts, at most 10 % more for attention without
flash attention. Versions of llama.cpp before 2026 reserve the likelihoods of all tokens of a batch, too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from .cache import ubatch_of

if TYPE_CHECKING:
    from .cache import Cells
    from .options import Options
    from .shape import Shape

_F32: Final = 4
"""Bytes of an activation."""
_F16: Final = 2
"""Bytes of an element of the mask that flash attention takes."""
_SCALARS: Final = 64 << 10
"""Bytes of positions, indices and other small inputs."""


def mask_bytes(shape: Shape, options: Options, cells: Cells) -> int:
    """One row of cells for each token: f16, or f32 without flash attention.

    The rows of windowed layers are a second mask. Without a cache a batch sees itself.
    """
    size = _F16 if options.has_flash_attention else _F32
    tokens = ubatch_of(shape, options)
    if not shape.has_cache:
        return tokens * tokens * size
    windowed = any(layer.keys and layer.is_windowed for layer in shape.layers)
    full = any(layer.keys and not layer.is_windowed for layer in shape.layers)
    return tokens * size * (cells.full * full + cells.windowed * windowed)


def compute_bytes(shape: Shape, options: Options, cells: Cells) -> int:
    """Return the buffer of one device that computes whole layers."""
    tokens = ubatch_of(shape, options)
    widths = max(
        _feed_forward(shape), _attention(shape, options, cells), 5 * shape.embd + 5 * shape.inner
    )
    activations = tokens * _F32 * widths
    if options.is_embedding and shape.has_output:
        activations = max(activations, tokens * _F32 * (shape.vocabulary + 5 * shape.embd))
    return mask_bytes(shape, options, cells) + activations + _SCALARS


def input_bytes(shape: Shape, options: Options, cells: Cells) -> int:
    """Return what stays on the CPU where the GPU computes everything: the mask, and the tokens' embeddings."""
    tokens = ubatch_of(shape, options)
    return mask_bytes(shape, options, cells) + tokens * _F32 * shape.embd + _SCALARS


def output_bytes(shape: Shape, options: Options) -> int:
    """Return the buffer of results: likelihoods of one token a slot; for embeddings, of a whole batch."""
    if not options.is_embedding and shape.has_output:
        return options.slots * shape.vocabulary * _F32
    return ubatch_of(shape, options) * (shape.vocabulary + shape.embd) * _F32


def _feed_forward(shape: Shape) -> int:
    """Gate, up and their product beside what passes by; with experts, the outputs of those used."""
    dense = (3 * shape.ff + 5 * shape.embd) if shape.is_gated else 2 * shape.ff + shape.embd
    experts = (2 * shape.experts_used + 6) * shape.embd if shape.experts_used else 0
    return max(dense, experts)


def _attention(shape: Shape, options: Options, cells: Cells) -> int:
    """Queries and keys before and after their rotation; without flash attention, the scores of all heads."""
    if options.has_flash_attention:
        return 2 * shape.queries + 2 * shape.keys + 4 * shape.embd
    seen = cells.full if shape.has_cache else ubatch_of(shape, options)
    return seen * shape.heads + 5 * shape.queries // 2 + 5 * shape.embd
