"""Streams read piece by piece, and a peer that records its requests."""

from __future__ import annotations

import contextlib
import http.client
import json
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, Protocol, Self

from support.server import stub_command

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.server import Modelswap

NO_ROUTER = "no router for requested model"
NO_MODEL = "no model id could be identified"


class Serve(Protocol):
    """Starts the program with a configuration and waits until it answers."""

    def __call__(
        self, config_text: str, *flags: str, start: bool = True, env: dict[str, str] | None = None
    ) -> Modelswap: ...


def model(id_: str, /, *flags: str, **keys: object) -> str:
    """One entry of `models`, served by the stub; `keys` are written as JSON."""
    lines = [f"  {json.dumps(id_)}:", f"    cmd: {stub_command('stub', *flags)}"]
    lines += [f"    {key}: {json.dumps(value)}" for key, value in keys.items()]
    return "\n".join(lines) + "\n"


def error_of(answer: Any) -> dict[str, Any]:
    """The `error` of the envelope, whose `src` is as expected."""
    found = answer.json()
    assert found["src"] == "llama-swap"
    error = found["error"]
    assert isinstance(error, dict)
    return error


@contextlib.contextmanager
def opened(
    server: Modelswap,
    method: str,
    path: str,
    body: object = None,
    headers: dict[str, str] | None = None,
    *,
    seconds: float = 20.0,
) -> Iterator[http.client.HTTPResponse]:
    """A response whose head was read and whose body was not."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=seconds)
    sent = dict(headers or {})
    data = body
    if isinstance(body, dict):
        data = json.dumps(body).encode()
        sent.setdefault("Content-Type", "application/json")
    assert data is None or isinstance(data, bytes | str)
    try:
        connection.request(method, path, data, sent)
        yield connection.getresponse()
    finally:
        connection.close()


def sse(response: http.client.HTTPResponse) -> Iterator[str]:
    """The data of each event, as it comes."""
    lines: list[str] = []
    while line := response.readline():
        text = line.decode().rstrip("\n")
        if text.startswith("data:"):
            lines.append(text[5:].removeprefix(" "))
        elif not text and lines:
            yield "\n".join(lines)
            lines = []


def events_of(response: http.client.HTTPResponse) -> Iterator[tuple[str, Any]]:
    """Type and payload of each event of `/api/events`."""
    for data in sse(response):
        envelope = json.loads(data)
        assert set(envelope) == {"type", "data"}
        yield envelope["type"], json.loads(envelope["data"])


@dataclass(frozen=True, slots=True)
class ReceivedRequest:
    """One request as a peer got it."""

    method: str
    target: str
    headers: list[tuple[str, str]]
    body: bytes

    def header(self, name: str) -> str | None:
        return next((v for k, v in self.headers if k.lower() == name.lower()), None)


@dataclass
class RecordingPeer:
    """An HTTP server that records its requests and answers `{"heard": path}`.

    A JSON request may give the response: `reply`, `reply_type`, `reply_status`.
    """

    requests: list[ReceivedRequest] = field(default_factory=list)

    def __enter__(self) -> Self:
        requests = self.requests

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_any(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                requests.append(
                    ReceivedRequest(self.command, self.path, self.headers.items(), body)
                )
                script = _script(body)
                reply = str(script.get("reply", json.dumps({"heard": self.path}))).encode()
                self.send_response(int(script.get("reply_status", 200)))
                self.send_header("Content-Type", script.get("reply_type", "application/json"))
                self.send_header("Content-Length", str(len(reply)))
                self.end_headers()
                self.wfile.write(reply)

            do_GET = do_POST = do_PUT = do_DELETE = handle_any  # noqa: N815 - the library's names

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's name
                del format, args

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    @property
    def authority(self) -> str:
        return f"127.0.0.1:{self._server.server_port}"

    @property
    def last(self) -> ReceivedRequest:
        return self.requests[-1]


def _script(body: bytes) -> dict[str, Any]:
    try:
        found = json.loads(body)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def rows(server: Modelswap, query: str = "") -> list[dict[str, Any]]:
    """The newest activity records."""
    found = server.ask("GET", f"/api/metrics/activity{query}").json()["data"]
    assert isinstance(found, list)
    return found


def raw_head(server: Modelswap, *lines: str, body: bytes = b"") -> bytes:
    """What answers a request written by hand; the connection is closed after it."""
    head = "\r\n".join([*lines, "Connection: close"]) + "\r\n\r\n"
    return server.raw(head.encode("latin-1") + body)
