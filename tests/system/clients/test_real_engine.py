"""The official clients of both vendors against real llama.cpp engines, cold and warm."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anthropic
import openai
import pytest
from prometheus_client.parser import text_string_to_metric_families

from support.client_programs import GREETING, HELLO
from support.server import engine_command

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.running import StartServer
    from support.server import Modelswap
    from system.clients.conftest import JavaScript


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model with random weights."""
    pytest.importorskip("xllamacpp", reason="the extra `engine` is not installed")
    from modelswap.demo.weights import write_model  # noqa: PLC0415 - needs the extra

    path = tmp_path_factory.mktemp("weights") / "a.gguf"
    write_model(path, seed=1, name="a")
    return path


@pytest.fixture
def server(modelswap_server: StartServer, weights: Path) -> Modelswap:
    command = engine_command(weights, "--alias", "a")
    return modelswap_server(
        f"loading: {{grace: 0, pulse: 0.05}}\nsendLoadingState: true\nmodels:\n  a:\n    cmd: {command}\n"
    )


@pytest.fixture
def client(server: Modelswap) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{server.base_url}/v1", api_key="none", max_retries=0) as found:
        yield found


@pytest.fixture
def claude(server: Modelswap) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(base_url=server.base_url, api_key="none", max_retries=0) as found:
        yield found


def test_a_cold_stream_with_the_loading_state(client: openai.OpenAI) -> None:
    """The first stream loads the model, shows its load, and is complete; the figures add up."""
    stream = client.chat.completions.create(
        model="a",
        messages=HELLO,
        max_tokens=8,
        stream=True,
        stream_options={"include_usage": True},
    )
    chunks = list(stream)
    thoughts = [
        getattr(choice.delta, "reasoning_content", None) or ""
        for chunk in chunks
        for choice in chunk.choices
    ]
    assert "loading model: a" in "".join(thoughts)
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens == 8


def test_cold_messages(claude: anthropic.Anthropic) -> None:
    """Anthropic's client reads a cold model's stream, with pings before its events."""
    with claude.messages.stream(model="a", max_tokens=8, messages=GREETING) as stream:
        message = stream.get_final_message()
    assert (message.role, message.stop_reason) == ("assistant", "max_tokens")
    assert message.usage.output_tokens == 8


def test_cold_whole_messages_and_counts(claude: anthropic.Anthropic) -> None:
    """Anthropic's whole response and token count come from the engine."""
    message = claude.messages.create(model="a", max_tokens=4, messages=GREETING)
    assert message.usage.output_tokens == 4
    counted = claude.messages.count_tokens(model="a", messages=GREETING)
    assert counted.input_tokens == message.usage.input_tokens


def test_cold_responses(client: openai.OpenAI) -> None:
    """The Responses API of a cold model: its first event is the first that the client sees."""
    stream = client.responses.create(model="a", input="hello", max_output_tokens=8, stream=True)
    kinds = [event.type for event in stream]
    assert kinds[0] == "response.created"
    assert kinds[-1] == "response.completed"


def test_cold_completions(client: openai.OpenAI) -> None:
    """Text completions of a cold model."""
    stream = client.completions.create(model="a", prompt="hello", max_tokens=8, stream=True)
    chunks = list(stream)
    assert chunks[-1].choices[0].finish_reason == "length"


def test_javascript(server: Modelswap, javascript: JavaScript) -> None:
    """The JavaScript clients get their texts from a cold engine."""
    kinds = ("chat", "messages", "messages helper", "completions")
    conversations = javascript.begin(server, *((kind, {"max_tokens": 8}) for kind in kinds))
    for kind, answer in zip(kinds, javascript.answers(conversations), strict=True):
        assert answer.keys() == {"text"}, (kind, answer)


def test_metrics(server: Modelswap, client: openai.OpenAI) -> None:
    """After a chat, the Prometheus parser reads /metrics and finds the request and its tokens."""
    client.chat.completions.create(model="a", messages=HELLO, max_tokens=4)
    text = server.ask("GET", "/metrics").body.decode()
    families = {family.name: family for family in text_string_to_metric_families(text)}
    counted = [
        sample.value
        for family in families.values()
        for sample in family.samples
        if sample.labels.get("model") == "a" and sample.name.endswith("requests_total")
    ]
    assert counted
    assert sum(counted) == 1
