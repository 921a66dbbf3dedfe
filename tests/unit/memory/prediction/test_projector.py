"""What a projector takes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from modelswap.memory.prediction.projector import projector_compute, projector_weights
from support.model_headers import header_of, tensors_of

if TYPE_CHECKING:
    from modelswap.catalog.gguf.header import GgufHeader


def vision(**keys: Any) -> GgufHeader:
    tensors = tensors_of(("v.blk.0.ffn_up.weight", (64, 64), "f16"))
    given = {f"vision.{key}": value for key, value in keys.items()}
    return header_of("clip", tensors, **given)


def test_weights_are_all_tensors() -> None:
    """They are read, not mapped."""
    assert projector_weights(vision()) == 64 * 64 * 2


def test_an_image_passes_as_its_patches() -> None:
    """SigLIP of Gemma 3: 896 pixels in patches of 14 are 4,096 tokens of 1,152 and 4,304 elements."""
    header = vision(image_size=896, patch_size=14, embedding_length=1152, feed_forward_length=4304)
    assert projector_compute(header) == 4096 * 4 * (2 * 4304 + 6 * 1152)


def test_a_projector_without_vision_has_no_patches() -> None:
    """Nor one that claims patches of nothing."""
    assert projector_compute(vision()) == 0
    assert projector_compute(vision(image_size=896, patch_size=0)) == 0


def test_patches_are_bounded() -> None:
    """A header may claim any size."""
    header = vision(image_size=1 << 50, patch_size=1, embedding_length=1 << 50)
    assert projector_compute(header) < 1 << 40
