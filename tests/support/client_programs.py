"""One request by each official Python client, reduced to the text that its user sees."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import anthropic
import openai

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from concurrent.futures import Future

    from anthropic.types import MessageParam
    from openai.types.chat import ChatCompletionMessageParam

    from support.server import Modelswap

HELLO: list[ChatCompletionMessageParam] = [{"role": "user", "content": "hello"}]
GREETING: list[MessageParam] = [{"role": "user", "content": "hello"}]
Fields = dict[str, Any]


def chat(client: openai.OpenAI, fields: Fields) -> str:
    stream = client.chat.completions.create(
        model="a", messages=HELLO, stream=True, extra_body=fields
    )
    return "".join(choice.delta.content or "" for chunk in stream for choice in chunk.choices)


def chat_helper(client: openai.OpenAI, fields: Fields) -> str:
    with client.chat.completions.stream(model="a", messages=HELLO, extra_body=fields) as stream:
        message = stream.get_final_completion().choices[0].message
    assert message.role == "assistant"
    return message.content or ""


def completions(client: openai.OpenAI, fields: Fields) -> str:
    stream = client.completions.create(model="a", prompt="hello", stream=True, extra_body=fields)
    return "".join(choice.text or "" for chunk in stream for choice in chunk.choices)


def responses(client: openai.OpenAI, fields: Fields) -> str:
    stream = client.responses.create(model="a", input="hello", stream=True, extra_body=fields)
    return "".join(e.delta for e in stream if e.type == "response.output_text.delta")


def responses_helper(client: openai.OpenAI, fields: Fields) -> str:
    with client.responses.stream(model="a", input="hello", extra_body=fields) as stream:
        return "".join(e.delta for e in stream if e.type == "response.output_text.delta")


def messages(client: anthropic.Anthropic, fields: Fields) -> str:
    stream = client.messages.create(
        model="a", max_tokens=9, messages=GREETING, stream=True, extra_body=fields
    )
    return "".join(
        event.delta.text
        for event in stream
        if event.type == "content_block_delta" and event.delta.type == "text_delta"
    )


def messages_helper(client: anthropic.Anthropic, fields: Fields) -> str:
    with client.messages.stream(
        model="a", max_tokens=9, messages=GREETING, extra_body=fields
    ) as stream:
        return "".join(stream.text_stream)


OPENAI: dict[str, Callable[[openai.OpenAI, Fields], str]] = {
    "chat": chat,
    "chat helper": chat_helper,
    "completions": completions,
    "responses": responses,
    "responses helper": responses_helper,
}
ANTHROPIC: dict[str, Callable[[anthropic.Anthropic, Fields], str]] = {
    "messages": messages,
    "messages helper": messages_helper,
}
ALL = (*OPENAI, *ANTHROPIC)


def one(server: Modelswap, kind: str, fields: Fields) -> str:
    """Have one conversation with a client of its own, without its retries."""
    if kind in OPENAI:
        url = f"{server.base_url}/v1"
        with openai.OpenAI(base_url=url, api_key="none", max_retries=0) as client:
            return OPENAI[kind](client, fields)
    with anthropic.Anthropic(base_url=server.base_url, api_key="none", max_retries=0) as other:
        return ANTHROPIC[kind](other, fields)


class ClientPrograms:
    """All kinds at once, in threads."""

    def __init__(self, server: Modelswap, kinds: tuple[str, ...] = ALL, **fields: object) -> None:
        self._pool = ThreadPoolExecutor(len(kinds))
        self._futures: dict[str, Future[str]] = {
            kind: self._pool.submit(one, server, kind, dict(fields)) for kind in kinds
        }

    def texts(self) -> dict[str, str]:
        return {kind: future.result(30) for kind, future in self._futures.items()}

    def errors(self) -> Iterator[tuple[str, BaseException | None]]:
        for kind, future in self._futures.items():
            yield kind, future.exception(30)
