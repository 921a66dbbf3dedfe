"""Names as people type them: from files, folders and headers, and what tells equal ones apart."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelswap.catalog.names import (
    MOST_NAME,
    NameChoice,
    assign,
    from_header,
    meaningful,
    part_of,
    parts_of,
    stem_parts,
    typed,
)


@pytest.mark.parametrize(
    ("stem", "base", "tag"),
    [
        ("Qwen3-8B-Q4_K_M", "qwen3-8b", "q4_k_m"),
        ("Qwen3-30B-A3B-UD-Q4_K_XL", "qwen3-30b-a3b", "ud-q4_k_xl"),
        ("Meta-Llama-3.1-8B-Instruct.Q8_0", "meta-llama-3.1-8b-instruct", "q8_0"),
        ("Model-7B.i1-IQ3_XXS", "model-7b", "i1-iq3_xxs"),
        ("gpt-oss-20b-mxfp4", "gpt-oss-20b", "mxfp4"),
        ("phi-3-mini-4k-instruct-fp16", "phi-3-mini-4k-instruct", "fp16"),
        ("Llama-3.2-1B-Instruct-Q4_0_4_4", "llama-3.2-1b-instruct", "q4_0_4_4"),
        ("My Model (v2) q5_k_s", "my-model-v2", "q5_k_s"),
        ("q2-horizon-7b-Q6_K", "q2-horizon-7b", "q6_k"),
        ("ggml-org_gemma-3-4b-it-GGUF_gemma-3-4b-it-Q4_K_M", "gemma-3-4b-it", "q4_k_m"),
        ("my_tune-GGUF_Q4_K_M", "my_tune", "q4_k_m"),
        ("nomic-embed-text-v1.5", "nomic-embed-text-v1.5", ""),
        ("日本語モデル-Q4_K_M", "日本語モデル", "q4_k_m"),
        ("model", "", ""),
        ("ggml-model-q4_0", "", "q4_0"),
        ("Q4_K_M", "", "q4_k_m"),
        ("3f786850e387550fdab836ed7e6dc881de23001b", "", ""),
        ("0f8fad5b-d9cb-469f-a165-70867728950e", "", ""),
    ],
)
def test_a_stem_is_a_name_and_a_quantization(stem: str, base: str, tag: str) -> None:
    """What the usual publishers write is understood."""
    parts = stem_parts(stem)
    assert (parts.base, parts.tag) == (base, tag)


@pytest.mark.parametrize(
    "text", ["models", "..", "1", "v3", "snapshots", "UD-Q4_K_XL", "sha256-" + "a" * 64, "-"]
)
def test_some_folders_say_nothing(text: str) -> None:
    """Versions, quantizations and hashes name no model."""
    assert meaningful(text) == ""


def test_repositories_lose_their_ending() -> None:
    """`-GGUF` says what is inside, not what it is called."""
    assert meaningful("Qwen3-8B-GGUF") == "qwen3-8b"


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        (("Qwen3", "8B", "", ""), "qwen3-8b"),
        (("Qwen3-8B", "8B", "", ""), "qwen3-8b"),
        (("Meta-Llama-3.1", "8B", "Instruct", ""), "meta-llama-3.1-8b-instruct"),
        (("", "", "", "Smollm2 135M"), "smollm2-135m"),
        (("", "8B", "", ""), ""),
    ],
)
def test_a_header_gives_a_name(fields: tuple[str, str, str, str], name: str) -> None:
    """From what converters write; nothing is said twice."""
    assert from_header(*fields) == name


def test_parts_are_counted_by_their_names() -> None:
    """The convention of llama.cpp: five digits each."""
    assert part_of("Big-Q4_K_M-00002-of-00003") == ("Big-Q4_K_M", 2, 3)
    assert part_of("Big-2-of-3") is None
    assert parts_of("Big-00002-of-00002") == ["Big-00001-of-00002", "Big-00002-of-00002"]
    assert parts_of("Big-00001-of-00001") == ["Big-00001-of-00001"]


def choice(base: str, path: str, *longer: str, broken: bool = False) -> NameChoice:
    return NameChoice(base, "q8_0", longer, (path.rpartition("/")[2],), path, is_broken=broken)


def test_all_that_share_a_name_get_a_longer_one() -> None:
    """Up to the hash of the path, when nothing else is left."""
    found = assign(
        [
            choice("a", "/x/a", "x/a"),
            choice("a", "/y/a", "y/a"),
            choice("b", "/1/b"),
            choice("b", "/2/b"),
        ]
    )
    names = [name for name, _ in found]
    assert names[:2] == ["x/a", "y/a"]
    assert all(name.startswith("b:q8_0@") for name in names[2:])
    assert len(set(names)) == 4


def test_broken_ones_yield() -> None:
    """A broken file takes neither a name nor an alias of one that can be served."""
    good = choice("a", "/x/a", "x/a")
    alone = assign([good])
    assert assign([good, choice("a", "/y/a", "y/a", broken=True)])[0] == alone[0]


CHOICES = st.lists(
    st.builds(
        NameChoice,
        base=st.sampled_from(["a", "b", "A"]),
        tag=st.sampled_from(["", "q4_0"]),
        longer=st.lists(st.sampled_from(["x/a", "y/a", "a", "b:q4_0"]), max_size=2).map(tuple),
        aliases=st.lists(st.sampled_from(["a", "b", "c", "C", "d"]), max_size=3).map(tuple),
        path=st.uuids().map(str),
        is_broken=st.booleans(),
    ),
    max_size=8,
    unique_by=lambda each: each.path,
)


@given(choices=CHOICES, data=st.data())
def test_no_name_is_given_twice_in_any_order(
    choices: list[NameChoice], data: st.DataObject
) -> None:
    """No two models share a name, whatever its case; names depend on no order."""
    found = dict(zip((each.path for each in choices), assign(choices), strict=True))
    folded = [{name.casefold() for name in (id_, *aliases)} for id_, aliases in found.values()]
    assert sum(map(len, folded)) == len(set().union(*folded))
    spelled = [name for id_, aliases in found.values() for name in (id_, *aliases)]
    assert len(spelled) == len(set(spelled))
    shuffled = data.draw(st.permutations(choices))
    again = dict(zip((each.path for each in shuffled), assign(shuffled), strict=True))
    assert again == found


@given(st.text(max_size=400))
def test_any_text_becomes_a_name(text: str) -> None:
    """Without blanks, controls and slashes; and what was typed stays as it is."""
    name = typed(text)
    assert len(name) <= MOST_NAME
    assert typed(name) == name
    assert not any(character.isspace() or character in "/:\\\0" for character in name)
    stem_parts(text)
    meaningful(text)
