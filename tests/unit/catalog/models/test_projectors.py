"""Which projector belongs to which model."""

from __future__ import annotations

import pytest

from modelswap.catalog.files import FoundFile
from modelswap.catalog.models.projectors import Partner, Projector, pair
from modelswap.catalog.models.summary import GgufSummary


def projector(stem: str, length: int | None = None) -> Projector:
    file = FoundFile(f"/m/{stem}.gguf", f"{stem}.gguf", 1, 1, 1, 1, is_link=False)
    summary = GgufSummary(version=3, projection_length=length, has_vision_encoder=True)
    return Projector.of(file, stem, summary)


def paired(models: dict[str, int | None], *stems: str) -> dict[str, str]:
    """Return the stem of the projector of each model; models are `base:tag` and width."""
    split = ((*name.partition(":"), width) for name, width in models.items())
    partners = [Partner(base, tag, width) for base, _, tag, width in split]
    found = pair(partners, [projector(stem, 64) for stem in stems])
    return {
        name: each.file.name.removesuffix(".gguf")
        for name, each in zip(models, found, strict=True)
        if each is not None
    }


@pytest.mark.parametrize(
    ("stems", "best"),
    [
        (["mmproj-bf16", "mmproj-f16", "mmproj-f32"], "mmproj-f16"),
        (["mmproj-bf16", "mmproj-q8_0"], "mmproj-bf16"),
        (["mmproj-f16", "mmproj-q4_k_m"], "mmproj-q4_k_m"),
        (["mmproj-fp16", "mmproj-bf16"], "mmproj-fp16"),
        (["mmproj-gemma-3-4b-it-q8_0", "mmproj-f16"], "mmproj-gemma-3-4b-it-q8_0"),
    ],
)
def test_the_best_one_is_taken(stems: list[str], best: str) -> None:
    """The model's own quantization, else f16; one that names the model before one that does not."""
    for order in (stems, stems[::-1]):
        assert paired({"gemma-3-4b-it:q4_k_m": None}, *order) == {"gemma-3-4b-it:q4_k_m": best}


def test_names_decide_among_several_models() -> None:
    """In a folder of many models each projector goes to the model that it names, and to its variants."""
    models: dict[str, int | None] = {
        "qwen2.5-vl-7b:q4_0": None, "qwen2.5-vl-7b-abliterated:q4_0": None, "gemma-3-4b-it:q8_0": None,
        "llama-3-8b:q8_0": None, "llava-llama-3-8b:q8_0": None,
    }  # fmt: skip
    assert paired(
        models, "mmproj-Qwen2.5-VL-7B-f16", "mmproj-google_gemma-3-4b-it-f16", "mmproj-llava-llama-3-8b-f16"
    ) == {
        "qwen2.5-vl-7b:q4_0": "mmproj-Qwen2.5-VL-7B-f16",
        "qwen2.5-vl-7b-abliterated:q4_0": "mmproj-Qwen2.5-VL-7B-f16",
        "gemma-3-4b-it:q8_0": "mmproj-google_gemma-3-4b-it-f16",
        "llava-llama-3-8b:q8_0": "mmproj-llava-llama-3-8b-f16",
    }  # fmt: skip


def test_width_decides_where_names_do_not() -> None:
    """A projector without a name goes to the one model of its width, or to none."""
    assert paired({"a:q4_0": 64, "b:q4_0": 128}, "mmproj-f16") == {"a:q4_0": "mmproj-f16"}
    assert paired({"a:q4_0": 64, "a:q8_0": 64, "b:q4_0": 128}, "mmproj-f16") == {
        "a:q4_0": "mmproj-f16", "a:q8_0": "mmproj-f16",
    }  # fmt: skip
    assert paired({"a:q4_0": 64, "b:q4_0": 64}, "mmproj-f16") == {}
    assert paired({"a:q4_0": 64, "b:q4_0": 64}, "mmproj-other-f16") == {}
