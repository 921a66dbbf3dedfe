"""Long loads: the official clients wait, and get the response or an error, never an empty success."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import anthropic
import openai
import pytest

from support.client_programs import ALL, ANTHROPIC, ClientPrograms, one
from support.event_parsers import PARSERS
from support.server import stub_command, stub_config, wait_until
from system.clients.conftest import SOON

if TYPE_CHECKING:
    from support.running import StartServer
    from system.clients.conftest import Connect, JavaScript, StartGated

TEXT = "a:0 a:1 a:2 "
IN_JS = ("chat", "chat helper", "responses", "messages", "messages helper")


def test_python_clients_wait(gated: StartGated, connect: Connect) -> None:
    """Every official Python client gets the whole text after a load of many keep-alives."""
    model = gated()
    conversations = ClientPrograms(model.server)
    model.wait_for_requests(len(ALL))
    connect(model).see_keep_alives()
    model.open()
    expected = dict.fromkeys(ALL, TEXT)
    assert conversations.texts() == expected


def test_javascript_clients_wait(
    gated: StartGated, javascript: JavaScript, connect: Connect
) -> None:
    """Every official JavaScript client gets the whole text, too."""
    model = gated()
    process = javascript.begin(model.server, *((kind, {}) for kind in IN_JS))
    model.wait_for_requests(len(IN_JS))
    connect(model).see_keep_alives()
    model.open()
    assert javascript.answers(process) == [{"text": TEXT}] * len(IN_JS)


def test_hand_written_parsers_wait(gated: StartGated, connect: Connect) -> None:
    """Every kind of hand-written parser gets the whole text, too."""
    model = gated()
    client = connect(model)
    client.see_keep_alives()
    model.open()
    stream = client.rest()
    assert {name: parse(stream) for name, parse in PARSERS.items()} == dict.fromkeys(PARSERS, TEXT)


def test_the_stream_opens_with_proper_headers(gated: StartGated, connect: Connect) -> None:
    """The early head is that of an event stream, readable by the page that asked."""
    model = gated()
    client = connect(model)
    client.see_keep_alives()
    head = client.head.lower()
    assert head.startswith(b"http/1.1 200 ")
    for line in (
        b"content-type: text/event-stream",
        b"cache-control: no-cache",
        b"x-accel-buffering: no",
        b"access-control-allow-origin: http://localhost:3000",
    ):
        assert line in head
    model.open()
    assert client.rest().endswith(b"data: [DONE]\n\n")


def test_a_failure_within_the_grace_has_its_status(gated: StartGated) -> None:
    """A load that fails before the grace is over is a 503 for a streaming client too."""
    model = gated("loading: {grace: 20}")
    conversations = ClientPrograms(model.server)
    model.wait_for_requests(len(ALL))
    model.fail()
    for kind, error in conversations.errors():
        expected = anthropic.APIStatusError if kind in ANTHROPIC else openai.InternalServerError
        assert isinstance(error, expected), kind
        assert error.status_code == 503
        assert "could not be loaded" in str(error)


def test_a_failure_after_the_grace_is_an_error_for_python(
    gated: StartGated, connect: Connect
) -> None:
    """Once the stream is open, a failed load is raised by each Python client, with its reason."""
    model = gated()
    conversations = ClientPrograms(model.server)
    model.wait_for_requests(len(ALL))
    connect(model).see_keep_alives()
    model.fail()
    for kind, error in conversations.errors():
        expected = anthropic.APIError if kind in ANTHROPIC else openai.APIError
        assert isinstance(error, expected), (kind, error)
        assert "could not be loaded" in str(error)


def test_a_failure_after_the_grace_is_an_error_for_javascript(
    gated: StartGated, javascript: JavaScript, connect: Connect
) -> None:
    """Once the stream is open, a failed load is raised by each JavaScript client, too."""
    model = gated()
    kinds = ("chat", "responses", "messages")
    process = javascript.begin(model.server, *((kind, {}) for kind in kinds))
    model.wait_for_requests(len(kinds))
    connect(model).see_keep_alives()
    model.fail()
    for answer in javascript.answers(process):
        assert answer["error"] == "APIError", answer
        assert "could not be loaded" in answer["message"]


def test_hand_written_parsers_see_the_error(gated: StartGated, connect: Connect) -> None:
    """Parsers that look for `error` in their events find it, with the reason."""
    model = gated()
    client = connect(model)
    client.see_keep_alives()
    model.fail()
    stream = client.rest()
    for parser in ("by the book", "openai-go", "blocks", "data lines", "every line"):
        with pytest.raises(RuntimeError, match="could not be loaded"):
            PARSERS[parser](stream)


def test_an_error_of_the_engine_after_the_grace(gated: StartGated, connect: Connect) -> None:
    """When the engine answers 500 into an open stream, each client raises the engine's message."""
    model = gated()
    conversations = ClientPrograms(model.server, fault="500")
    model.wait_for_requests(len(ALL))
    connect(model).see_keep_alives()
    model.open()
    for kind, error in conversations.errors():
        expected = anthropic.APIError if kind in ANTHROPIC else openai.APIError
        assert isinstance(error, expected), (kind, error)
        assert "stub fault" in str(error)


