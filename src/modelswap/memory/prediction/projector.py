"""What a projector (`mmproj`) takes: its weights, and the buffer in which it encodes one image.

Source: llama.cpp's `tools/mtmd/clip.cpp`; its weights are read, not mapped. A warm-up encodes one image of
the size in the header; models that take images of any size need more for larger ones.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from modelswap.catalog.gguf.header import GgufHeader

_F32: Final = 4
"""Bytes of an activation."""
_MOST_PATCHES: Final = 16384
"""Patches of one image that are believed: 128 x 128."""
_MOST_WIDTH: Final = 1 << 16
"""Elements; known encoders are below 2^13."""


def projector_weights(header: GgufHeader) -> int:
    return sum(tensor.size or 0 for tensor in header.tensors)


def projector_compute(header: GgufHeader) -> int:
    """Return bytes for one image: its patches pass a layer as tokens do, with a feed-forward network."""

    def number(key: str) -> int:
        return min(header.number(f"clip.vision.{key}") or 0, _MOST_WIDTH)

    size, patch = number("image_size"), number("patch_size")
    if not size or not patch:
        return 0
    patches = min((size // patch) ** 2, _MOST_PATCHES)
    return patches * _F32 * (2 * number("feed_forward_length") + 6 * number("embedding_length"))
