"""Bytes that could be read as two requests, through the whole program to an upstream that counts."""

from __future__ import annotations

import socket
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from support.raw_http import ScriptedUpstream, dialled, is_alive, statuses
from support.scripted_upstreams import always_responding, switching
from support.server import answer_of

if TYPE_CHECKING:
    from support.server import Modelswap
    from support.streams import RecordingPeer, Serve

HEAD = b"POST /v1/embeddings HTTP/1.1\r\nHost: localhost\r\n"
BODY = b'{"model":"m"}'
INNER = b"GET /smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n"


@pytest.fixture(scope="module")
def server(serve: Serve, peer: RecordingPeer) -> Modelswap:
    return serve(
        f"""
limits: {{headerTimeout: 1, bodyTimeout: 1, bodyMinRate: 1KiB, idleTimeout: 2}}
models: {{}}
peers:
  far: {{proxy: "{peer.url}", models: [m]}}
"""
    )


def chunks(*sizes: bytes) -> bytes:
    return b"".join(b"%b\r\n%b\r\n" % (size, BODY) for size in sizes)


SIZE = b"%x" % len(BODY)
LENGTH = b"%d" % len(BODY)
WHOLE = chunks(SIZE) + b"0\r\n\r\n"
SMUGGLES = {
    "CL.TE": HEAD + b"Content-Length: %d\r\nTransfer-Encoding: chunked\r\n\r\n" % (len(WHOLE)) + WHOLE + INNER,
    "TE.CL": HEAD + b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n" + WHOLE + INNER,
    "two lengths": HEAD + b"Content-Length: %b\r\nContent-Length: 3\r\n\r\n" % LENGTH + BODY + INNER,
    "two equal lengths": HEAD + b"Content-Length: %b\r\nContent-Length: %b\r\n\r\n" % (LENGTH, LENGTH) + BODY + INNER,
    "length list": HEAD + b"Content-Length: %b, %b\r\n\r\n" % (LENGTH, LENGTH) + BODY + INNER,
    "plus": HEAD + b"Content-Length: +%b\r\n\r\n" % LENGTH + BODY + INNER,
    "underscore": HEAD + b"Content-Length: 1_3\r\n\r\n" + BODY + INNER,
    "hex": HEAD + b"Content-Length: 0xd\r\n\r\n" + BODY + INNER,
    "space before colon": HEAD + b"Content-Length : %b\r\n\r\n" % LENGTH + BODY + INNER,
    "fold": HEAD + b"X: a\r\n Content-Length: 99\r\nContent-Length: %b\r\n\r\n" % LENGTH + BODY + INNER,
    "fold of coding": HEAD + b"Transfer-Encoding:\r\n chunked\r\nContent-Length: %b\r\n\r\n" % LENGTH + BODY + INNER,
    "bare CR": HEAD + b"X: a\rTransfer-Encoding: chunked\r\nContent-Length: %b\r\n\r\n" % LENGTH + BODY + INNER,
    "bare LF": HEAD + b"X: a\nTransfer-Encoding: chunked\r\nContent-Length: %b\r\n\r\n" % LENGTH + BODY + INNER,
    "NUL": HEAD + b"X: a\0b\r\nContent-Length: %b\r\n\r\n" % LENGTH + BODY + INNER,
    "xchunked": HEAD + b"Transfer-Encoding: xchunked\r\n\r\n" + WHOLE + INNER,
    "chunked, identity": HEAD + b"Transfer-Encoding: chunked, identity\r\n\r\n" + WHOLE + INNER,
    "identity": HEAD + b"Transfer-Encoding: identity\r\nContent-Length: %b\r\n\r\n" % LENGTH + BODY + INNER,
    "two codings": HEAD + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n" + WHOLE + INNER,
    "vertical tab": HEAD + b"Transfer-Encoding: \x0bchunked\r\n\r\n" + WHOLE + INNER,
    "1.0 and chunked": HEAD.replace(b"1.1", b"1.0") + b"Transfer-Encoding: chunked\r\n\r\n" + WHOLE + INNER,
    "0x chunk": HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + chunks(b"0x" + SIZE) + b"0\r\n\r\n" + INNER,
    "plus chunk": HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + chunks(b"+" + SIZE) + b"0\r\n\r\n" + INNER,
    "chunk overflow": HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + chunks(b"1000000000000000" + SIZE) + b"0\r\n\r\n" + INNER,
    "chunk LF": HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + SIZE + b"\n" + BODY + b"\r\n0\r\n\r\n" + INNER,
    "chunk extension CR": HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + SIZE + b";a\rb\r\n" + BODY + b"\r\n0\r\n\r\n" + INNER,
    "chunk too long": HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + b"3\r\n" + BODY + b"\r\n0\r\n\r\n" + INNER,
    "bad trailer": HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + chunks(SIZE) + b"0\r\nX\r\n\r\n" + INNER,
    "length in trailer": HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + chunks(SIZE) + b"0\r\nContent-Length: 3\r\n\r\n" + INNER,
    "coding in trailer": HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + chunks(SIZE) + b"0\r\nTransfer-Encoding: chunked\r\n\r\n" + INNER,
    "space in target": b"POST /v1/embeddings HTTP/1.1\r\nX: y HTTP/1.1\r\nHost : localhost\r\n\r\n" + INNER,
    "two hosts": HEAD + b"Host: evil.example\r\nContent-Length: %b\r\n\r\n" % LENGTH + BODY + INNER,
    "no host": HEAD.replace(b"Host: localhost\r\n", b"") + b"Content-Length: %b\r\n\r\n" % LENGTH + BODY + INNER,
    "empty name": HEAD + b": x\r\nContent-Length: %b\r\n\r\n" % LENGTH + BODY + INNER,
    "absolute, other host": b"POST http://evil.example/v1/embeddings HTTP/1.1\r\nHost: localhost\r\nContent-Length: %b\r\n\r\n" % LENGTH + BODY + INNER,
    "h2 preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + INNER,
}  # fmt: skip


