"""Uploads: large ones pass through without being held, and an unwritable disk is reported."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import json
import os
import resource
import socket
import threading
import time
from typing import TYPE_CHECKING, Self

import pytest

from support.raw_http import is_alive, rss, statuses, wait_for
from support.streams import error_of, model

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.server import Modelswap
    from support.streams import Serve

MIB = 1 << 20
LARGE = 200 * MIB
SOME = 48 * MIB
PIECE = bytes(range(256)) * 4096
"""1 MiB."""


class Counter:
    """An upstream that reads bodies as fast or as slowly as configured, and reports how much came."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.gate.set()
        self.heads: list[bytes] = []
        self.came = 0
        self.answers_once = False
        """A second request on a connection gets no response, as when an idle time has just ended."""

    def __enter__(self) -> Self:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                sock, _ = self._listener.accept()
                threading.Thread(target=self._talk, args=(sock,), daemon=True).start()

    def _talk(self, sock: socket.socket) -> None:
        with sock, sock.makefile("rb") as file, contextlib.suppress(OSError):
            while line := file.readline():
                head = line
                while (line := file.readline()) not in (b"\r\n", b""):
                    head += line
                self.heads.append(head)
                size, digest = self._body(file, head.lower())
                body = json.dumps({"size": size, "sha256": digest}).encode()
                sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
                if self.answers_once:
                    file.read(1)
                    return

    def _body(self, file: object, head: bytes) -> tuple[int, str]:
        digest, size = hashlib.sha256(), 0
        for data in self._pieces(file, head):
            self.gate.wait(30)
            digest.update(data)
            size += len(data)
            self.came += len(data)
        return size, digest.hexdigest()

    def _pieces(self, file: object, head: bytes) -> Iterator[bytes]:
        read = file.read  # type: ignore[attr-defined]
        if b"transfer-encoding: chunked" in head:
            while size := int(file.readline(), 16):  # type: ignore[attr-defined]
                yield read(size)
                read(2)
            read(2)
        elif b"content-length: " in head:
            left = int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0])
            while left and (data := read(min(left, 65536))):
                left -= len(data)
                yield data


@pytest.fixture
def counter() -> Iterator[Counter]:
    with Counter() as it:
        yield it


def config(counter: Counter, *, ready: float = 0.0) -> str:
    stub = model("comfyui_auto", "--ready-after", str(ready)).rstrip()
    return (
        f"healthCheckTimeout: 15\nmodels:\n  a:\n    cmd: sleep 1000\n    proxy: {counter.url}\n"
        f"    checkEndpoint: none\n{stub}\n"
        f'peers:\n  far: {{proxy: "{counter.url}", models: [m]}}\n'
    )


def send_large(
    server: Modelswap, path: str, headers: dict[str, str], size: int
) -> tuple[int, bytes]:
    """Upload so many bytes, piece by piece."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=120)
    chunked = "Transfer-Encoding" in headers
    connection.putrequest("POST", path)
    for name, value in headers.items():
        connection.putheader(name, value)
    if not chunked:
        connection.putheader("Content-Length", str(size))
    connection.endheaders()
    for _ in range(size // len(PIECE)):
        if chunked:
            connection.send(b"%x\r\n%b\r\n" % (len(PIECE), PIECE))
        else:
            connection.send(PIECE)
    if chunked:
        connection.send(b"0\r\n\r\n")
    answer = connection.getresponse()
    found = answer.status, answer.read()
    connection.close()
    return found


def digest_of(size: int) -> str:
    digest = hashlib.sha256()
    for _ in range(size // len(PIECE)):
        digest.update(PIECE)
    return digest.hexdigest()


class Peak:
    """The most that a process held while the block ran."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._done = threading.Event()

    def __enter__(self) -> Self:
        self.before = self.most = rss(self._pid)
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def _watch(self) -> None:
        while not self._done.wait(0.01):
            self.most = max(self.most, rss(self._pid))

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    @property
    def grown(self) -> int:
        return self.most - self.before


OCTETS = {"Content-Type": "application/octet-stream"}
CHUNKED = {"Transfer-Encoding": "chunked"}


