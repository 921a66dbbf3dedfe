"""Which files of a repository are one model: as llama.cpp's `-hf` decides."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelswap.catalog.pull_source import HubSource, parse_source
from modelswap.catalog.pulls.hub_choice import HubChoice, NoSuchModelError, choose_files


def chosen(text: str, *paths: str) -> HubChoice:
    source = parse_source(text)
    assert isinstance(source, HubSource)
    return choose_files(source, paths)


@pytest.mark.parametrize(
    ("source", "paths", "expected"),
    [
        ("hf:a/b", ["x-Q8_0.gguf", "x-Q4_K_M.gguf", "x-BF16.gguf"], "x-Q4_K_M.gguf"),
        ("hf:a/b", ["x-BF16.gguf", "x-Q8_0.gguf"], "x-Q8_0.gguf"),
        ("hf:a/b", ["x-Q6_K.gguf", "x-Q5_K_M.gguf"], "x-Q5_K_M.gguf"),
        ("hf:a/b", ["x.gguf"], "x.gguf"),
        ("hf:a/b:q6_k", ["x-Q4_K_M.gguf", "x-Q6_K.gguf"], "x-Q6_K.gguf"),
        ("hf:a/b:F16", ["x-BF16.gguf", "x-F16.gguf"], "x-F16.gguf"),
        ("hf:a/b:Q4_K", ["x-Q4_K_M.gguf", "x-Q4_K.gguf"], "x-Q4_K.gguf"),
        ("hf:a/b:UD-Q4_K_XL", ["UD-Q4_K_XL/x-UD-Q4_K_XL.gguf"], "UD-Q4_K_XL/x-UD-Q4_K_XL.gguf"),
        ("hf:a/b", ["mmproj-Q4_K_M.gguf", "mtp-Q4_K_M.gguf", "x-Q5_0.gguf"], "x-Q5_0.gguf"),
        ("hf:a/b", ["x-imatrix-Q4_K_M.gguf", "x-Q4_K_S.gguf"], "x-Q4_K_S.gguf"),
        ("hf:a/b/D/X.GGUF", ["d/x.gguf"], "d/x.gguf"),
    ],
)
def test_the_model(source: str, paths: list[str], expected: str) -> None:
    assert chosen(source, *paths).files == (expected,)


def test_the_parts_of_a_split_file_stay_together() -> None:
    parts = [f"q/x-Q4_K_M-0000{n}-of-00002.gguf" for n in (1, 2)]
    other = [f"q/x-Q8_0-0000{n}-of-00003.gguf" for n in (1, 2, 3)]
    assert chosen("hf:a/b", *reversed(parts + other)).files == tuple(parts)
    assert chosen(f"hf:a/b/{parts[0]}", *parts).files == tuple(parts)


def test_a_split_file_with_a_missing_part_is_none() -> None:
    with pytest.raises(NoSuchModelError, match="lacks 1 of the 2 parts, the first: x-Q8_0-00002"):
        chosen("hf:a/b", "x-Q8_0-00001-of-00002.gguf")


@pytest.mark.parametrize(
    ("model", "projectors", "expected"),
    [
        ("x-Q4_K_M.gguf", ["mmproj-F16.gguf", "mmproj-Q8_0.gguf"], "mmproj-Q8_0.gguf"),
        ("x-BF16.gguf", ["mmproj-F16.gguf", "mmproj-Q8_0.gguf"], "mmproj-F16.gguf"),
        ("d/x-Q8_0.gguf", ["mmproj-Q8_0.gguf", "d/mmproj-F32.gguf"], "d/mmproj-F32.gguf"),
        ("d/x-Q8_0.gguf", ["mmproj-F16.gguf"], "mmproj-F16.gguf"),
        ("d/x-Q8_0.gguf", ["e/mmproj-F16.gguf"], ""),
        ("x-Q8_0.gguf", ["d/mmproj-F16.gguf"], ""),
        ("x-Q8_0.gguf", [], ""),
    ],
)
def test_the_projector(model: str, projectors: list[str], expected: str) -> None:
    """The one in the nearest folder around the model, of the bits nearest to its own."""
    assert chosen(f"hf:a/b/{model}", model, *projectors).mmproj == expected


def test_a_repository_without_gguf_is_a_folder_of_safetensors() -> None:
    own = ["config.json", "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors",
           "model.safetensors.index.json", "tokenizer.json", "1_Pooling/config.json"]  # fmt: skip
    others = ["consolidated.safetensors", "original/a.safetensors", "x.bin", "README.md", "a.png"]
    found = chosen("hf:a/b", *own, *others)
    assert found.is_folder
    assert sorted(found.files) == sorted(own)
    assert chosen("hf:a/b", "config.json", "consolidated.safetensors").is_folder


@pytest.mark.parametrize(
    ("source", "paths", "text"),
    [
        ("hf:a/b", ["README.md"], "holds no GGUF file, and no safetensors model"),
        ("hf:a/b", ["model.safetensors"], "holds no GGUF file, and no safetensors model"),
        ("hf:a/b:Q4_K_M", ["model.safetensors", "config.json"], "holds no GGUF file"),
        ("hf:a/b:Q2_K", ["x-Q8_0.gguf", "x-q6_k.gguf"], "no quantization Q2_K; it has Q6_K, Q8_0"),
        ("hf:a/b/y.gguf", ["x.gguf"], "has no file y.gguf; it has x.gguf"),
        ("hf:a/b:Q2_K", ["/x-Q2_K.gguf", "../x-Q2_K.gguf", "d\\x-Q2_K.gguf"], "holds no GGUF"),
        ("hf:a/b:Z", [f"x-Q8_0-{n}.gguf" for n in range(3)], "it has Q8_0"),
        ("hf:a/b/z.gguf", [f"x{n:02}.gguf" for n in range(20)], "and 8 more"),
    ],
)
def test_what_is_missing_is_said(source: str, paths: list[str], text: str) -> None:
    with pytest.raises(NoSuchModelError, match=text):
        chosen(source, *paths)


NAMES = st.lists(
    st.sampled_from(["x", "mmproj", "-Q4_K_M", "-BF16", "-00001-of-00002", "-00002-of-00002", ".gguf",
                     "/", "..", "config.json", ".safetensors", "\\"]),
    max_size=6,
).map("".join)  # fmt: skip


@given(st.sampled_from(["hf:a/b", "hf:a/b:Q4_K_M", "hf:a/b/x.gguf"]), st.lists(NAMES, max_size=8))
def test_only_files_of_the_repository_are_chosen(source: str, paths: list[str]) -> None:
    """And never one outside of its folder; the order of the list does not matter."""
    try:
        found = chosen(source, *paths)
    except NoSuchModelError:
        return
    assert set(found.all) <= set(paths)
    assert found.files
    assert not any(".." in path.split("/") or path.startswith("/") for path in found.all)
    assert chosen(source, *reversed(paths)) == found
