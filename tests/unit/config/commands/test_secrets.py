"""Secrets in commands: found by the name before them, masked where the command is shown."""

from __future__ import annotations

import time

import pytest

from modelswap.config.commands.secrets import masked_command, values_in

CASES = [
    ("x --api-key sk-abc123 -m x", "x --api-key *** -m x", {"sk-abc123"}),
    ("x --api-key=sk-abc123", "x --api-key=***", {"sk-abc123"}),
    ("x --api_key sk-abc123", "x --api_key ***", {"sk-abc123"}),
    ("x --apiKey sk-abc123", "x --apiKey ***", {"sk-abc123"}),
    ("x --hf-token hf_aaaa -hft hf_bbbb", "x --hf-token *** -hft ***", {"hf_aaaa", "hf_bbbb"}),
    ("x --token='a b c d' --port 1", "x --token='***' --port 1", {"a b c d"}),
    ("x --password hunter2", "x --password ***", {"hunter2"}),
    ("x --admin-secret hunter2", "x --admin-secret ***", {"hunter2"}),
    ("x --api-key \\\n  sk-abc123 \\\n --y", "x --api-key \\\n  *** \\\n --y", {"sk-abc123"}),
    ("x --api-key aaaaaa,bbbbbb", "x --api-key ***", {"aaaaaa,bbbbbb", "aaaaaa", "bbbbbb"}),
    ("vllm --api-key aaaaaa bbbbbb --y", "vllm --api-key *** *** --y", {"aaaaaa", "bbbbbb"}),
    ("docker run -e HF_TOKEN=hf_xyz1 i", "docker run -e HF_TOKEN=*** i", {"hf_xyz1"}),
    ("docker run -eHF_TOKEN=hf_xyz1 i", "docker run -eHF_TOKEN=*** i", {"hf_xyz1"}),
    ("docker run --env=A_KEY=aaaaaaa i", "docker run --env=A_KEY=*** i", {"aaaaaaa"}),
    ("env OPENAI_API_KEY='aaa bbb' x", "env OPENAI_API_KEY='***' x", {"aaa bbb"}),
    ("curl -H 'Authorization: Bearer t-1234'", "curl -H 'Authorization: Bearer ***'", {"t-1234"}),
    ("curl -H 'X-Api-Key: key999'", "curl -H 'X-Api-Key: ***'", {"key999"}),
    ("x http://me:pass99@h/?token=tok-99", "x http://me:***@h/?token=***", {"pass99", "tok-99"}),
    ("""x --c '{"api_key": "key-99"}'""", """x --c '{"api_key": "***"}'""", {"key-99"}),
    ("sh -c 'x --api-key abc123' -y 'z'", "sh -c 'x --api-key ***' -y 'z'", {"abc123"}),
    ("# --api-key oldone\nx --port 2", "# --api-key ***\nx --port 2", {"oldone"}),
    ("x --key abc123 --auth me:pass99", "x --key *** --auth ***", {"abc123", "me:pass99"}),
    ('x "--api-key" "abc123"', 'x "--api-key" "***"', {"abc123"}),
]


@pytest.mark.parametrize(("text", "shown", "values"), CASES)
def test_values_behind_telling_names(text: str, shown: str, values: set[str]) -> None:
    """The command is shown as it was written but for the value, which is a secret of the plan."""
    assert masked_command(text) == shown
    assert values <= values_in([text])


@pytest.mark.parametrize(
    "text",
    [
        "llama-server --max-tokens 100 --eos-token 2 --pad-token '<pad>' -m model.gguf",
        "llama-server --api-key-file /run/key --override-kv tokenizer.ggml.add_bos_token=bool:false",
        "docker run -e HF_TOKEN -e HF_TOKEN=$HF_TOKEN --env TOKEN=${TOKEN} image",
        "vllm serve m --tokenizer t --tokenizer-mode auto --max-num-batched-tokens 9 --no-auth",
        "server --key /etc/tls/key --ssl-key-file k --key=server.pem --auth none --keyboard us",
        "llama-server -hf unsloth/Qwen3:Q4_K_M --cache-type-k q8_0 --alias keyboard",
    ],
)
def test_other_words_are_shown(text: str) -> None:
    """Options about text, files and variables of a shell hold no secret."""
    assert masked_command(text) == text
    assert values_in([text]) == set()


def test_a_value_in_several_quotes() -> None:
    """What the text does not show as one value is masked as the program gets it."""
    text = "x --api-key ab\"c d\"ef1 -m 'a b'"
    assert masked_command(text) == "x --api-key '***' -m 'a b'"
    assert "abc def1" in values_in([text])


@pytest.mark.parametrize("value", ["1", "true", "xyz", "secret", "llama"])
def test_ordinary_words_are_masked_in_their_place_only(value: str) -> None:
    """A short or common value, or a part of a model's name, masks no other text."""
    text = f"llama-server --api-key {value} --port 1"
    assert masked_command(text) == "llama-server --api-key *** --port 1"
    found = values_in([text], names=["llama-3"])
    assert found == {f"--api-key {value}", f"--api-key={value}"}


@pytest.mark.parametrize(
    "text",
    [
        "--api-key " * 20_000,
        "token" * 40_000,
        "--a" + " " * 100_000,
        "a_" * 50_000 + "token=",
        "://" + "a:" * 50_000 + "@",
        "\\" * 100_000 + "token",
        "--token " + "\\\n" * 50_000,
        "'--token " * 20_000,
    ],
    ids=range(8),
)
def test_hostile_texts_take_linear_time(text: str) -> None:
    """A command of 100 kB is read within a second or two on a busy machine."""
    begun = time.thread_time()
    masked_command(text)
    values_in([text])
    assert time.thread_time() - begun < 5
