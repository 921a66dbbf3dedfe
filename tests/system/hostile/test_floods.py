"""Floods: what each may cost, and that other clients are served meanwhile.

The bounds stand in docs/threat-model.md. Memory is measured from outside, with
a margin for the allocator: a bound of n bytes is tested as growth below about 2n.
"""

from __future__ import annotations

import contextlib
import gzip
import resource
import socket
from typing import TYPE_CHECKING

import pytest

from support.raw_http import (
    ScriptedUpstream,
    cpu_seconds,
    descriptors,
    dialled,
    is_alive,
    is_serving,
    rss,
    status_of,
    statuses,
    wait_for,
)
from support.scripted_upstreams import always_responding
from support.server import answer_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.server import Modelswap
    from support.streams import RecordingPeer, Serve

MIB = 1 << 20
HEAD = b"POST /v1/embeddings HTTP/1.1\r\nHost: localhost\r\n"
BODY = b'{"model":"m"}'
FLOOD = 2000


@pytest.fixture(scope="module", autouse=True)
def many_descriptors() -> Iterator[None]:
    """Raise the limit of descriptors of this process."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 8192), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@contextlib.contextmanager
def load_clients(
    server: Modelswap, count: int, first: bytes = b""
) -> Iterator[list[socket.socket]]:
    """Open so many connections, each of which has sent `first`."""
    with contextlib.ExitStack() as stack:
        socks = []
        for _ in range(count):
            sock = stack.enter_context(socket.create_connection(("127.0.0.1", server.port), 10))
            if first:
                sock.sendall(first)
            socks.append(sock)
        yield socks


def test_two_thousand_idle_connections(serve: Serve) -> None:
    """Below 32 KiB each, others are served, and all are given back."""
    server = serve("limits: {connectionsPerAddress: 3000, idleTimeout: 10}\nmodels: {}\n")
    is_alive(server)
    before, open_before = rss(server.pid), descriptors(server.pid)
    with load_clients(server, FLOOD):
        # what the first question left open may have been closed meanwhile
        wait_for(lambda: descriptors(server.pid) >= open_before + FLOOD - 5)
        assert is_alive(server)
        assert rss(server.pid) - before < FLOOD * 32 * 1024
    wait_for(lambda: descriptors(server.pid) <= open_before + 2)
    assert is_alive(server)


def test_idle_connections_cost_no_time(serve: Serve) -> None:
    """Two thousand idle connections use no processor time."""
    server = serve("limits: {connectionsPerAddress: 3000}\nmodels: {}\n")
    with load_clients(server, FLOOD) as socks:
        wait_for(lambda: descriptors(server.pid) >= FLOOD)
        before = cpu_seconds(server.pid)
        socks[0].settimeout(2)
        with pytest.raises(TimeoutError):
            socks[0].recv(1)
        assert cpu_seconds(server.pid) - before < 1.0


@pytest.mark.parametrize("line", [b"a:\r\n", b"X-Some-Header: some value\r\n"])
def test_header_bombs_that_never_end(serve: Serve, line: bytes) -> None:
    """Five hundred unfinished heads of 60 KB: their bytes, not fifty times their bytes; then 408."""
    server = serve("limits: {headerTimeout: 4}\nmodels: {}\n")
    is_alive(server)
    head = b"GET / HTTP/1.1\r\n" + line * (60_000 // len(line))
    before = rss(server.pid)
    with load_clients(server, 500, head) as socks:
        assert is_alive(server)
        assert rss(server.pid) - before < 500 * 60_000 * 4
        assert statuses(answer_of(socks[0])) == [408]


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 101 + b"Host: localhost\r\n\r\n", 431),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"y" * 80_000 + b"\r\n\r\n", 431),
        (b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n", 414),
        (b"GET /" + b"a" * 200_000, 414),
    ],
)
def test_header_bombs_that_end(serve: Serve, head: bytes, status: int) -> None:
    """Refused by size and number."""
    server = _plain(serve)
    assert statuses(server.raw(head)) == [status]


_KEPT: dict[str, Modelswap] = {}


def _plain(serve: Serve) -> Modelswap:
    if "plain" not in _KEPT:
        _KEPT["plain"] = serve("models: {}\n")
    return _KEPT["plain"]


def test_a_body_over_the_limit_is_refused_before_it_comes(serve: Serve) -> None:
    """413 at once for an announced length; without `100 Continue` to begin it."""
    server = _plain(serve)
    with dialled(server) as sock:
        sock.sendall(HEAD + b"Expect: 100-continue\r\nContent-Length: 99999999999\r\n\r\n")
        assert statuses(sock.recv(65536)) == [413]


def test_tiny_chunks_cost_what_they_carry(serve: Serve) -> None:
    """A body of 4 MiB in chunks of two bytes takes about its size, not thirty times that."""
    server = serve("models: {}\n")
    is_alive(server)
    piece = b"2\r\n  \r\n" * (1 << 16)
    before = rss(server.pid)
    with dialled(server, 30) as sock:
        sock.sendall(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
        for _ in range(32):
            sock.sendall(piece)
        assert is_alive(server)
        assert rss(server.pid) - before < 4 * MIB * 6
        sock.sendall(b"0\r\n\r\n")
        assert statuses(sock.recv(65536)) in ([400], [404])


def test_responses_for_a_client_that_never_reads_are_bounded(serve: Serve) -> None:
    """Endless requests on a connection whose responses are not read: the server stops reading."""
    names = ", ".join(f"alias-{n:04}-{'x' * 90}" for n in range(500))
    server = serve(
        f"includeAliasesInList: true\nmodels:\n  m: {{cmd: 'x ${{PORT}}', aliases: [{names}]}}\n"
    )
    assert len(server.ask("GET", "/v1/models").body) > 100_000
    before = rss(server.pid)
    request = b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\n\r\n" * 100
    with load_clients(server, 8) as socks:
        for sock in socks:
            sock.settimeout(0.5)
            with pytest.raises(TimeoutError):
                sock.sendall(request * 2000)
        assert is_alive(server)
        assert rss(server.pid) - before < 8 * 4 * MIB + 16 * MIB
        socks[0].settimeout(10)
        assert socks[0].recv(65536).startswith(b"HTTP/1.1 200 ")
    assert is_alive(server)


def test_a_client_that_resumes_reading_gets_every_response(serve: Serve) -> None:
    """A client that was slow and reads at last gets all its pipelined answers, in order."""
    server = serve(
        "includeAliasesInList: true\nmodels:\n  m: {cmd: 'x ${PORT}', aliases: ["
        + ", ".join(f"alias-{n:04}-{'x' * 90}" for n in range(500))
        + "]}\n"
    )
    request = b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\n\r\n"
    last = b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    with dialled(server, 20) as sock:
        sock.sendall(request * 60 + last)
        assert statuses(answer_of(sock)) == [200] * 61


def test_an_unread_stream(serve: Serve) -> None:
    """An upstream's endless response stays in the kernel when the client does not read it."""

    def endless(sock: socket.socket, _request: bytes) -> None:
        sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 999999999999\r\n\r\n")
        sock.settimeout(4)
        sent.append(0)
        with contextlib.suppress(OSError):
            while True:
                sock.sendall(b"x" * 65536)
                sent[0] += 65536

    sent: list[int] = []
    with ScriptedUpstream(endless) as liar:
        server = serve(f'models: {{}}\npeers:\n  far: {{proxy: "{liar.url}", models: [m]}}\n')
        is_alive(server)
        before = rss(server.pid)
        with dialled(server) as sock:
            sock.sendall(HEAD + b"Content-Length: %d\r\n\r\n" % len(BODY) + BODY)
            wait_for(lambda: bool(sent) and sent[0] > 0)
            assert is_alive(server)
            held = sent[0]
            wait_for(lambda: is_alive(server))
            assert rss(server.pid) - before < 24 * MIB
            assert held < 64 * MIB


