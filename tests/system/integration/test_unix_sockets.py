"""The program on a Unix socket, and models and peers behind Unix sockets."""

from __future__ import annotations

import http.client
import json
import os
import shlex
import signal
import socket
import ssl
import stat
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import trustme

from support.server import STUB, Answer, Modelswap, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Start = Callable[..., Modelswap]


def ask(
    path: str, method: str, target: str, body: object = None, headers: dict[str, str] | None = None
) -> Answer:
    """One request through a Unix socket."""
    connection = http.client.HTTPConnection("localhost", timeout=20)
    connection.sock = dial(path)
    data = None if body is None else json.dumps(body).encode()
    try:
        connection.request(
            method, target, data, {"Content-Type": "application/json", **(headers or {})}
        )
        reply = connection.getresponse()
        names = {name.lower(): value for name, value in reply.getheaders()}
        return Answer(reply.status, names, reply.read())
    finally:
        connection.close()


def dial(path: str) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.settimeout(20)
    try:
        sock.connect("\0" + path[1:] if path.startswith("@") else path)
    except OSError:
        sock.close()
        raise
    return sock


def is_serving(path: str) -> bool:
    try:
        return ask(path, "GET", "/health").status == 200
    except OSError:
        return False


def unix_model(name: str, path: str, *flags: str, proxy: str | None = None) -> str:
    """A model whose server listens on a Unix socket only."""
    argv = [sys.executable, "-I", "-S", str(STUB), "--name", name, "--host", path, *flags]
    return f"  {name}:\n    cmd: {shlex.join(argv)}\n    proxy: {proxy or 'unix:' + path}\n"


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start the program with these flags; nothing of it is left at the end."""
    servers: list[Modelswap] = []

    def begin(text: str, *flags: str, name: str = "s") -> Modelswap:
        server = Modelswap(tmp_path / name, text, flags=flags)
        servers.append(server)
        return server

    yield begin
    for server in servers:
        if server.process is not None:
            assert server.finish() == {}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a short name: a socket's path has 107 bytes at most."""
    link = tmp_path / "r"
    link.mkdir()
    return link


# Listening


@pytest.mark.parametrize("spelling", ["unix:{}", "unix://{}"])
def test_the_program_listens_on_a_unix_socket(start: Start, folder: Path, spelling: str) -> None:
    """Requests, streams and errors as over TCP; the file is the owner's and the group's, and goes at the end."""
    path = f"{folder}/m.sock"
    server = start(f"models:\n{unix_model('a', f'{folder}/a')}", "--listen", spelling.format(path))
    process = server.spawn()
    wait_until(lambda: is_serving(path), what=server.log())
    assert stat.S_IMODE(Path(path).stat().st_mode) == 0o660
    wait_until(lambda: f"1 model on unix:{path}" in server.log())
    assert "can be reached from other machines" not in server.log()
    answer = ask(path, "POST", "/v1/chat/completions", {"model": "a", "messages": []})
    assert answer.status == 200
    assert ask(path, "GET", "/nothing").status == 404
    assert ask(path, "GET", "/v1/models", headers={"Host": "evil.example"}).status == 403
    rows = ask(path, "GET", "/api/metrics/activity").json()["data"]
    assert [row["client"] for row in rows] == ["127.0.0.1"]
    process.terminate()
    assert process.wait(30) == 0
    assert not os.path.lexists(path)


def test_two_requests_on_one_connection(start: Start, folder: Path) -> None:
    """Keep-alive and pipelining work as over TCP."""
    path = f"{folder}/m.sock"
    start("models: {}\n", "--listen", f"unix:{path}").spawn()
    wait_until(lambda: is_serving(path))
    with dial(path) as sock:
        sock.sendall(b"HEAD /v1/models HTTP/1.1\r\nHost: localhost\r\n\r\n")
        sock.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        got = b""
        while piece := sock.recv(65536):
            got += piece
    assert got.count(b"HTTP/1.1 200 ") == 2


def test_the_socket_of_a_killed_program_is_taken_over(start: Start, folder: Path) -> None:
    """SIGKILL leaves the file; the next start replaces it."""
    path = f"{folder}/m.sock"
    server = start("models: {}\n", "--listen", f"unix:{path}")
    process = server.spawn()
    wait_until(lambda: is_serving(path))
    process.send_signal(signal.SIGKILL)
    process.wait(30)
    assert os.path.lexists(path)
    server.spawn()
    wait_until(lambda: is_serving(path), what=server.log())


def refused(start: Start, listen: str, name: str = "second") -> str:
    """Start a program that does not get its address; return the last line that it says."""
    server = start("models: {}\n", "--listen", listen, name=name)
    assert server.spawn().wait(30) == 1
    assert "Traceback" not in server.log()
    return server.log().splitlines()[-1]


