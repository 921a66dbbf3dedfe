"""The command line of the engine, read into settings and put into the wheel's parameters."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from modelswap.engine.flags import Flag, Kind, UsageError, parse
from modelswap.engine.params import build
from modelswap.engine.table import FLAGS, TABLE, usage

if TYPE_CHECKING:
    from pathlib import Path

xllamacpp = pytest.importorskip("xllamacpp", reason="needs modelswap[engine]")

SAMPLES = {
    Kind.TEXT: "text",
    Kind.INT: "3",
    Kind.FLOAT: "0.5",
    Kind.NAMES: "a,b",
    Kind.FLOATS: "1,2",
    Kind.JSON: '{"a": true}',
    Kind.FILE: __file__,
}


def params(*arguments: str) -> Any:
    return build(xllamacpp, parse(arguments, TABLE))


def arguments_of(flag: Flag) -> list[list[str]]:
    """Every way to use one row: each spelling, or each choice."""
    if flag.kind is Kind.SWITCH:
        return [[name] for name in flag.names]
    texts = list(flag.choices or {}) if flag.kind is Kind.CHOICE else [SAMPLES[flag.kind]]
    return [[name, text] for name in flag.names for text in texts]


@pytest.mark.parametrize("flag", FLAGS, ids=lambda flag: flag.names[-1])
def test_every_row_sets_what_the_wheel_really_has(flag: Flag) -> None:
    """No row names a parameter, an enumeration or a member that the wheel lacks."""
    for arguments in arguments_of(flag):
        found = params(*arguments)
        for part in flag.target.split("."):
            assert hasattr(found, part)
            found = getattr(found, part)


def test_no_spelling_is_claimed_twice() -> None:
    """Each spelling belongs to one row."""
    assert sum(len(flag.names) for flag in FLAGS) == len(TABLE)


def test_reads_the_common_flags() -> None:
    """Values arrive where llama.cpp looks for them."""
    found = params(
        *("-m", "m.gguf", "--host", "127.0.0.1", "--port=9", "-c", "8192", "-ngl", "99"),
        *("--parallel", "4", "-a", "x,y", "--mmproj", "p.gguf", "-t", "2", "-tb", "3"),
        *("-b", "64", "-ub", "32", "--temp", "0.25", "--no-warmup", "--metrics"),
    )
    assert (found.model.path, found.mmproj.path) == ("m.gguf", "p.gguf")
    assert (found.hostnames, found.port) == (["127.0.0.1"], 9)
    assert (found.n_ctx, found.n_gpu_layers, found.n_parallel) == (8192, 99, 4)
    assert found.model_alias == {"x", "y"}
    assert (found.cpuparams.n_threads, found.cpuparams_batch.n_threads) == (2, 3)
    assert (found.n_batch, found.n_ubatch, found.sampling.temp) == (64, 32, 0.25)
    assert (found.warmup, found.endpoint_metrics) == (False, True)


def test_listens_like_llama_server_by_default() -> None:
    """Without flags: 127.0.0.1, port 8080."""
    found = params()
    assert (found.hostnames, found.port) == (["127.0.0.1"], 8080)


def test_reranking_implies_its_pooling() -> None:
    """--rerank is embeddings with rank pooling."""
    found = params("--rerank")
    assert found.embedding
    assert found.pooling_type == xllamacpp.llama_pooling_type.LLAMA_POOLING_TYPE_RANK


def test_later_wins_and_adapters_add_up() -> None:
    """A repeated flag replaces, except for adapters, of which there may be many."""
    found = params("-c", "1", "-c", "2", "--lora", "a", "--lora", "b")
    assert found.n_ctx == 2
    assert [adapter.path for adapter in found.lora_adapters] == ["a", "b"]


def test_reads_files(tmp_path: Path) -> None:
    """A template or a list of keys may come from a file."""
    keys, template = tmp_path / "keys", tmp_path / "template"
    keys.write_text("one\ntwo\n")
    template.write_text("{{ messages }}")
    found = params("--api-key-file", str(keys), "--chat-template-file", str(template))
    assert found.api_keys == ["one", "two"]
    assert found.chat_template == "{{ messages }}"


def test_hands_template_values_on_as_json() -> None:
    """llama.cpp wants each value as JSON text."""
    found = params("--chat-template-kwargs", '{"enable_thinking": false, "a": "b"}')
    assert found.default_template_kwargs == {"enable_thinking": "false", "a": '"b"'}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--modle", "x"], "unknown flag --modle (did you mean --model?)"),
        (["--zzzzzzzz"], "unknown flag --zzzzzzzz (--help lists those known)"),
        (["model.gguf"], "unexpected argument 'model.gguf'"),
        (["-m"], "-m needs a value"),
        (["--port", "many"], "--port takes a number, not 'many'"),
        (["--temp=hot"], "--temp takes a number, not 'hot'"),
        (["-fa", "maybe"], "-fa takes one of on, true, 1, enabled, off, false, 0, disabled, auto, -1, not 'maybe'"),
        (["--metrics=yes"], "--metrics takes no value"),
        (["--chat-template-kwargs", "[]"], "--chat-template-kwargs: takes a JSON object"),
    ],
)  # fmt: skip
def test_refuses_what_it_cannot_read(arguments: list[str], message: str) -> None:
    """Each mistake is one line that names the flag."""
    with pytest.raises(UsageError) as caught:
        params(*arguments)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    "arguments",
    [
        ["--port", "99999999999999"],
        ["--chat-template-file", "/nonexistent"],
        ["--chat-template-kwargs", "{"],
        ["--tensor-split", ",".join(["1"] * 500)],
    ],
)
def test_refuses_what_the_wheel_cannot_hold(arguments: list[str]) -> None:
    """A value that only the second look shows to be wrong is one line as well."""
    with pytest.raises(UsageError, match=arguments[0]) as caught:
        params(*arguments)
    assert "\n" not in str(caught.value)


def test_usage_names_every_flag() -> None:
    """Nothing is hidden."""
    text = usage()
    assert all(name in text for name in TABLE)
