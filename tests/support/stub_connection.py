"""One HTTP/1.1 connection of the stub, on a blocking socket.

Guarantees: standard library only and cheap to import, because a stub must be ready
milliseconds after it is started.
Does not: check what it receives. It records the request as it came, so that a test
can see what the proxy really forwarded.
"""

from __future__ import annotations

import socket

CHUNK = 65536


class ClosedByPeerError(Exception):
    """The other side went away in the middle of a request or a response."""


class Request:
    """One request, headers in order and in the case in which they came."""

    __slots__ = ("body", "headers", "method", "target")

    def __init__(self, method: str, target: str, headers: list[tuple[str, str]]) -> None:
        self.method = method
        self.target = target
        self.headers = headers
        self.body = b""

    def header(self, name: str) -> str:
        """The first value of a header, or an empty string."""
        return next((value for key, value in self.headers if key.lower() == name), "")

    @property
    def path(self) -> str:
        return self.target.partition("?")[0]

    @property
    def query(self) -> str:
        return self.target.partition("?")[2]


class Connection:
    """Reads requests from a socket and writes answers in any shape, also broken ones."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self._held = b""
        self._chunked = False

    def next_request(self) -> Request | None:
        """The next request with its whole body; `None` when the peer is done."""
        head = self._until(b"\r\n\r\n", may_end=True)
        if head is None:
            return None
        first, *lines = head.decode("latin-1").split("\r\n")
        method, target, *_ = [*first.split(" "), "", ""]
        headers = [
            (name.strip(), value.strip())
            for name, _, value in (line.partition(":") for line in lines)
        ]
        request = Request(method, target, headers)
        if request.header("expect").lower() == "100-continue":
            self.raw(b"HTTP/1.1 100 Continue\r\n\r\n")
        if "chunked" in request.header("transfer-encoding").lower():
            request.body = self._chunked_body()
        else:
            request.body = self._exactly(int(request.header("content-length") or 0))
        return request

    def raw(self, data: bytes) -> None:
        """Write bytes as they are."""
        try:
            self.sock.sendall(data)
        except OSError as gone:
            raise ClosedByPeerError from gone

    def head(self, status: int, headers: dict[str, str], *, length: int | None = None) -> None:
        """Write a response's head; without a length the body goes out in chunks."""
        self._chunked = length is None and status not in {101, 204, 304}
        lines = [f"HTTP/1.1 {status} Stub"] + [
            f"{name}: {value}" for name, value in headers.items()
        ]
        if length is not None:
            lines.append(f"Content-Length: {length}")
        elif self._chunked:
            lines.append("Transfer-Encoding: chunked")
        self.raw(("\r\n".join(lines) + "\r\n\r\n").encode("latin-1"))

    def write(self, data: bytes) -> None:
        """Write a piece of the body, framed as the head said."""
        self.raw(b"%x\r\n%s\r\n" % (len(data), data) if self._chunked else data)

    def end(self) -> None:
        """Finish a chunked body."""
        if self._chunked:
            self.raw(b"0\r\n\r\n")

    def reset(self) -> None:
        """End the connection with a TCP reset instead of an orderly close."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self.sock.close()

    def wait_for_close(self, seconds: float) -> bool:
        """Whether the peer closed within the time; sends nothing."""
        self.sock.settimeout(seconds)
        try:
            while self.sock.recv(CHUNK):
                continue
        except TimeoutError:
            return False
        except OSError:
            return True
        finally:
            self.sock.settimeout(None)
        return True

    def read_some(self) -> bytes:
        """Whatever comes next, for protocols other than HTTP; empty at the end."""
        held, self._held = self._held, b""
        return held or self._receive()

    def exactly(self, count: int) -> bytes:
        """Read exactly so many bytes."""
        return self._exactly(count)

    def _receive(self) -> bytes:
        try:
            return self.sock.recv(CHUNK)
        except OSError:
            return b""

    def _until(self, mark: bytes, *, may_end: bool = False) -> bytes | None:
        while mark not in self._held:
            more = self._receive()
            if not more:
                if may_end:
                    return None
                raise ClosedByPeerError
            self._held += more
        found, _, self._held = self._held.partition(mark)
        return found

    def _exactly(self, count: int) -> bytes:
        pieces = [self._held[:count]]
        self._held = self._held[count:]
        missing = count - len(pieces[0])
        while missing:
            more = self._receive()
            if not more:
                raise ClosedByPeerError
            pieces.append(more[:missing])
            self._held = more[missing:]
            missing -= len(pieces[-1])
        return b"".join(pieces)

    def _chunked_body(self) -> bytes:
        pieces: list[bytes] = []
        while size := int((self._until(b"\r\n") or b"0").split(b";")[0], 16):
            pieces.append(self._exactly(size))
            self._until(b"\r\n")
        while self._until(b"\r\n"):
            continue
        return b"".join(pieces)