def test_an_unread_log(serve: Serve) -> None:
    """Readers of the event stream who do not read cost 1 MiB each at most."""
    server = serve("models: {}\n")
    is_alive(server)
    request = b"GET /api/events HTTP/1.1\r\nHost: localhost\r\n\r\n"
    with load_clients(server, 10, request):
        before = rss(server.pid)
        with dialled(server, 20) as sock:
            for _ in range(60):
                line = b"GET /" + b"y" * 7000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n"
                sock.sendall(line * 20)
                got = 0
                while got < 20:
                    got += sock.recv(1 << 20).count(b"HTTP/1.1 404")
        assert is_alive(server)
        assert rss(server.pid) - before < 10 * 3 * MIB + 24 * MIB


def test_a_gzip_bomb_from_upstream(serve: Serve) -> None:
    """A metered response that unpacks a thousandfold passes packed, and is not kept unpacked."""
    whole = gzip.compress(b"\0" * (128 * MIB), 9)
    answer = (
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Encoding: gzip\r\n"
        b"Content-Length: %d\r\n\r\n%b" % (len(whole), whole)
    )
    with ScriptedUpstream(always_responding(answer)) as liar:
        server = serve(
            f'captureBuffer: 5\nmodels: {{}}\npeers:\n  far: {{proxy: "{liar.url}", models: [m]}}\n'
        )
        is_alive(server)
        before = rss(server.pid)
        for _ in range(8):
            assert server.ask("POST", "/v1/chat/completions", {"model": "m"}).body == whole
        assert rss(server.pid) - before < 48 * MIB
        assert is_alive(server)