def test_a_whole_answer_in_an_open_stream_is_an_error(gated: StartGated, connect: Connect) -> None:
    """An engine that does not stream although it was asked to gives an error."""
    model = gated()
    client = connect(model, "/completion", prompt="x")
    client.until(b": keep-alive", 2)
    model.open()
    events = client.rest().splitlines()
    assert b"not events" in events[-2]


def test_a_broken_stream_is_an_error(modelswap_server: StartServer) -> None:
    """A stream that breaks in the middle is raised by every Python client as an API error."""
    server = modelswap_server(stub_config("a"))
    for fault in ("truncate", "reset", "bad_chunk"):
        for kind in ("chat", "messages"):
            with pytest.raises((openai.APIError, anthropic.APIError), match="upstream"):
                one(server, kind, {"fault": fault})


def test_a_broken_stream_is_an_error_for_javascript(
    modelswap_server: StartServer, javascript: JavaScript
) -> None:
    """A stream that breaks in the middle is raised by every JavaScript client."""
    server = modelswap_server(stub_config("a"))
    conversations = [(kind, {"fault": "truncate"}) for kind in ("chat", "messages")]
    for answer in javascript.answers(javascript.begin(server, *conversations)):
        assert answer["error"] == "APIError", answer
        assert "upstream" in answer["message"]


def test_what_is_no_stream_is_never_opened_early(gated: StartGated, connect: Connect) -> None:
    """Streamed speech is audio: no keep-alive gets into it."""
    model = gated()
    client = connect(model, "/v1/audio/speech", input="hello")
    connect(model).see_keep_alives()
    model.open()
    client.until(b"\r\n\r\n")
    assert b"Content-Type: audio/wav" in client.head


# A client that says how long it waits


def test_a_short_client_timeout_shortens_the_grace(gated: StartGated) -> None:
    """A streaming client whose timeout is shorter than the grace period gets its keep-alives before it."""
    model = gated("loading: {grace: 60, pulse: 60}")
    url = f"{model.server.base_url}/v1"
    with openai.OpenAI(base_url=url, api_key="none", max_retries=0, timeout=3.0) as client:
        stream = client.chat.completions.create(
            model="a", messages=[{"role": "user", "content": "x"}], stream=True
        )
        empty = [next(stream).choices[0].delta.content for _ in range(4)]
        model.open()
        rest = [choice.delta.content or "" for chunk in stream for choice in chunk.choices]
    assert not any(empty)
    assert "".join(rest) == TEXT


def test_a_client_with_a_short_timeout_gets_a_503_in_time(gated: StartGated) -> None:
    """A client that cannot wait gets a 503 before its timeout, and the load goes on without it."""
    model = gated()
    url = f"{model.server.base_url}/v1"
    with openai.OpenAI(base_url=url, api_key="none", max_retries=0, timeout=3.0) as client:
        with pytest.raises(openai.InternalServerError) as raised:
            client.embeddings.create(model="a", input="x")
        assert raised.value.status_code == 503
        assert raised.value.code == "model_loading"
        assert raised.value.response.headers["x-should-retry"] == "true"
        assert int(raised.value.response.headers["retry-after"]) > 0
        assert model.server.running() == {"a": "starting"}
        model.open()
        wait_until(lambda: model.server.running() == {"a": "ready"}, what="the load goes on")
        assert client.embeddings.create(model="a", input="x").data


def test_a_client_that_retries_gets_its_response(gated: StartGated) -> None:
    """The official client's own retries bridge a load that is longer than its timeout."""
    model = gated()
    url = f"{model.server.base_url}/v1"
    with (
        openai.OpenAI(base_url=url, api_key="none", max_retries=5, timeout=1.0) as client,
        ThreadPoolExecutor(1) as pool,
    ):
        answer = pool.submit(client.embeddings.create, model="a", input="x")
        wait_until(lambda: "503" in model.server.log(), what="it was sent away once")
        model.open()
        assert answer.result(30).data