def test_the_socket_of_a_running_program_stays(start: Start, folder: Path) -> None:
    """The second start says so, in one line, and the first goes on."""
    path = f"{folder}/m.sock"
    start("models: {}\n", "--listen", f"unix:{path}").spawn()
    wait_until(lambda: is_serving(path))
    message = refused(start, f"unix:{path}")
    assert message == f"modelswap: cannot listen on unix:{path}: another server listens there"
    assert is_serving(path)


def test_the_socket_of_another_server_stays(start: Start, folder: Path) -> None:
    """Also when its queue is full, and when it speaks datagrams."""
    path = f"{folder}/x.sock"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other:
        other.bind(path)
        assert "another server listens there" in refused(start, f"unix:{path}")
        assert os.path.lexists(path)


def test_a_file_that_is_no_socket_stays(start: Start, folder: Path) -> None:
    """What we did not make is not removed."""
    path = folder / "x.sock"
    path.write_text("mine")
    assert "a file that is not a socket is there" in refused(start, f"unix:{path}")
    assert path.read_text() == "mine"


def test_two_that_start_at_once(start: Start, folder: Path) -> None:
    """Both find a stale socket: one gets it, the other is refused."""
    path = f"{folder}/m.sock"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as stale:
        stale.bind(path)
    servers = [start("models: {}\n", "--listen", f"unix:{path}", name=f"s{n}") for n in range(2)]
    processes = [server.spawn() for server in servers]
    wait_until(lambda: any(process.poll() == 1 for process in processes), seconds=20)
    wait_until(lambda: is_serving(path))
    assert [process.poll() for process in processes].count(None) == 1


@pytest.mark.skipif(sys.platform != "linux", reason="abstract names are Linux'")
def test_an_abstract_name(start: Start, tmp_path: Path) -> None:
    """`unix:@name` needs no file."""
    name = f"@modelswap-{os.getpid()}-{tmp_path.name}"
    start("models: {}\n", "--listen", f"unix:{name}").spawn()
    wait_until(lambda: is_serving(name))
    assert "another server listens there" in refused(start, f"unix:{name}")
    assert is_serving(name)


def test_tls_through_a_unix_socket(start: Start, folder: Path, tmp_path: Path) -> None:
    """The certificate is shown there too."""
    authority = trustme.CA()
    certificate = authority.issue_cert("localhost")
    certificate.private_key_pem.write_to_path(tmp_path / "key.pem")
    certificate.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    path = f"{folder}/m.sock"
    files = ("--tls-cert-file", f"{tmp_path}/cert.pem", "--tls-key-file", f"{tmp_path}/key.pem")
    start("models: {}\n", "--listen", f"unix:{path}", *files).spawn()
    wait_until(lambda: os.path.lexists(path))
    trust = ssl.create_default_context()
    authority.configure_trust(trust)
    with dial(path) as sock, trust.wrap_socket(sock, server_hostname="localhost") as safe:
        safe.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        assert safe.recv(65536).startswith(b"HTTP/1.1 200 ")


def test_a_trusted_proxy_behind_the_socket(start: Start, folder: Path) -> None:
    """A client there counts as 127.0.0.1: what nginx says of its clients is believed if that is trusted."""
    path = f"{folder}/m.sock"
    text = f"trustedProxies: [127.0.0.1]\nmodels:\n{unix_model('a', f'{folder}/a')}"
    start(text, "--listen", f"unix:{path}").spawn()
    wait_until(lambda: is_serving(path))
    body = {"model": "a", "messages": []}
    headers = {"X-Forwarded-For": "203.0.113.9"}
    assert ask(path, "POST", "/v1/chat/completions", body, headers).status == 200
    rows = ask(path, "GET", "/api/metrics/activity").json()["data"]
    assert [row["client"] for row in rows] == ["203.0.113.9"]


# Models and peers


@pytest.mark.parametrize(
    "spelling",
    [
        "unix:{}",
        "unix://{}",
        "http://unix:{}",
        "unix:{}:/",
        "http+unix://{quoted}",
        "http://{quoted}",
    ],
)
def test_a_model_behind_a_unix_socket(start: Start, folder: Path, spelling: str) -> None:
    """Docker's, nginx' and requests' spellings; started, used, unloaded and started again."""
    path = f"{folder}/a.sock"
    proxy = spelling.format(path, quoted=path.replace("/", "%2F"))
    server = start(f"models:\n{unix_model('a', path, proxy=proxy)}").start()
    for _ in range(3):
        assert server.chat("a").status == 200
        assert server.running() == {"a": "ready"}
        assert server.ask("GET", "/upstream/a/stub/state").json()["name"] == "a"
        assert server.ask("POST", "/api/models/unload").status == 200
        wait_until(lambda: server.running() == {})
    assert os.path.lexists(path), "the server left it, and the next start was not hindered"