@pytest.mark.parametrize("case", SMUGGLES)
def test_one_refusal_and_the_end(server: Modelswap, peer: RecordingPeer, case: str) -> None:
    """Bytes with two readings: one 400, closed; the inner request runs nowhere, the outer not at all."""
    before = len(peer.requests)
    raw = server.raw(SMUGGLES[case])
    assert statuses(raw) == [400]
    assert b"\r\nConnection: close\r\n" in raw
    assert len(peer.requests) == before


def test_what_goes_on_is_written_anew(server: Modelswap, peer: RecordingPeer) -> None:
    """Chunks with extensions and trailers reach the upstream as one counted body, hop-by-hop fields not."""
    raw = server.raw(
        HEAD + b"Transfer-Encoding: chunked\r\nConnection: close, X-Secret-Hop, Content-Type\r\n"
        b"X-Secret-Hop: a\r\nTE: trailers\r\nTrailer: X-T\r\nKeep-Alive: 5\r\nUpgrade: h2c\r\n"
        b"Content-Type: application/json\r\nProxy-Authorization: Basic x\r\n\r\n"
        + SIZE + b";x=y\r\n" + BODY + b"\r\n0\r\nX-T: v\r\n\r\n"
    )  # fmt: skip
    assert statuses(raw) == [200]
    names = [name.lower() for name, _ in peer.last.headers]
    assert peer.last.body == BODY
    assert names.count("content-length") == 1
    assert peer.last.header("Content-Type") == "application/json"
    gone = {"transfer-encoding", "x-secret-hop", "keep-alive", "upgrade", "trailer", "x-t"}
    assert not gone & {*names}
    assert "proxy-authorization" not in names


def test_pipelined_requests_are_answered_in_order(server: Modelswap, peer: RecordingPeer) -> None:
    """Each once, one after another, whatever comes behind."""
    before = len(peer.requests)
    one = HEAD + b"Content-Length: %b\r\n\r\n" % LENGTH + BODY
    last = b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    raw = server.raw(one + b"GET /nothing HTTP/1.1\r\nHost: localhost\r\n\r\n" + one + last + INNER)
    assert statuses(raw) == [200, 404, 200, 200]
    assert len(peer.requests) == before + 2


def test_a_half_closed_connection_gets_its_answer(server: Modelswap) -> None:
    """Closing the sending side after the request is no reason to drop it."""
    with dialled(server) as sock:
        sock.sendall(HEAD + b"Content-Length: %b\r\n\r\n" % LENGTH + BODY)
        sock.shutdown(socket.SHUT_WR)
        assert statuses(answer_of(sock))[-1] == 200


def test_half_closed_connections_all_get_their_answers(server: Modelswap) -> None:
    """Also when the end of input and the upstream's answer are read in one turn of the loop."""

    def asked(_: int) -> list[int]:
        with dialled(server) as sock:
            sock.sendall(HEAD + b"Content-Length: %b\r\n\r\n" % LENGTH + BODY)
            sock.shutdown(socket.SHUT_WR)
            return statuses(answer_of(sock))

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(asked, range(400)))
    assert [found for found in answers if found[-1:] != [200]] == []