def test_a_load_known_to_be_long_is_refused_at_once(modelswap_server: StartServer) -> None:
    """Once a load took longer than a client's timeout, the next such client is refused at once."""
    server = modelswap_server(stub_config("a", flags=("--ready-after", "1.5")))
    assert server.chat("a").status == 200
    assert server.ask("POST", "/api/models/unload/a").status == 200
    answer = server.ask(
        "POST", "/v1/embeddings", {"model": "a", "input": "x"}, {"x-stainless-read-timeout": "1.5"}
    )
    assert (answer.status, answer.headers["retry-after"]) == (503, "2")
    assert server.ask("GET", "/api/inflight").json()["requests"] == []
    wait_until(lambda: server.running() == {"a": "ready"}, what="the load goes on")


def test_the_client_timeout_counts_for_the_load_only(modelswap_server: StartServer) -> None:
    """A request that the model works on is not ended for its announced timeout."""
    server = modelswap_server(stub_config("a", flags=("--ready-after", "0.2")))
    body = {"model": "a", "input": "x", "delay_ms": 1200}
    answer = server.ask("POST", "/v1/embeddings", body, {"x-stainless-read-timeout": "1"})
    assert answer.status == 200


def test_an_invalid_client_timeout_is_ignored(modelswap_server: StartServer) -> None:
    """A timeout that is no number of seconds changes nothing."""
    server = modelswap_server(stub_config("a", flags=("--ready-after", "0.3")))
    body = {"model": "a", "input": "x"}
    with ThreadPoolExecutor(7) as pool:
        answers = [
            pool.submit(
                server.ask, "POST", "/v1/embeddings", body, {"x-stainless-read-timeout": value}
            )
            for value in ("", "abc", "0", "-1", "nan", "inf", "1e999")
        ]
        assert [answer.result(20).status for answer in answers] == [200] * 7


# sendLoadingState

STATE = "sendLoadingState: true"


def chunks(stream: bytes) -> list[dict[str, Any]]:
    return [
        json.loads(line[6:]) for line in stream.decode().splitlines() if line.startswith("data: {")
    ]


def test_the_loading_state_is_made_of_valid_chunks(gated: StartGated, connect: Connect) -> None:
    """With `sendLoadingState` a chat client reads how the load goes, in chunks with every key."""
    model = gated(STATE)
    client = connect(model)
    client.until(b"reasoning_content", 3)
    model.open()
    found = chunks(client.rest())
    loading_chunks = [
        c for c in found if c["choices"] and "reasoning_content" in c["choices"][0]["delta"]
    ]
    assert (
        len({c["id"] for c in loading_chunks}) == len({c["created"] for c in loading_chunks}) == 1
    )
    for chunk in loading_chunks:
        assert (chunk["object"], chunk["model"]) == ("chat.completion.chunk", "a")
        assert (chunk["choices"][0]["index"], chunk["choices"][0]["finish_reason"]) == (0, None)
    text = "".join(c["choices"][0]["delta"]["reasoning_content"] for c in loading_chunks)
    assert "loading model: a" in text
    assert "Done!" in text
    assert found.index(loading_chunks[-1]) == len(loading_chunks) - 1


def test_the_loading_state_does_not_change_the_text(gated: StartGated) -> None:
    """The official client's text is the model's alone."""
    model = gated(STATE)
    conversations = ClientPrograms(model.server, ("chat", "chat helper"))
    model.wait_for_requests(2)
    model.open()
    assert set(conversations.texts().values()) == {TEXT}


def test_the_loading_state_is_for_streamed_chat_only(gated: StartGated, connect: Connect) -> None:
    """No other path, form or request gets the loading text."""
    model = gated(f"{STATE}\n{SOON}")
    paths = ("/v1/completions", "/v1/responses", "/v1/messages", "/v/chat/completions")
    clients = [connect(model, path) for path in paths]
    whole = connect(model, stream=False)
    model.wait_for_requests(len(paths) + 1)
    connect(model).see_keep_alives()
    model.open()
    for client in (*clients, whole):
        assert b"reasoning_content" not in client.rest()


def test_a_failed_load_ends_the_state_with_an_error(gated: StartGated, connect: Connect) -> None:
    """After the chunks comes an error event, which the official client raises."""
    model = gated(STATE)
    conversations = ClientPrograms(model.server, ("chat",))
    client = connect(model)
    client.until(b"reasoning_content", 2)
    model.fail()
    last = chunks(client.rest())[-1]
    assert last["error"]["code"] == "model_load_failed"
    assert all(isinstance(error, openai.APIError) for _, error in conversations.errors())


def test_the_queue_position_is_reported(gated: StartGated, connect: Connect) -> None:
    """A request that waits behind another model's load gets its position."""
    model = gated(f"{STATE}", model_extra=f"  b:\n    cmd: {stub_command('b')}\n")
    first = connect(model, n=1)
    first.until(b"reasoning_content")
    second = connect(model, model="b")
    second.until(b"Queue position: #1")
    model.open()
    assert b"[DONE]" in first.rest()
    assert b"Done!" in second.rest()
