"""The bytes of a KV cache and of recurrent states.

Sources: llama.cpp's `src/llama-context.cpp` (rounding of the context), `src/llama-kv-cache.cpp` (one row of
keys and one of values for each cell and layer), `src/llama-kv-cache-iswa.cpp` (cells of windowed layers),
`src/llama-memory-recurrent.cpp`. Meta's Llama 3 8B has 32 layers of 8 heads of 128: at 8,192 tokens in f16
that is 32 x 8,192 x (1,024 + 1,024) x 2 bytes = 1 GiB, as llama.cpp prints it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from .options import CacheType, Options
    from .shape import Layer, Shape

CELLS: Final = 256
"""Tokens: a cache has a multiple of it (`GGML_PAD(n_ctx, 256)`)."""
_STATE: Final = 4
"""Bytes of an element of a recurrent state, which is f32 whatever the cache's type."""


@dataclass(frozen=True, slots=True)
class Cells:
    """Tokens that have a place in the cache of a layer: in one stream, and the number of streams."""

    full: int
    windowed: int
    streams: int


def cells_of(shape: Shape, options: Options) -> Cells:
    """Return how many tokens the layers keep.

    Slots have a stream each, of an equal share of the context, unless the cache is unified. A windowed
    layer keeps its window and one physical batch; in a unified cache, the window of each slot.
    """
    context = options.context or shape.context
    streams = 1 if options.is_unified else options.slots
    full = _padded(_padded(context) // streams)
    batch = ubatch_of(shape, options)
    windows = options.slots if options.is_unified else 1
    windowed = _padded(min(full, shape.window * windows + batch))
    return Cells(full, full if options.has_full_windows else windowed, streams)


def ubatch_of(shape: Shape, options: Options) -> int:
    """Return the tokens that are computed at once: no more than the context, where attention is causal."""
    context = options.context or shape.context
    return max(1, min(options.ubatch, _padded(context)) if shape.is_causal else options.ubatch)


def layer_cache(layer: Layer, cells: Cells, keys: CacheType, values: CacheType) -> int:
    count = (cells.windowed if layer.is_windowed else cells.full) * cells.streams
    return count * (keys.row(layer.keys) + values.row(layer.values))


def layer_state(layer: Layer, options: Options) -> int:
    """One state for each slot: it does not grow with the context."""
    return layer.state * _STATE * options.slots


def _padded(tokens: int) -> int:
    return max(1, -(-tokens // CELLS)) * CELLS
