"""`modelswap plan` and `modelswap decisions`: what a running server says, on the command line."""

from __future__ import annotations

import json
import socket
import threading
from typing import TYPE_CHECKING

import pytest
import trustme

from support.server import command, free_port, stub_command, wait_until
from support.streams import model

if TYPE_CHECKING:
    import subprocess
    from pathlib import Path

    from support.server import Modelswap
    from support.streams import Serve

CONFIG = f"""
apiKeys: [{{name: r, key: sk-r, scopes: [read]}}, {{name: i, key: sk-i, scopes: [inference]}}]
models:
{model("a")}{model("b")}
"""
NO_ENVIRONMENT = {"MODELSWAP_API_KEY": "", "MODELSWAP_URL": ""}


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command that asks a server."""
    return command(*arguments, env=NO_ENVIRONMENT | environment)


@pytest.fixture(scope="module")
def server(serve: Serve) -> Modelswap:
    server = serve(CONFIG)
    headers = {"Authorization": "Bearer sk-i"}
    for name in ("a", "b"):
        body = json.dumps({"model": name, "messages": []})
        assert server.ask("POST", "/v1/chat/completions", body, headers).status == 200
    return server


def test_a_plan(server: Modelswap) -> None:
    """The server is found by its state directory; the words are those of the API; `--json` is its answer."""
    asked = ["plan", "a", "--state-dir", str(server.state_dir)]
    answer = server.ask("GET", "/api/plan?model=a", headers={"Authorization": "Bearer sk-r"}).json()
    shown = run(*asked, MODELSWAP_API_KEY="sk-r")
    assert (shown.returncode, shown.stderr) == (0, "")
    first, *devices = shown.stdout.splitlines()
    assert first.startswith("a would start after b (idle for ")
    assert answer["text"].split("(")[0] in first
    assert devices[-len(answer["devices"]) :][0].startswith("ram: ")
    whole = run(*asked, "--json", "--api-key", "sk-r")
    assert json.loads(whole.stdout)["model"] == "a"


def test_the_devices(server: Modelswap) -> None:
    """Without a model the plan is what the devices hold."""
    shown = run("plan", "--url", server.base_url, "--api-key", "sk-r")
    assert (shown.returncode, shown.stderr) == (0, "")
    assert shown.stdout.startswith("ram: ")


def test_decisions(server: Modelswap) -> None:
    """One line each, the newest last, with its time; of one model; by address from the environment."""
    shown = run("decisions", MODELSWAP_URL=server.base_url, MODELSWAP_API_KEY="sk-r")
    assert shown.returncode == 0, shown.stderr
    rows = [line.split("  ", 1)[1] for line in shown.stdout.splitlines()]
    assert [row.split(" ", 1)[0] for row in rows] == ["a", "b"]
    assert "a leaves (" in rows[1]
    one = run(
        "decisions", "--model", "b", "--limit", "1", "--url", server.base_url, "--api-key", "sk-r"
    )
    assert len(one.stdout.splitlines()) == 1
    whole = run("decisions", "--json", "--url", server.base_url, "--api-key", "sk-r")
    assert [row["model"] for row in json.loads(whole.stdout)["data"]] == ["b", "a"]


def test_nothing_was_decided(serve: Serve) -> None:
    fresh = serve("models: {}\n")
    shown = run("decisions", "--url", fresh.base_url)
    assert (shown.returncode, shown.stdout, shown.stderr) == (0, "", "no decisions yet\n")


def failed(*arguments: str, **environment: str) -> str:
    ended = run(*arguments, **environment)
    assert (ended.returncode, ended.stdout) == (1, "")
    assert "Traceback" not in ended.stderr
    assert "sk-" not in ended.stderr
    return ended.stderr.strip()


def test_what_goes_wrong(server: Modelswap, tmp_path: Path) -> None:
    """One line: no key, a wrong scope, an unknown model, no server, a wrong address, no such directory."""
    url = ("--url", server.base_url)
    assert "give a key with --api-key or $MODELSWAP_API_KEY" in failed("plan", "a", *url)
    assert "scope" in failed("plan", "a", *url, "--api-key", "sk-i")
    assert failed("plan", "zz", *url, "--api-key", "sk-r") == "modelswap plan: model 'zz' not found"
    assert failed("plan", "A", *url, "--api-key", "sk-r").endswith("not found; did you mean 'a'?")
    assert "does not answer" in failed("plan", "a", "--url", f"http://127.0.0.1:{free_port()}")
    for wrong in ("ftp://x", "http://", "http://x:99999", "x:8080"):
        assert "expected http://HOST:PORT" in failed("plan", "a", "--url", wrong)
    nowhere = failed("decisions", "--state-dir", str(tmp_path))
    assert nowhere.startswith("modelswap decisions: no running server with the state directory ")
    strange = failed("plan", "a", *url, "--api-key", "ключ")
    assert "characters that no header can hold" in strange


def test_a_server_that_is_none_of_ours() -> None:
    """An answer without JSON, and an error without a message, are said as they are."""
    answers = [
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi",
        b"HTTP/1.1 500 No\r\nContent-Length: 2\r\n\r\nno",
    ]
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve_all() -> None:
            for answer in answers:
                connection, _ = listener.accept()
                with connection:
                    connection.recv(65536)
                    connection.sendall(answer)

        thread = threading.Thread(target=serve_all)
        thread.start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        assert failed("plan", "a", "--url", url).endswith("answered with something that is no JSON")
        assert failed("plan", "a", "--url", url).endswith("answered 500")
        thread.join()


def test_on_a_unix_socket(serve: Serve, tmp_path: Path) -> None:
    """A server that listens on a Unix socket is asked there."""
    path = tmp_path / "s.sock"
    server = serve(
        f"models:\n  a: {{cmd: {stub_command('a')}}}\n", "--listen", f"unix:{path}", start=False
    )
    server.spawn()
    wait_until(lambda: "1 model on unix:" in server.log())
    shown = run("plan", "a", "--state-dir", str(server.state_dir))
    assert shown.stdout.splitlines()[0] == "a would start at once.", shown.stderr


def test_behind_tls(serve: Serve, tmp_path: Path) -> None:
    """`--url https://…` with a certificate that the system trusts; without it the message says so."""
    authority = trustme.CA()
    names = authority.issue_cert("localhost", "127.0.0.1")
    names.cert_chain_pems[0].write_to_path(tmp_path / "c.pem")
    names.private_key_pem.write_to_path(tmp_path / "k.pem")
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    tls = ("--tls-cert-file", str(tmp_path / "c.pem"), "--tls-key-file", str(tmp_path / "k.pem"))
    server = serve(f"models:\n{model('a')}", *tls, start=False)
    server.spawn()
    wait_until(lambda: "on https://" in server.log())
    url = f"https://localhost:{server.port}"
    shown = run("plan", "a", "--url", url, SSL_CERT_FILE=str(tmp_path / "ca.pem"))
    assert shown.stdout.splitlines()[0] == "a would start at once.", shown.stderr
    assert "CERTIFICATE_VERIFY_FAILED" in failed("plan", "a", "--url", url)
    found = failed("plan", "a", "--state-dir", str(server.state_dir))
    assert "with TLS, say where it is: --url https://" in found
