"""An HTTP server of files on a real socket, with ranges, validators, and faults on demand.

`Hub` and `OllamaRegistry` stand on it; by itself it is a plain web server of files.
"""

from __future__ import annotations

import contextlib
import re
import threading
from dataclasses import dataclass, field
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import unquote, urlsplit

if TYPE_CHECKING:
    import socket
    from collections.abc import Mapping
    from types import TracebackType

_CHUNK = 1 << 16
"""Bytes of one write."""


@dataclass(frozen=True)
class Fault:
    """What one request is answered with instead of what it asks for."""

    status: int = 0
    """An error, with `fields` and `body`; 0: the file, until `after` bytes of it were sent."""
    fields: Mapping[str, str] = field(default_factory=dict[str, str])
    body: bytes = b""
    after: int | None = None
    """Bytes of the body that are sent; then the connection breaks, or stalls."""
    stalls: bool = False
    """Send nothing more until `FileServer.go_on` is set, and break the connection then."""
    flips: bool = False
    """Send the right number of wrong bytes."""
    unsized: bool = False
    """Do not say how long the body is; it ends with the connection."""
    ignores_range: bool = False
    """Send the whole file where a part was asked for."""


def breaks(after: int) -> Fault:
    """Break the connection after so many bytes of the body."""
    return Fault(after=after)


def stalls(after: int) -> Fault:
    return Fault(after=after, stalls=True)


def refuses(status: int, **fields: str) -> Fault:
    """Answer with an error; `Retry_After="1"` is a field."""
    return Fault(status, {name.replace("_", "-"): value for name, value in fields.items()})


GARBAGE = Fault(200, {"Content-Type": "text/html"}, b"<html>Sign in to the hotel's network</html>")


@dataclass
class Asked:
    """One request, as it came, and what was sent."""

    method: str
    path: str
    """With its query."""
    fields: dict[str, str]
    """By name in lower case."""
    status: int = 0
    sent: int = 0
    """Bytes of the body."""

    @property
    def range(self) -> str:
        return self.fields.get("range", "")

    @property
    def start(self) -> int:
        """The first byte that was asked for."""
        found = re.match(r"bytes=(\d+)-", self.range)
        return int(found[1]) if found else 0


@dataclass(frozen=True)
class Served:
    """What a path leads to."""

    data: bytes = b""
    fields: Mapping[str, str] = field(default_factory=dict[str, str])
    status: int = 200


class FileServer:
    """Serves `files` by path until it is left as a context; faults are used up, one a request."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.has_validators = True
        self.asked: list[Asked] = []
        self.arrived = threading.Semaphore(0)
        """Released at each request."""
        self.stalled = threading.Event()
        """Set when a fault stalls."""
        self.go_on = threading.Event()
        self._faults: list[tuple[str, Fault]] = []
        self._lock = threading.Lock()
        handler = type("Handler", (_Handler,), {"owner": self})
        self._server = _Server(("127.0.0.1", 0), handler)
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.01,), daemon=True
        )

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def other_url(self) -> str:
        """The same server by another name, as a hub's storage has."""
        return f"http://localhost:{self.port}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.go_on.set()
        self._server.shutdown()
        self._server.close_all()
        self._server.server_close()
        self._thread.join()

    def fail(self, path: str, *faults: Fault) -> None:
        """Answer the next requests whose path holds this text with these faults, one each."""
        with self._lock:
            self._faults += [(path, fault) for fault in faults]

    def take_fault(self, path: str) -> Fault | None:
        with self._lock:
            for index, (part, fault) in enumerate(self._faults):
                if part in path:
                    del self._faults[index]
                    return fault
        return None

    def note(self, asked: Asked) -> None:
        with self._lock:
            self.asked.append(asked)
        self.arrived.release()

    def of(self, path: str, method: str = "GET") -> list[Asked]:
        """Return the requests whose path holds this text."""
        with self._lock:
            return [one for one in self.asked if path in one.path and one.method == method]

    def find(self, asked: Asked) -> Served:
        """Return what a request leads to; subclasses have their own paths."""
        path = unquote(urlsplit(asked.path).path)
        data = self.files.get(path)
        if data is None:
            return Served(b"not here", status=404)
        fields = {"ETag": f'"{sha256(data).hexdigest()[:16]}"'} if self.has_validators else {}
        return Served(data, fields)


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, address: tuple[str, int], handler: type[BaseHTTPRequestHandler]) -> None:
        self._open: set[socket.socket] = set()
        super().__init__(address, handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._open.discard(request)
        super().shutdown_request(request)

    def close_all(self) -> None:
        for connection in list(self._open):
            with contextlib.suppress(OSError):
                connection.shutdown(2)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that leaves is no error."""


class _Handler(BaseHTTPRequestHandler):
    owner: FileServer
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        fields = {name.lower(): value for name, value in self.headers.items()}
        asked = Asked(self.command, self.path, fields)
        self.owner.note(asked)
        fault = self.owner.take_fault(self.path)
        if fault is not None and fault.status:
            self._head(asked, fault.status, fault.fields, len(fault.body))
            self._body(asked, fault.body, None)
            return
        served = self.owner.find(asked)
        self._serve(asked, served, fault)

    def do_HEAD(self) -> None:
        self.do_GET()

    def _serve(self, asked: Asked, served: Served, fault: Fault | None) -> None:
        data, fields, status = served.data, dict(served.fields), served.status
        start, end = self._range(asked, served)
        if fault is not None and fault.ignores_range:
            start, end = 0, len(data)
        if status == 200:
            fields["Accept-Ranges"] = "bytes"
            if start >= len(data) and asked.range and data:
                self._head(asked, 416, {"Content-Range": f"bytes */{len(data)}"}, 0)
                return
            if (start, end) != (0, len(data)):
                fields["Content-Range"] = f"bytes {start}-{end - 1}/{len(data)}"
                status = 206
        part = data[start:end]
        if fault is not None and fault.flips:
            part = bytes(byte ^ 1 for byte in part)
        is_sized = fault is None or not fault.unsized
        self._head(asked, status, fields, len(part) if is_sized else None)
        self._body(asked, part, fault)

    def _range(self, asked: Asked, served: Served) -> tuple[int, int]:
        found = re.fullmatch(r"bytes=(\d+)-(\d*)", asked.range)
        condition = asked.fields.get("if-range")
        whole = (0, len(served.data))
        if found is None or (condition is not None and condition != served.fields.get("ETag")):
            return whole
        end = int(found[2]) + 1 if found[2] else whole[1]
        return int(found[1]), min(end, whole[1])

    def _head(
        self, asked: Asked, status: int, fields: Mapping[str, str], length: int | None
    ) -> None:
        asked.status = status
        self.send_response(status)
        for name, value in fields.items():
            self.send_header(name, value)
        if length is None:
            self.send_header("Connection", "close")
        else:
            self.send_header("Content-Length", str(length))
        self.end_headers()

    def _body(self, asked: Asked, data: bytes, fault: Fault | None) -> None:
        if self.command == "HEAD":
            return
        most = len(data) if fault is None or fault.after is None else min(fault.after, len(data))
        for begin in range(0, most, _CHUNK):
            piece = data[begin : min(begin + _CHUNK, most)]
            self.wfile.write(piece)
            asked.sent += len(piece)
        if fault is None or fault.after is None:
            return
        self.wfile.flush()
        if fault.stalls:
            self.owner.stalled.set()
            self.owner.go_on.wait()
        self.close_connection = True
