"""Texts that name a source, and those that do not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelswap.catalog.pull_source import (
    HubSource,
    OllamaSource,
    UrlSource,
    canonical,
    parse_source,
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("hf:Qwen/Qwen3-8B-GGUF", HubSource("Qwen/Qwen3-8B-GGUF")),
        (" HF://Qwen/Qwen3-8B-GGUF:q4_k_m ", HubSource("Qwen/Qwen3-8B-GGUF", "Q4_K_M")),
        ("hf:a/b:latest", HubSource("a/b")),
        ("hf:a/b/sub/x.gguf", HubSource("a/b", file="sub/x.gguf")),
        ("https://huggingface.co/a/b", HubSource("a/b")),
        ("https://huggingface.co/a/b/blob/main/x.gguf", HubSource("a/b", file="x.gguf")),
        ("https://hf.co/a/b/resolve/main/d/x.gguf", HubSource("a/b", file="d/x.gguf")),
        (
            "https://huggingface.co/a/b/resolve/v2/x.gguf",
            UrlSource("https://huggingface.co/a/b/resolve/v2/x.gguf"),
        ),
        ("HTTPS://Host.Example:80/a b.gguf", UrlSource("https://host.example:80/a%20b.gguf")),
        ("http://[::1]/x.GGUF", UrlSource("http://[::1]/x.GGUF")),
        ("ollama:qwen3", OllamaSource("registry.ollama.ai", "library", "qwen3", "latest")),
        ("ollama:a\n", OllamaSource("registry.ollama.ai", "library", "a", "latest")),
        ("ollama:me/m:0.6b", OllamaSource("registry.ollama.ai", "me", "m", "0.6b")),
        ("ollama:hf.co/a/b:Q4_K_M", OllamaSource("hf.co", "a", "b", "Q4_K_M")),
        ("ollama:host:5000/a/b", OllamaSource("host:5000", "a", "b", "latest")),
    ],
)  # fmt: skip
def test_a_source_is_read(text: str, expected: object) -> None:
    assert parse_source(text) == expected


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "does not begin with"),
        ("qwen3", "does not begin with"),
        ("s3://bucket/x.gguf", "does not begin with"),
        ("hf:qwen3", "OWNER/REPO"),
        ("hf:a/", "OWNER/REPO"),
        ("hf:a/b:", "'' is no quantization"),
        ("hf:a/b:../x", "is no quantization"),
        ("hf:a/..", "no name of an owner"),
        ("hf:a/b--c", "no name of an owner"),
        ("hf:a/b/../c.gguf", "no path of a file"),
        ("hf:a/b/x.bin", "does not end in .gguf"),
        ("hf:a/b/x.gguf:Q4", "no quantization behind it"),
        ("https:///x.gguf", "no host"),
        ("https://h:0/x.gguf", "no host"),
        ("https://h:99999/x.gguf", "cannot be read"),
        ("https://host/x.bin", "does not end in the name of a .gguf file"),
        ("https://host/a%2Fb.gguf%2F", "does not end in the name"),
        ("https://huggingface.co/a/b/tree/main", "a page of the hub"),
        ("ollama:", "no name of a model"),
        ("ollama:a/b/c/d", "a name is written"),
        ("ollama:..", "no name of a model"),
        ("ollama:ho st/a/b", "no host"),
        ("ollama:a\x01", "control character"),
        ("hf:a/" + "b" * 3000, "at most 2000"),
    ],
)  # fmt: skip
def test_what_names_no_source_is_explained(text: str, reason: str) -> None:
    """The error quotes what was found, says why it is wrong, and what was expected."""
    with pytest.raises(ValueError, match=reason) as caught:
        parse_source(text)
    assert "expected hf:OWNER/REPO" in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "https://me:hunter2@host/x.gguf?sig=hunter2",
        "https://me:hunter2@host/x.bin?sig=hunter2#hunter2",
        "ftp://me:hunter2@host/x.gguf?sig=hunter2",
        "https://me:hunter2@host:99999/x.gguf?sig=hunter2",
        "https:/me:hunter2@host/x.gguf?sig=hunter2",
        "https:me:hunter2@host/x.gguf",
        "https://me:a/hunter2@host/x.gguf",
        "hf:me:hunter2@a/b",
    ],
)
def test_passwords_and_signatures_are_in_no_text(text: str) -> None:
    try:
        shown = canonical(text)
    except ValueError as problem:
        shown = str(problem)
    assert "hunter2" not in shown


def test_a_source_may_be_logged() -> None:
    source = parse_source("https://me:hunter2@host/x.gguf?sig=hunter2")
    assert "hunter2" not in repr(source)


def test_a_query_tells_two_sources_apart() -> None:
    """Without being shown."""
    texts = {canonical(f"https://host/x.gguf{query}") for query in ("", "?v=1", "?v=2")}
    assert len(texts) == 3


PIECES = st.sampled_from(
    ["hf:", "ollama:", "https://", "http:", "//", "/", ":", "@", "?", "#", ".gguf", "..", "a", "B.c",
     "Q4_K_M", "%2e", "%2F", "%", "[", "]", "host", "-", "huggingface.co", "resolve", "main", "\\", " ", "ä"]
)  # fmt: skip


@given(st.lists(PIECES, max_size=12).map("".join) | st.text(max_size=40))
def test_any_text_is_a_source_or_a_value_error(text: str) -> None:
    """A source's canonical text names the same source, and nothing in it leads out of a folder."""
    try:
        source = parse_source(text)
    except ValueError:
        return
    match source:
        case HubSource():
            assert parse_source(source.text) == source
            parts = [*source.repository.split("/"), *source.file.split("/")]
        case OllamaSource():
            assert parse_source(source.text) == source
            parts = [source.host, source.namespace, source.name, source.tag]
        case _:
            assert parse_source(source.url) == source
            parts = []
    assert not {".", ".."} & set(parts)
    assert canonical(text) == source.text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("HF:a/b:q8_0", "hf:a/b:Q8_0"),
        ("hf:a/b:latest", "hf:a/b"),
        ("https://hf.co/a/b/blob/main/d/x.gguf", "hf:a/b/d/x.gguf"),
        ("https://huggingface.co/a/b/resolve/main/x.gguf?download=true", "hf:a/b/x.gguf"),
        ("https://me:pw@Host/a b.gguf", "https://host/a%20b.gguf"),
        ("ollama:registry.ollama.ai/library/qwen3", "ollama:qwen3:latest"),
        ("ollama:hf.co/a/b:Q8_0", "ollama:hf.co/a/b:Q8_0"),
    ],
)
def test_each_source_has_one_text(text: str, expected: str) -> None:
    assert canonical(text) == canonical(expected) == expected
