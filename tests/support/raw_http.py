"""Requests byte by byte, the resources of a process, and an upstream that follows a script."""

from __future__ import annotations

import contextlib
import http.client
import os
import re
import socket
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from support.server import Modelswap

JSON = {"Content-Type": "application/json"}


def status_of(
    server: Modelswap,
    method: str,
    path: str,
    body: bytes | None = None,
    headers: dict[str, str] | None = None,
    *,
    seconds: float = 30.0,
) -> int:
    """The status alone: for answers that have no end."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=seconds)
    try:
        connection.request(method, path, body, headers or {})
        return connection.getresponse().status
    finally:
        connection.close()


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


@contextlib.contextmanager
def dialled(server: Modelswap, seconds: float = 30.0) -> Iterator[socket.socket]:
    """One connection."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=seconds) as sock:
        yield sock


def post(path: str, body: bytes) -> bytes:
    """One request with a JSON body."""
    return (
        b"POST %b HTTP/1.1\r\nHost: localhost\r\n"
        b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%b"
        % (path.encode(), len(body), body)
    )


def statuses(raw: bytes) -> list[int]:
    """The status of each response among the bytes of a connection."""
    return [int(found) for found in re.findall(rb"HTTP/1\.1 (\d\d\d) ", raw)]


def rss(pid: int) -> int:
    """Resident bytes of a process."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def descriptors(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))  # noqa: PTH208 - a number is enough


def cpu_seconds(pid: int) -> float:
    """Processor time that a process has used so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def is_alive(server: Modelswap) -> bool:
    return server.ask("GET", "/health", seconds=30).status == 200


def is_serving(server: Modelswap) -> bool:
    """The same, for a server that may not be there."""
    try:
        return is_alive(server)
    except OSError:
        return False


class ScriptedUpstream:
    """An upstream whose every response is `talk(sock)`, written by the test; one thread per connection."""

    def __init__(self, respond: Callable[[socket.socket, bytes], None]) -> None:
        self._respond = respond
        self.requests: list[bytes] = []

    def __enter__(self) -> Self:
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(30)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, sock: socket.socket) -> None:
        with sock, contextlib.suppress(OSError):
            sock.settimeout(20)
            while request := read_request(sock):
                self.requests.append(request)
                self._respond(sock, request)


def read_request(sock: socket.socket) -> bytes:
    """One request with a counted body; empty at the end."""
    held = b""
    while b"\r\n\r\n" not in held:
        piece = sock.recv(65536)
        if not piece:
            return b""
        held += piece
    head, _, body = held.partition(b"\r\n\r\n")
    length = re.search(rb"\r\ncontent-length: (\d+)", head.lower())
    missing = (int(length[1]) if length else 0) - len(body)
    while missing > 0:
        piece = sock.recv(min(missing, 1 << 20))
        if not piece:
            return b""
        body += piece
        missing -= len(piece)
    return head + b"\r\n\r\n" + body


def wait_for(true: Callable[[], object], seconds: float = 45.0) -> None:
    """Poll until it is so; fail after the time."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, f"not within {seconds} s"
        time.sleep(0.02)
