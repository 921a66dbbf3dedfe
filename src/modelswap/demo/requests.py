"""Sends one request to each model, as any client would, and measures it.

Does not: use any part of modelswap but plain HTTP.
Units: times are seconds of the monotonic clock around a whole request, with its connection.
"""

from __future__ import annotations

import http.client
import json
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from modelswap.units import Seconds

from .workspace import MODELS, DemoModel

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_TIMEOUT: Final = Seconds(120.0)
"""For one request with a model start: the configuration allows a start 60 s."""
_PAUSE: Final = Seconds(0.01)
"""Between two checks whether the program is up, so that they hardly add to its start."""
_OK: Final = 200  # HTTP status
ROUND: Final = (*MODELS, MODELS[0])  # every model once, and the first again: even that is a swap


class DemoError(Exception):
    """The program failed; the message is one line."""


@dataclass(frozen=True, slots=True)
class TimedRequest:
    """The request that swapped a model in, and the same request again."""

    model: DemoModel
    answer: str
    cold: Seconds
    warm: Seconds

    @property
    def swap(self) -> Seconds:
        """The time of the swap: the old server's stop and the new one's start."""
        return Seconds(max(0.0, self.cold - self.warm))


def wait_until_up(address: str, is_alive: Callable[[], bool], *, timeout: Seconds) -> None:
    """Return when `/health` answers 200; raise DemoError when the program or the time ends."""
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        if not is_alive():
            raise DemoError("modelswap ended before it was up")
        with suppress(OSError):
            if _exchange(address, "GET", "/health", None)[0] == _OK:
                return
        time.sleep(_PAUSE)
    raise DemoError(f"modelswap was not up after {timeout:.0f} s")


def timed_requests(address: str) -> Iterator[TimedRequest]:
    """Send two requests to every model in turn; each first one makes modelswap swap."""
    for model in ROUND:
        answer, cold = _ask(address, model)
        _, warm = _ask(address, model)
        yield TimedRequest(model, answer, cold, warm)


def _ask(address: str, model: DemoModel) -> tuple[str, Seconds]:
    path, body = request_for(model)
    begun = time.monotonic()
    try:
        status, content = _exchange(address, "POST", path, json.dumps(body).encode())
    except (OSError, http.client.HTTPException) as error:
        raise DemoError(f"{model.id}: no answer: {error}") from None
    duration = Seconds(time.monotonic() - begun)
    if status != _OK:
        raise DemoError(f"{model.id}: status {status}: {content.decode(errors='replace')}")
    return _summary(model, json.loads(content)), duration


def request_for(model: DemoModel) -> tuple[str, dict[str, Any]]:
    """Return path and JSON body of a request that the model can answer."""
    if model.is_chat:
        words = [{"role": "user", "content": "Hello! Who are you?"}]
        return "/v1/chat/completions", {"model": model.id, "max_tokens": 8, "messages": words}
    return "/v1/embeddings", {"model": model.id, "input": "Hello!"}


def _summary(model: DemoModel, answer: Any) -> str:
    if model.is_chat:
        return str(answer["choices"][0]["message"]["content"]).strip()
    vector = answer["data"][0]["embedding"]
    return f"{len(vector)} numbers, the first is {vector[0]:.3f}"


def _exchange(address: str, method: str, path: str, body: bytes | None) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection(address, timeout=_TIMEOUT)
    headers = {} if body is None else {"Content-Type": "application/json"}
    try:
        connection.request(method, path, body=body, headers=headers)
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()
