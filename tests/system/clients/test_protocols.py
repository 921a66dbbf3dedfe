"""Other protocols through the program: asynchronous clients and WebSockets."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import anthropic
import openai
import pytest
from websockets.sync.client import connect

from support.client_programs import GREETING, HELLO
from support.server import stub_command, stub_config, wait_until

if TYPE_CHECKING:
    from support.running import StartServer
    from system.clients.conftest import JavaScript, StartGated

TEXT = "a:0 a:1 a:2 "


async def test_asynchronous_clients_wait(gated: StartGated) -> None:
    """The asynchronous Python clients accept keep-alives as the others do."""
    model = gated()
    url = model.server.base_url

    async def chat() -> str:
        async with openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="none") as client:
            stream = await client.chat.completions.create(model="a", messages=HELLO, stream=True)
            texts = [c.delta.content or "" async for chunk in stream for c in chunk.choices]
            return "".join(texts)

    async def messages() -> str:
        async with (
            anthropic.AsyncAnthropic(base_url=url, api_key="none") as client,
            client.messages.stream(model="a", max_tokens=9, messages=GREETING) as stream,
        ):
            return "".join([text async for text in stream.text_stream])

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(chat()), group.create_task(messages())]
        await asyncio.to_thread(model.wait_for_requests, 2)
        await asyncio.sleep(0.5)  # several pulses
        model.open()
    assert [task.result() for task in tasks] == [TEXT, TEXT]


def test_realtime_starts_its_model(modelswap_server: StartServer) -> None:
    """A WebSocket on /v1/realtime names its model in the query, and starts it."""
    config = f"models:\n  a:\n    cmd: {stub_command('a')}\n"
    server = modelswap_server(config)
    with connect(f"ws://127.0.0.1:{server.port}/v1/realtime?model=a") as socket:
        socket.send("hello")
        assert server.running() == {"a": "ready"}


def test_javascript_clients_on_a_warm_model(
    modelswap_server: StartServer, javascript: JavaScript
) -> None:
    """Whole and streamed answers, and an engine's error, as the JavaScript clients see them."""
    server = modelswap_server(stub_config("a"))
    conversations = [("whole chat", {}), ("chat", {}), ("responses", {}), ("messages", {}),
             ("whole chat", {"fault": "500"}), ("chat", {"fault": "500"})]  # fmt: skip
    *good, whole, stream = javascript.answers(javascript.begin(server, *conversations))
    assert [answer["text"] for answer in good] == ["a a a", TEXT, TEXT, TEXT]
    for answer in (whole, stream):
        assert (answer["error"], answer["status"]) == ("InternalServerError", 500)


def test_a_javascript_client_with_a_short_timeout_gets_a_503(
    gated: StartGated, javascript: JavaScript
) -> None:
    """The JavaScript client announces its timeout too, and gets its 503 before it."""
    model = gated()
    (answer,) = javascript.answers(
        javascript.begin(model.server, ("whole chat", {"timeout": 3000}))
    )
    assert (answer["error"], answer["status"]) == ("InternalServerError", 503), answer
    model.open()
    wait_until(lambda: model.server.running() == {"a": "ready"}, what="the load goes on")


@pytest.mark.parametrize("kind", ["websocket", "raw"])
def test_a_tunnel_waits_for_its_model(modelswap_server: StartServer, kind: str) -> None:
    """A WebSocket for a model that has to be loaded first opens when the model is ready."""
    server = modelswap_server(stub_config("a", flags=("--ready-after", "0.4")))
    with connect(f"ws://127.0.0.1:{server.port}/upstream/a/ws") as socket:
        message = "hello" if kind == "websocket" else b"\x00\xff"
        socket.send(message)
        assert socket.recv(timeout=30) == message
