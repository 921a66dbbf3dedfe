"""The main job: the official client, the real program, real llama.cpp engines that swap."""

from __future__ import annotations

from typing import TYPE_CHECKING

import openai
import pytest

from support.server import Modelswap, engine_command

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from openai.types.chat import ChatCompletionMessageParam

    from support.running import StartServer

HELLO: list[ChatCompletionMessageParam] = [{"role": "user", "content": "hello"}]


@pytest.fixture
def server(modelswap_server: StartServer, weights: dict[str, Path]) -> Modelswap:
    return modelswap_server(f"""
models:
  red:
    cmd: {engine_command(weights["red"], "--alias", "red")}
    aliases: [crimson]
  blue:
    cmd: {engine_command(weights["blue"], "--alias", "blue")}
  vector:
    cmd: {engine_command(weights["vector"], "--alias", "vector", "--embedding", "--pooling", "mean")}
""")


@pytest.fixture
def client(server: Modelswap) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{server.base_url}/v1", api_key="none", max_retries=0) as found:
        yield found


def test_chat_swaps_between_real_engines(server: Modelswap, client: openai.OpenAI) -> None:
    """Each chat is answered by the model that it names, and one engine runs at a time."""
    for model in ("red", "blue", "red"):
        answer = client.chat.completions.create(model=model, messages=HELLO, max_tokens=4)
        assert answer.usage is not None
        assert answer.usage.completion_tokens == 4
        assert answer.model == model
        assert server.running() == {model: "ready"}
        assert len(server.model_pids()) == 1


def test_an_alias_reaches_the_same_engine(server: Modelswap, client: openai.OpenAI) -> None:
    """A request by alias does not start a second engine."""
    client.chat.completions.create(model="red", messages=HELLO, max_tokens=1)
    before = server.model_pids()
    client.chat.completions.create(model="crimson", messages=HELLO, max_tokens=1)
    assert server.model_pids() == before


def test_a_stream_of_a_cold_model(client: openai.OpenAI) -> None:
    """A streamed chat for a model that is not running arrives as chunks and ends properly."""
    chunks = list(
        client.chat.completions.create(
            model="blue",
            messages=HELLO,
            max_tokens=8,
            stream=True,
            stream_options={"include_usage": True},
        )
    )
    assert len(chunks) > 4
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens == 8
    reasons = [choice.finish_reason for chunk in chunks for choice in chunk.choices]
    assert reasons[-1] == "length"


def test_embeddings(server: Modelswap, client: openai.OpenAI) -> None:
    """Embeddings come from the embedding model, after a swap from a chat model."""
    client.chat.completions.create(model="red", messages=HELLO, max_tokens=1)
    answer = client.embeddings.create(model="vector", input=["one", "two"])
    assert [row.index for row in answer.data] == [0, 1]
    assert len(answer.data[0].embedding) == 64
    assert server.running() == {"vector": "ready"}


def test_the_model_list_starts_nothing(server: Modelswap, client: openai.OpenAI) -> None:
    """The list names every model and no engine runs because of it."""
    assert {model.id for model in client.models.list()} >= {"red", "blue", "vector"}
    assert server.running() == {}


def test_an_unknown_model_is_an_error_of_the_client_library(client: openai.OpenAI) -> None:
    """The official client raises its own not-found error, with the model's name in it."""
    with pytest.raises(openai.NotFoundError):
        client.chat.completions.create(model="green", messages=HELLO)


def test_broken_weights_are_a_503(modelswap_server: StartServer, tmp_path: Path) -> None:
    """An engine that cannot load its file gives 503 with the code, and no command line."""
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(b"GGUF but not really")
    server = modelswap_server(f"models:\n  broken:\n    cmd: {engine_command(broken)}\n")
    answer = server.chat("broken")
    assert answer.status == 503
    assert answer.json()["error"]["code"] == "model_load_failed"
    assert "retry-after" in answer.headers
    assert b"--model" not in answer.body