@pytest.mark.parametrize(
    ("first", "piece"),
    [
        (b"GET / HTTP/1.1\r\n", b"X: y\r\n"),
        (b"G", b"E"),
        (b"GET /" + b"a" * 100, b"a"),
        (HEAD + b"Content-Length: 100000\r\n\r\n", b"x"),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n"),
        (HEAD.replace(b"embeddings", b"audio/transcriptions")
         + b"Content-Type: multipart/form-data; boundary=b\r\nContent-Length: 100000\r\n\r\n--b\r\n", b"X"),
    ],
)  # fmt: skip
def test_slow_heads_and_bodies_time_out(server: Modelswap, first: bytes, piece: bytes) -> None:
    """A head or body that comes byte by byte ends with 408 (400 where it is none) and a close."""
    with dialled(server, 15) as sock:
        sock.sendall(first)
        answer = b""
        sock.settimeout(0.1)
        deadline = time.monotonic() + 45
        while not answer and time.monotonic() < deadline:
            try:
                sock.sendall(piece)
                answer += sock.recv(65536)
            except TimeoutError:
                continue
            except OSError:
                break
    assert statuses(answer)[0] in {400, 408}
    assert is_alive(server)


def test_idle_connections_are_closed(server: Modelswap) -> None:
    """A connection without a request ends after `limits.idleTimeout`."""
    with dialled(server, 45) as sock:
        assert sock.recv(1) == b""


BIG = b"HTTP/1.1 200 OK\r\nX: " + b"y" * 70000 + b"\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\n"
MALFORMED = {
    "garbage": b"nonsense\r\n\r\n", "http 0.9": b"hello", "version": b"HTTP/2.0 200 OK\r\n\r\n",
    "status text": b"HTTP/1.1 OK\r\n\r\n", "status 99": b"HTTP/1.1 99 X\r\n\r\n",
    "status 1000": b"HTTP/1.1 1000 X\r\n\r\n", "negative length": OK + b"Content-Length: -1\r\n\r\n",
    "two lengths": OK + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\nabc",
    "xchunked": OK + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "bare CR": OK + b"X: a\rSet-Cookie: b\r\nContent-Length: 0\r\n\r\n", "NUL": OK + b"X: a\0\r\nContent-Length: 0\r\n\r\n",
    "no colon": OK + b"X\r\nContent-Length: 0\r\n\r\n",
    "huge header": BIG, "control character": OK + b"X: a\x01\r\nContent-Length: 0\r\n\r\n",
    "unasked switch": b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n",
    "nothing": b"",
}  # fmt: skip
SLIPS = {
    "length and chunked": OK + b"Content-Length: 9\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    "length twice": OK + b"Content-Length: 2\r\nContent-Length: 2\r\n\r\nok",
    "fold": OK + b"X: a\r\n b\r\nContent-Length: 2\r\n\r\nok", "bare LF": OK + b"X: a\nContent-Length: 2\r\n\r\nok",
    "space before colon": OK + b"X : a\r\nContent-Length: 2\r\n\r\nok", "only LF": b"HTTP/1.1 200 OK\nContent-Length: 2\n\nok",
    "reason": b"HTTP/1.1 200 O\x01K\r\nContent-Length: 2\r\n\r\nok", "no reason": b"HTTP/1.1 200\r\nContent-Length: 2\r\n\r\nok",
    "no end of chunks": OK + b"Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n",
}  # fmt: skip


@pytest.mark.parametrize("case", SLIPS)
def test_an_answer_with_a_harmless_slip_passes_clean(serve: Serve, case: str) -> None:
    """A response with one meaning is repaired: the client's own strict reader accepts it."""
    with ScriptedUpstream(always_responding(SLIPS[case], close=True)) as upstream:
        server = _with_peer(serve)
        server.write_config(
            f'models: {{}}\npeers:\n  far: {{proxy: "{upstream.url}", models: [m]}}\n'
        )
        assert server.ask("POST", "/api/config/reload").status == 200
        answer = server.ask("POST", "/v1/embeddings", {"model": "m"})
    assert (answer.status, answer.body) == (200, b"ok")
    assert not {"content-length", "transfer-encoding"} <= set(answer.headers)


