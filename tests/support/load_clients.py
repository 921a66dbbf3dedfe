"""Many clients at once; each request is recorded with its one ending.

Endings: the status of a whole response; `cut` for one that was visibly broken off;
`refused` when no server listened; `hung` when nothing came in time, which fails every test.
"""

from __future__ import annotations

import http.client
import json
import threading
import time
import uuid
from collections import Counter
from typing import TYPE_CHECKING, Self

from support.server import streaming

if TYPE_CHECKING:
    import socket
    from collections.abc import Sequence

    from support.server import Modelswap

HUNG = "hung"
CUT = "cut"
REFUSED = "refused"


def one_request(server: Modelswap, model: str, timeout: float, **fields: object) -> str:
    """Make one request and say how it ended."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=timeout)
    body = json.dumps({"model": model, "messages": [], **fields})
    try:
        connection.connect()
    except ConnectionRefusedError:
        return REFUSED
    except OSError:
        return HUNG
    try:
        connection.request(
            "POST", "/v1/chat/completions", body, {"Content-Type": "application/json"}
        )
        reply = connection.getresponse()
        data = reply.read()
    except TimeoutError:
        return HUNG
    except (OSError, http.client.HTTPException):
        return CUT
    finally:
        connection.close()
    return f"{reply.status} error event" if b'"error"' in data[-2000:] else str(reply.status)


class LoadClients:
    """Clients that ask without pause from `with` to its end."""

    def __init__(
        self,
        server: Modelswap,
        models: Sequence[str],
        *,
        clients: int = 6,
        timeout: float = 30.0,
        pause: float = 0.01,
        **fields: object,
    ) -> None:
        self._server = server
        self._models = models
        self._timeout = timeout
        self._pause = pause
        self._fields = fields
        self._lock = threading.Lock()
        self._over = threading.Event()
        self.asked = 0
        self.endings: Counter[str] = Counter()
        self._threads = [threading.Thread(target=self._ask, args=(n,)) for n in range(clients)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(self._timeout + 5)

    def _ask(self, number: int) -> None:
        index = number
        while not self._over.is_set():
            with self._lock:
                self.asked += 1
            model = self._models[index % len(self._models)]
            stream = index % 2 == 0
            ending = one_request(
                self._server, model, self._timeout, **{"stream": stream, **self._fields}
            )
            with self._lock:
                self.endings[ending] += 1
            index += 1
            time.sleep(self._pause)

    def assert_all_ended(self, *, some: int = 1) -> None:
        """Every request has one ending, none hung, and at least some went well."""
        assert self.endings.total() == self.asked, (self.asked, self.endings)
        assert not self.endings[HUNG], self.endings
        assert self.endings["200"] >= some, self.endings


def slow_stream(server: Modelswap, model: str, *, events: int, delay_ms: int) -> socket.socket:
    """Begin a stream and return its connection once the first event is here."""
    fields: dict[str, object] = {"model": model, "messages": [], "n": events, "delay_ms": delay_ms}
    return streaming(server.port, fields)


class OpenStream:
    """A stream that goes on until `finish`; begun once its first event is here."""

    def __init__(
        self, server: Modelswap, model: str, *, delay_ms: int = 20, **more: object
    ) -> None:
        self._gate = server.directory / f"end-{uuid.uuid4().hex}"
        fields: dict[str, object] = {"model": model, "messages": [], "delay_ms": delay_ms}
        self._connection = streaming(server.port, {**fields, **more, "until": str(self._gate)})

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def read(self, events: int) -> None:
        """Wait for so many more events: it still runs."""
        received = b""
        while received.count(b"data:") < events:
            piece = self._connection.recv(65536)
            assert piece, f"it has ended: {received!r}"
            received += piece

    def finish(self, end: bytes = b"\0") -> bytes:
        """Let it end; everything until the other side closes, or up to the given end."""
        self._gate.touch()
        return rest_of(self._connection, end)


def rest_of(connection: socket.socket, end: bytes = b"\0") -> bytes:
    """Everything until the other side closes, or up to the given end."""
    received = b""
    try:
        while end not in received and (piece := connection.recv(65536)):
            received += piece
    except ConnectionResetError:
        received += b"<reset>"
    return received