@pytest.mark.parametrize(
    ("path", "headers", "size"),
    [
        ("/upstream/a/v1/files", OCTETS, LARGE),
        ("/upstream/a/v1/files", {**OCTETS, **CHUNKED}, SOME),
        ("/upstream/a/x", {"Content-Type": "application/json"}, SOME),
        ("/upstream/a/x", {"Content-Type": "multipart/form-data; boundary=x"}, SOME),
        ("/upstream/far/m/x", OCTETS, SOME),
        (
            "/upstream/far/m/x",
            {
                **OCTETS,
                "Content-Type": "multipart/form-data; boundary=x",
                "Content-Encoding": "gzip",
            },
            SOME,
        ),
        ("/v1/audio/transcriptions?model=a", OCTETS, SOME),
        ("/v1/audio/transcriptions?model=far/m", {**OCTETS, **CHUNKED}, SOME),
    ],
)
def test_a_large_body_passes_through(
    serve: Serve, counter: Counter, path: str, headers: dict[str, str], size: int
) -> None:
    """Up to 200 MB, byte for byte, and the program holds a few of them at a time."""
    server = serve(config(counter))
    assert is_alive(server)
    assert server.ask("POST", "/upstream/a/x", b"warm").status == 200
    with Peak(server.pid) as peak:
        status, body = send_large(server, path, headers, size)
    assert status == 200
    assert json.loads(body) == {"size": size, "sha256": digest_of(size)}
    assert peak.grown < 24 * MIB


def test_many_large_bodies_for_a_slow_upstream(serve: Serve, counter: Counter) -> None:
    """Twelve at once, and an upstream that reads nothing: the clients wait, memory does not grow."""
    server = serve(config(counter))
    assert server.ask("POST", "/upstream/a/x", b"warm").status == 200
    counter.gate.clear()
    found: list[int] = []

    def upload() -> None:
        found.append(send_large(server, "/upstream/a/x", OCTETS, 20 * MIB)[0])

    with Peak(server.pid) as peak:
        threads = [threading.Thread(target=upload) for _ in range(12)]
        for thread in threads:
            thread.start()
        wait_for(lambda: len(counter.heads) == 13)
        assert is_alive(server)
        counter.gate.set()
        for thread in threads:
            thread.join(60)
    assert found == [200] * 12
    assert peak.grown < 40 * MIB


def test_a_body_waits_unread_while_its_model_loads(serve: Serve, counter: Counter) -> None:
    """A load longer than `bodyTimeout` does not count against the client; `Expect` waits too."""
    server = serve(
        "limits: {bodyTimeout: 1}\n" + config(counter, ready=3.0),
    )
    path = "/comfyui/"
    head = (
        f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/octet-stream\r\n"
        f"Content-Length: {20 * MIB}\r\n"
    ).encode()
    with socket.create_connection(("127.0.0.1", server.port), 30) as sock:
        began = time.monotonic()
        sock.sendall(head + b"Expect: 100-continue\r\n\r\n")
        assert statuses(sock.recv(4096)) == [100]
        assert time.monotonic() - began > 2.5
        for _ in range(20):
            sock.sendall(PIECE)
        assert b" 200 " in sock.recv(65536)
    server.ask("POST", "/api/models/unload")
    with Peak(server.pid) as peak, socket.create_connection(("127.0.0.1", server.port), 30) as sock:
        sock.sendall(head + b"\r\n")
        sender = threading.Thread(target=sock.sendall, args=(PIECE * 20,))
        sender.start()
        assert b" 200 " in sock.recv(65536)
        sender.join()
    assert peak.grown < 12 * MIB


def test_a_client_that_leaves_in_the_middle(serve: Serve, counter: Counter) -> None:
    """The upstream's request ends with it, and the model is free again."""
    server = serve(config(counter))
    with socket.create_connection(("127.0.0.1", server.port), 30) as sock:
        sock.sendall(
            b"POST /upstream/a/x HTTP/1.1\r\nHost: localhost\r\nContent-Length: 50000000\r\n\r\n"
        )
        sock.sendall(PIECE)
        wait_for(lambda: counter.came >= MIB)
    wait_for(lambda: b"499" in server.ask("GET", "/logs").body)
    assert server.ask("POST", "/upstream/a/x", b"again").status == 200


def test_a_small_body_is_tried_again_on_a_stale_connection(serve: Serve) -> None:
    """A small body is held, also in chunks, so that it can be sent a second time."""
    server = serve(f"models:\n{model('a')}")
    for _ in range(2):
        for headers in (OCTETS, {**OCTETS, **CHUNKED}):
            body = b"3\r\nabc\r\n0\r\n\r\n" if "Transfer-Encoding" in headers else b"abc"
            connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
            connection.putrequest("POST", "/upstream/a/x")
            for name, value in headers.items():
                connection.putheader(name, value)
            if "Transfer-Encoding" not in headers:
                connection.putheader("Content-Length", "3")
            connection.endheaders(body)
            answer = connection.getresponse()
            assert (answer.status, json.loads(answer.read())["body"]) == (200, "abc")
            connection.close()


def test_a_large_body_needs_no_second_try(serve: Serve, counter: Counter) -> None:
    """It cannot be sent again, so it does not go on a connection that the upstream may be closing."""
    counter.answers_once = True
    server = serve(config(counter))
    for _ in range(2):
        assert server.ask("GET", "/upstream/a/x").status == 200
        assert send_large(server, "/upstream/a/x", OCTETS, 6 * MIB)[0] == 200