@pytest.mark.parametrize("case", MALFORMED)
def test_a_malformed_answer_becomes_502(serve: Serve, case: str) -> None:
    """Never forwarded, always the envelope; the next request is served."""
    with ScriptedUpstream(always_responding(MALFORMED[case], close=True)) as upstream:
        server = _with_peer(serve)
        server.write_config(
            f'models: {{}}\npeers:\n  far: {{proxy: "{upstream.url}", models: [m]}}\n'
        )
        assert server.ask("POST", "/api/config/reload").status == 200
        answer = server.ask("POST", "/v1/embeddings", {"model": "m"})
    assert answer.status == 502
    assert answer.json()["error"]["code"] == "bad_gateway"
    assert answer.headers["content-type"] == "application/json"
    assert is_alive(server)


_KEPT: dict[str, Modelswap] = {}


def _with_peer(serve: Serve) -> Modelswap:
    if "one" not in _KEPT:
        _KEPT["one"] = serve("models: {}\n")
    return _KEPT["one"]


@pytest.mark.parametrize(
    "body",
    [b"zz\r\n", b"5\r\nhel", b"3\r\nhello\r\n0\r\n\r\n", b"-1\r\n", b"ffffffffffffffff\r\nx", b"3\nabc\n0\n\n"],
)  # fmt: skip
def test_an_answer_that_breaks_looks_broken(serve: Serve, body: bytes) -> None:
    """Bad chunks after the head: the client sees an aborted response (or 502), not a clean end."""
    with ScriptedUpstream(
        always_responding(OK + b"Transfer-Encoding: chunked\r\n\r\n" + body, close=True)
    ) as upstream:
        server = _with_peer(serve)
        server.write_config(
            f'models: {{}}\npeers:\n  far: {{proxy: "{upstream.url}", models: [m]}}\n'
        )
        server.ask("POST", "/api/config/reload")
        with dialled(server) as sock:
            sock.sendall(HEAD + b"Connection: close\r\nContent-Length: %b\r\n\r\n" % LENGTH + BODY)
            raw = answer_of(sock)
    if raw and statuses(raw)[0] != 502:
        assert not raw.endswith(b"0\r\n\r\n")


def test_bytes_behind_a_response_are_discarded(serve: Serve) -> None:
    """A second response behind the first does not reach a later request."""
    poison = OK + b"Content-Length: 2\r\n\r\nok" + OK + b"Content-Length: 6\r\n\r\npoison"
    with ScriptedUpstream(always_responding(poison)) as upstream:
        server = _with_peer(serve)
        server.write_config(
            f'models: {{}}\npeers:\n  far: {{proxy: "{upstream.url}", models: [m]}}\n'
        )
        server.ask("POST", "/api/config/reload")
        found = [server.ask("POST", "/v1/embeddings", {"model": "m"}).body for _ in range(5)]
    assert found == [b"ok"] * 5


@pytest.mark.parametrize("wanted", ["h2c", "websocket, h2c", "HTTP/2.0", "TLS/1.0", "foo,h2c"])
def test_no_other_http_through_a_tunnel(serve: Serve, wanted: str) -> None:
    """An upgrade to another HTTP would carry requests past every rule: it is not passed on."""
    with ScriptedUpstream(switching) as upstream:
        server = _with_peer(serve)
        server.write_config(
            f'models: {{}}\npeers:\n  far: {{proxy: "{upstream.url}", models: [m]}}\n'
        )
        server.ask("POST", "/api/config/reload")
        with dialled(server) as sock:
            sock.sendall(
                b"GET /upstream/m/x HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade, HTTP2-Settings\r\n"
                b"Upgrade: %b\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n\r\n" % wanted.encode()
            )
            assert statuses(sock.recv(65536)) == [502]
        assert b"upgrade" not in upstream.requests[-1].lower()
        assert b"http2-settings" not in upstream.requests[-1].lower()


def test_a_slow_upstream_head_does_not_hold_others(serve: Serve) -> None:
    """While one upstream sends nothing, other requests are served at once."""

    def silent(sock: socket.socket, _request: bytes) -> None:
        time.sleep(1.5)
        sock.close()

    with ScriptedUpstream(silent) as upstream:
        server = _with_peer(serve)
        server.write_config(
            f'models: {{}}\npeers:\n  far: {{proxy: "{upstream.url}", models: [m]}}\n'
        )
        server.ask("POST", "/api/config/reload")
        with dialled(server) as sock:
            sock.sendall(HEAD + b"Content-Length: %b\r\n\r\n" % LENGTH + BODY)
            for _ in range(20):
                assert is_alive(server)
            assert statuses(sock.recv(65536)) == [502]
