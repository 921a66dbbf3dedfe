"""The visitor: asks each model once, as any client would, and measures.

Plain HTTP over one address; no part of modelswap is used. Times are seconds of
the monotonic clock around a whole request, connection included.
"""

from __future__ import annotations

import http.client
import json
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from .workspace import MODELS, DemoModel

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_TIMEOUT: Final = 120.0
_PAUSE: Final = 0.01
_OK: Final = 200
ROUND: Final = (*MODELS, MODELS[0])
"""Every model once, and the first again: even that is a swap."""


class TourError(Exception):
    """The program did not answer as it should; the message is one line."""


@dataclass(frozen=True, slots=True)
class TimedRequest:
    """One model's turn: the request that swapped it in, and the same request again."""

    model: DemoModel
    answer: str
    cold: float
    warm: float

    @property
    def swap(self) -> float:
        """What the swap cost: the old server's stop, the new one's start."""
        return max(0.0, self.cold - self.warm)


@dataclass(frozen=True, slots=True)
class ServerAddress:
    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


def wait_until_up(address: ServerAddress, is_alive: Callable[[], bool], *, patience: float) -> None:
    """Return when `/health` answers 200; raise when the program ends or time does."""
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        if not is_alive():
            raise TourError("modelswap ended before it was up")
        try:
            if _exchange(address, "GET", "/health", None)[0] == _OK:
                return
        except OSError:
            pass
        time.sleep(_PAUSE)
    raise TourError(f"modelswap was not up after {patience:.0f} s")


def visits(address: ServerAddress) -> Iterator[TimedRequest]:
    """Ask every model in turn; each first request makes modelswap swap."""
    for model in ROUND:
        answer, cold = _ask(address, model)
        _, warm = _ask(address, model)
        yield TimedRequest(model, answer, cold, warm)


def _ask(address: ServerAddress, model: DemoModel) -> tuple[str, float]:
    path, body = request_for(model)
    begun = time.monotonic()
    try:
        status, content = _exchange(address, "POST", path, json.dumps(body).encode())
    except (OSError, http.client.HTTPException) as error:
        raise TourError(f"{model.id}: no answer: {error}") from None
    took = time.monotonic() - begun
    if status != _OK:
        raise TourError(f"{model.id}: status {status}: {content.decode(errors='replace')}")
    return _summary(model, json.loads(content)), took


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


def _exchange(
    address: ServerAddress, method: str, path: str, body: bytes | None
) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection(address.host, address.port, timeout=_TIMEOUT)
    headers = {} if body is None else {"Content-Type": "application/json"}
    try:
        connection.request(method, path, body=body, headers=headers)
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()