def test_a_limited_key_streams_to_its_own_models(serve: Serve, counter: Counter) -> None:
    """Locally by the path; to a peer not unread, where a body could name another model."""
    server = serve(
        f"apiKeys: [{{key: some, scopes: [admin], models: [a, far/m]}}]\n{config(counter)}"
    )
    key = {"Authorization": "Bearer some", "Content-Type": "application/octet-stream"}
    assert send_large(server, "/upstream/a/x", key, 6 * MIB)[0] == 200
    assert send_large(server, "/upstream/far/m/x", key, 6 * MIB)[0] == 403
    assert send_large(server, "/v1/audio/transcriptions?model=a", key, 6 * MIB)[0] == 403


# Forms on disk


def form(size: int) -> tuple[bytes, dict[str, str]]:
    data = (
        b'--BB\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\n'
        + b"RIFF" * (size // 4)
        + b'\r\n--BB\r\nContent-Disposition: form-data; name="model"\r\n\r\na\r\n--BB--\r\n'
    )
    return data, {"Content-Type": "multipart/form-data; boundary=BB"}


@pytest.mark.parametrize(("model_name", "growth"), [(b"far/m", -4), (b"else", 0)])
def test_a_large_form_to_a_peer(
    serve: Serve, counter: Counter, model_name: bytes, growth: int
) -> None:
    """Its qualified name is made bare on the way; the form is on disk, not in memory."""
    server = serve(config(counter))
    data, kind = form(SOME)
    data = data.replace(b"\r\na\r\n", b"\r\n%b\r\n" % model_name)
    assert server.ask("POST", "/upstream/far/m/x", b"warm").status == 200
    with Peak(server.pid) as peak:
        answer = server.ask("POST", "/upstream/far/m/x", data, kind)
    assert (answer.status, answer.json()["size"]) == (200, len(data) + growth)
    assert peak.grown < 24 * MIB


def upload(server: Modelswap, size: int = 4 * MIB) -> int:
    data, kind = form(size)
    answer = server.ask("POST", "/v1/audio/transcriptions", data, kind)
    if answer.status == 507:
        assert error_of(answer)["message"] == "the form could not be stored"
    return answer.status


def test_a_form_is_spooled_in_the_state_directory(serve: Serve, tmp_path: Path) -> None:
    """The file's name is removed at once; the system's folder is not needed."""
    server = serve(f"models:\n{model('a')}", env={"TMPDIR": str(tmp_path / "nowhere")})
    assert upload(server) == 200
    folder = server.state_dir / "spool"
    assert folder.stat().st_mode & 0o777 == 0o700
    assert list(folder.iterdir()) == []


def test_the_system_s_folder_takes_a_form_instead(serve: Serve) -> None:
    """When the state directory's cannot be used."""
    server = serve(f"models:\n{model('a')}")
    (server.state_dir / "spool").write_text("in the way")
    assert upload(server) == 200


def test_a_form_that_cannot_be_stored(serve: Serve) -> None:
    """507, and one warning that names folders and reasons; smaller forms and others go on."""
    server = serve(f"models:\n{model('a')}", start=False)
    server.start()
    resource.prlimit(server.pid, resource.RLIMIT_FSIZE, (2 * MIB, resource.RLIM_INFINITY))
    assert upload(server) == 507
    assert upload(server) == 507
    assert upload(server, MIB // 2) == 200
    log = server.ask("GET", "/logs").body.decode()
    (line,) = (one for one in log.splitlines() if "could not be stored" in one)
    assert "[WARN" in line
    assert str(server.state_dir / "spool") in line
    assert os.strerror(27) in line  # EFBIG, as a full disk in the middle
    forever = resource.RLIM_INFINITY
    resource.prlimit(server.pid, resource.RLIMIT_FSIZE, (forever, forever))
    assert upload(server) == 200


def test_nothing_can_be_written_at_all(serve: Serve) -> None:
    """Both folders in the way: each is named with its reason."""
    server = serve(f"models:\n{model('a')}", env={"TMPDIR": "/proc/1"})
    (server.state_dir / "spool").write_text("in the way")
    resource.prlimit(server.pid, resource.RLIMIT_FSIZE, (4096, resource.RLIM_INFINITY))
    assert upload(server) == 507
    log = server.ask("GET", "/logs").body.decode()
    (line,) = (one for one in log.splitlines() if "could not be stored" in one)
    assert f"{server.state_dir / 'spool'}: Not a directory" in line or "File exists" in line
    assert line.count("; ") >= 2
    assert upload(server, MIB // 2) == 200
