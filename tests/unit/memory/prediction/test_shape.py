"""What is read out of a header, also of one that says nothing, or too much."""

from __future__ import annotations

from typing import Any

import pytest

from modelswap.memory.prediction.shape import MOST_LAYERS, shape_of
from support.model_headers import deepseek_v3, header_of, tensors_of, transformer


@pytest.mark.parametrize(
    ("architecture", "keys", "full"),
    [
        ("llama", {}, [0, 1, 2, 3, 4, 5, 6, 7]),
        ("llama", {"attention__sliding_window": 4096}, [0, 1, 2, 3, 4, 5, 6, 7]),
        ("phi3", {"attention__sliding_window": 2047}, [0, 1, 2, 3, 4, 5, 6, 7]),
        ("gemma2", {}, [1, 3, 5, 7]),
        ("gemma3", {"attention__sliding_window": 512}, [5]),
        ("gpt-oss", {"attention__sliding_window": 128}, [1, 3, 5, 7]),
        ("llama4", {}, [3, 7]),
        ("smallthinker", {"attention__sliding_window": 4096}, [0, 4]),
        ("new", {"attention__sliding_window": 9, "attention__sliding_window_pattern": 3}, [2, 5]),
        ("new", {"attention__sliding_window": 9, "attention__sliding_window_pattern": 1}, range(8)),
        (
            "gemma4",
            {
                "attention__sliding_window": 512,
                "attention__sliding_window_pattern": (True, True, False) * 2,
            },
            [2, 5, 6, 7],
        ),
    ],
)
def test_windows_follow_the_pattern(architecture: str, keys: dict[str, Any], full: Any) -> None:
    """The key of the file counts, else what llama.cpp assumes; the last entry of a short array goes on."""
    shape = shape_of(transformer(architecture, block_count=8, **keys))
    assert [n for n, layer in enumerate(shape.layers) if not layer.is_windowed] == list(full)


def test_windowed_layers_may_have_other_widths() -> None:
    """As gemma4's: eight heads of 256 in windows, two of 512 elsewhere; the last layers share a cache."""
    shape = shape_of(
        transformer(
            "gemma4", block_count=4, attention__sliding_window=512,
            attention__sliding_window_pattern=(True, True, False, True),
            attention__head_count_kv=(8, 8, 2, 8), attention__key_length=512,
            attention__value_length=512, attention__key_length_swa=256,
            attention__value_length_swa=256, attention__shared_kv_layers=1,
        )
    )  # fmt: skip
    assert [layer.keys for layer in shape.layers] == [2048, 2048, 1024, 0]
    assert [layer.values for layer in shape.layers] == [2048, 2048, 1024, 0]


@pytest.mark.parametrize(
    ("architecture", "keys", "recurrent"),
    [
        ("jamba", {"attention__head_count_kv": (0, 8, 0, 0)}, [0, 2, 3]),
        (
            "nemotron_h",
            {"attention__head_count_kv": (0, 8, 0, 0), "feed_forward_length": (0, 0, 99, 0)},
            [0, 3],
        ),
        ("qwen3next", {}, [0, 1, 2]),
        ("qwen3next", {"full_attention_interval": 2}, [0, 2]),
        ("falcon-h1", {}, [0, 1, 2, 3]),
        ("llama", {}, []),
    ],
)
def test_hybrids_have_states_where_they_have_no_attention(
    architecture: str, keys: dict[str, Any], recurrent: list[int]
) -> None:
    """The layers with a state; those of falcon-h1 have a cache, too."""
    ssm = {"ssm__conv_kernel": 4, "ssm__inner_size": 64, "ssm__state_size": 16}
    shape = shape_of(transformer(architecture, **({"block_count": 4} | ssm | keys)))
    assert [n for n, layer in enumerate(shape.layers) if layer.state] == recurrent
    is_both = architecture == "falcon-h1"
    assert all(bool(layer.keys) == is_both for layer in shape.layers if layer.state)


def test_later_layers_of_gemma3n_have_no_cache() -> None:
    """They use the cache of the first twenty."""
    shape = shape_of(transformer("gemma3n", block_count=30))
    assert [bool(layer.keys) for layer in shape.layers] == [True] * 20 + [False] * 10


def test_layers_that_predict_further_tokens_are_no_part() -> None:
    """DeepSeek V3 has one behind its 61, with a cache of its own only where it is used."""
    header = deepseek_v3()
    header.metadata["deepseek2.block_count"] = 62
    header.metadata["deepseek2.nextn_predict_layers"] = 1
    assert shape_of(header) == shape_of(deepseek_v3())


def test_an_indexer_has_keys_of_its_own() -> None:
    """As DeepSeek V3.2's, one of 128 elements for each token and layer."""
    header = deepseek_v3()
    header.metadata["deepseek2.attention.indexer.key_length"] = 128
    assert shape_of(header).layers[0].keys == 576 + 128


def test_the_vocabulary_is_as_long_as_the_list_or_the_embeddings() -> None:
    """A file without a tokenizer has embeddings."""
    rows = tensors_of(("token_embd.weight", (64, 500), "f16"))
    assert shape_of(header_of("llama", rows, vocabulary=400)).vocabulary == 400
    assert shape_of(header_of("llama", rows)).vocabulary == 500
    assert shape_of(header_of("llama")).vocabulary == 0


def test_an_empty_header_has_no_layers() -> None:
    """Nothing is known, and nothing fails."""
    shape = shape_of(header_of(""))
    assert (shape.layers, shape.embd, shape.queries, shape.keys) == ((), 0, 0, 0)


def test_layers_are_counted_up_to_what_llama_cpp_loads() -> None:
    """A header may claim any number."""
    shape = shape_of(transformer(block_count=1 << 40, attention__head_count_kv=1 << 60))
    assert len(shape.layers) == MOST_LAYERS
    assert shape.layers[0].keys <= 1 << 48


@pytest.mark.parametrize("value", [(), ("a", "b"), (1.5, -3), "eight", -1, True, None])
def test_values_of_another_kind_count_as_absent(value: Any) -> None:
    """Texts, fractions, negative numbers and arrays without a number."""
    shape = shape_of(transformer(attention__head_count_kv=value, block_count=2))
    assert len(shape.layers) == 2
    assert all(layer.keys >= 0 for layer in shape.layers)