def test_a_restarted_program_adopts_a_model_behind_a_unix_socket(
    start: Start, folder: Path
) -> None:
    """Both sides on Unix sockets: SIGKILL, start, and the same server goes on."""
    path = f"{folder}/m.sock"
    text = f"keeper: {{grace: 60}}\nmodels:\n{unix_model('a', f'{folder}/a')}"
    server = start(text, "--listen", f"unix:{path}")
    process = server.spawn()
    wait_until(lambda: is_serving(path))
    before = ask(path, "GET", "/upstream/a/stub/state").json()["pid"]
    process.send_signal(signal.SIGKILL)
    process.wait(30)
    server.spawn()
    wait_until(lambda: is_serving(path))
    assert ask(path, "GET", "/upstream/a/stub/state").json()["pid"] == before


def test_models_swap_over_unix_sockets(start: Start, folder: Path) -> None:
    """A macro names the socket after the model."""
    argv = shlex.join([sys.executable, "-I", "-S", str(STUB)])
    text = "models:\n" + "".join(
        f"  {name}:\n    cmd: {argv} --name {name} --host {folder}/${{MODEL_ID}}.sock\n"
        f"    proxy: unix:{folder}/${{MODEL_ID}}.sock\n"
        for name in ("a", "b")
    )
    server = start(text).start()
    for name in ("a", "b", "a"):
        assert server.chat(name).status == 200
        assert server.running() == {name: "ready"}


def test_a_stale_socket_is_not_ready(start: Start, folder: Path) -> None:
    """A file that an earlier server left does not count as the new server."""
    path = f"{folder}/a.sock"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as stale:
        stale.bind(path)
    server = start(f"models:\n{unix_model('a', path, '--ready-after', '0.5')}").start()
    assert server.chat("a").status == 200


def test_another_server_on_the_models_socket_is_not_the_model(start: Start, folder: Path) -> None:
    """Its answers do not count, and the failure says whose the socket is."""
    path = f"{folder}/a.sock"
    argv = [sys.executable, "-I", "-S", str(STUB), "--name", "foreign", "--host", path]
    with subprocess.Popen(argv) as foreign:
        try:
            wait_until(lambda: is_serving(path))
            server = start(f"models:\n{unix_model('a', path)}").start()
            answer = server.chat("a")
            assert answer.status == 503
            assert b"its Unix socket is taken by another program" in answer.body
            assert ask(path, "GET", "/stub/state").json()["name"] == "foreign"
        finally:
            foreign.kill()


def test_a_socket_served_by_another_program(start: Start, folder: Path) -> None:
    """A command that does not name the socket stands for a server that is already running."""
    path = f"{folder}/a.sock"
    argv = [sys.executable, "-I", "-S", str(STUB), "--name", "outside", "--host", path]
    with subprocess.Popen(argv) as outside:
        try:
            wait_until(lambda: is_serving(path))
            text = f"models:\n  a:\n    cmd: sleep infinity\n    proxy: unix:{path}\n"
            server = start(text).start()
            assert server.chat("a").status == 200
        finally:
            outside.kill()


def test_a_peer_behind_a_unix_socket_with_a_base(start: Start, folder: Path) -> None:
    """Base path, query and `Host: localhost`; an unreachable peer is a 502 that says so."""
    path = f"{folder}/p.sock"
    received: list[bytes] = []
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(path)
    listener.listen()

    def serve() -> None:
        with listener, listener.accept()[0] as sock:
            got = b""
            while b"\r\n\r\n" not in got or b"}" not in got:
                got += sock.recv(65536)
            received.append(got)
            sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    thread = threading.Thread(target=serve)
    thread.start()
    text = f"models: {{}}\npeers:\n  far: {{proxy: 'http://unix:{path}:/base/', models: [m]}}\n"
    server = start(text).start()
    assert server.ask("POST", "/v1/embeddings", {"model": "m"}).body == b"ok"
    thread.join(30)
    assert received[0].startswith(b"POST /base/v1/embeddings HTTP/1.1\r\n")
    assert b"\r\nHost: localhost\r\n" in received[0]
    answer = server.ask("POST", "/v1/embeddings", {"model": "m"})
    assert (answer.status, b"connection refused" in answer.body) == (502, True)
    Path(path).unlink()
    answer = server.ask("POST", "/v1/embeddings", {"model": "m"})
    assert (answer.status, b"its Unix socket does not exist" in answer.body) == (502, True)