def test_too_many_connections(serve: Serve) -> None:
    """Beyond the limit, all busy: 503 and a close; below it again every client is served."""
    server = serve("limits: {connections: 20}\nmodels: {}\n")
    with load_clients(server, 20, b"GET /health HT"):
        with load_clients(server, 30) as refused:
            for sock in refused[:10]:
                assert statuses(answer_of(sock)) == [503]
        with dialled(server) as sock:
            sock.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert statuses(answer_of(sock)) == [503]
    wait_for(lambda: status_of(server, "GET", "/health") == 200)


@pytest.mark.parametrize("first", [b"", b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"])
def test_idle_connections_are_closed_for_new_ones(serve: Serve, first: bytes) -> None:
    """Clients that hold every connection idle do not block new ones."""
    server = serve("limits: {connections: 20, connectionsPerAddress: 10}\nmodels: {}\n")
    with load_clients(server, 300, first) as socks:
        for _ in range(30):
            assert status_of(server, "GET", "/health") == 200
        for sock in socks[:200]:
            with contextlib.suppress(ConnectionError):
                while sock.recv(65536):
                    pass


def test_few_file_descriptors(serve: Serve, peer: RecordingPeer) -> None:
    """A process that may have 200 descriptors refuses with 503 before they are gone, and serves on."""
    server = serve(
        f'models: {{}}\npeers:\n  far: {{proxy: "{peer.url}", models: [m]}}\n', start=False
    )
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    server.spawn()
    resource.prlimit(server.pid, resource.RLIMIT_NOFILE, (200, 200))
    assert soft > 200
    assert hard > 200
    wait_for(lambda: is_serving(server))
    with load_clients(server, 300, b"GET /health HT") as socks:
        assert statuses(answer_of(socks[-1])) in ([503], [])
        assert descriptors(server.pid) < 200
    with load_clients(server, 300):
        assert descriptors(server.pid) < 200
        wait_for(lambda: is_serving(server))
    wait_for(lambda: is_serving(server))
    assert server.ask("POST", "/v1/embeddings", {"model": "m"}).status == 200


def test_file_descriptors_run_out(serve: Serve, peer: RecordingPeer) -> None:
    """No descriptor left to accept with: no busy loop, no crash, and service returns when some are free."""
    server = serve(f'models: {{}}\npeers:\n  far: {{proxy: "{peer.url}", models: [m]}}\n')
    assert is_alive(server)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.prlimit(server.pid, resource.RLIMIT_NOFILE, (descriptors(server.pid) + 10, hard))
    with load_clients(server, 100):
        before = cpu_seconds(server.pid)
        with dialled(server, 2) as sock, contextlib.suppress(TimeoutError, OSError):
            sock.sendall(HEAD)
            while sock.recv(65536):
                pass
        assert cpu_seconds(server.pid) - before < 1.0
    resource.prlimit(server.pid, resource.RLIMIT_NOFILE, (min(hard, 4096), hard))
    wait_for(lambda: is_serving(server))
    assert server.ask("POST", "/v1/embeddings", {"model": "m"}).status == 200
    assert b"Traceback" not in server.log_file.read_bytes()
