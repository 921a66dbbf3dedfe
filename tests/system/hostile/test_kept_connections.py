"""Answers without a body, and paths that cannot be decoded, through the whole program."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from support.raw_http import dialled, is_alive, statuses
from support.server import answer_of

if TYPE_CHECKING:
    import socket

    from support.server import Modelswap
    from support.streams import RecordingPeer, Serve

PATHS = """
/ /ui /ui/ /ui/app.js /ui/nothing.js /favicon.ico /health /ready /v1/models /v1/models/m /running
/logs /logs/stream /api/events /api/version /metrics /nothing /v1/chat/completions /upstream
/upstream/m /upstream/m/x /upstream/nothing/x /comfyui //health
"""
LAST = b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"


@pytest.fixture(scope="module")
def server(serve: Serve, peer: RecordingPeer) -> Modelswap:
    return serve(f'models: {{}}\npeers:\n  far: {{proxy: "{peer.url}", models: [m]}}\n')


def head_of(sock: socket.socket) -> bytes:
    got = b""
    while b"\r\n\r\n" not in got:
        piece = sock.recv(65536)
        assert piece, f"closed after {got!r}"
        got += piece
    return got


@pytest.mark.parametrize("is_pipelined", [False, True])
@pytest.mark.parametrize("version", ["1.1", "1.0"])
@pytest.mark.parametrize(
    "path",
    PATHS.split(),
)
def test_head_of_any_route_leaves_the_connection_usable(
    server: Modelswap, path: str, version: str, *, is_pipelined: bool
) -> None:
    """A request behind a HEAD is answered: the same connection goes on."""
    keep = "Connection: keep-alive\r\n" if version == "1.0" else ""
    asked = f"HEAD {path} HTTP/{version}\r\nHost: localhost\r\n{keep}\r\n".encode()
    with dialled(server) as sock:
        sock.sendall(asked + LAST if is_pipelined else asked)
        got = b""
        if not is_pipelined:
            got = head_of(sock)
            assert got.endswith(b"\r\n\r\n")
            assert b"connection: close" not in got.lower()
            sock.sendall(LAST)
        got += answer_of(sock)
    first, _, rest = got.partition(b"\r\n\r\n")
    assert statuses(first + b"\r\n\r\n")
    assert rest.startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize("escape", ["%zz", "%", "%4", "%g0", "%%30", "%u0041"])
@pytest.mark.parametrize(
    "path",
    [
        "GET /health{}",
        "GET /{}",
        "GET /v1/models/{}",
        "POST /v1/chat/completions{}",
        "GET /ui/{}",
        "POST /api/models/unload/{}",
        "GET /upstream/m/x{}",
        "GET /upstream/{}/x",
        "GET /logs/stream/{}",
        "GET /comfyui/{}",
        "OPTIONS /{}",
        "GET http://localhost/{}",
    ],
)
def test_a_path_that_cannot_be_decoded_is_refused(
    server: Modelswap, peer: RecordingPeer, path: str, escape: str
) -> None:
    """400, on every route, and nothing is passed on."""
    before = len(peer.requests)
    with dialled(server) as sock:
        sock.sendall(f"{path.format(escape)} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        raw = answer_of(sock)
    assert statuses(raw) == [400]
    assert b"malformed percent-encoding in the path" in raw
    assert len(peer.requests) == before
    assert is_alive(server)


def test_a_query_that_cannot_be_decoded_passes(server: Modelswap, peer: RecordingPeer) -> None:
    """Only the path decides where a request goes; the query is the backend's."""
    answer = server.ask("GET", "/upstream/m/x?a=%zz&b=%")
    assert answer.status == 200
    assert peer.requests[-1].target == "/x?a=%zz&b=%"
