"""TLS: the program serves it, and uses a renewed certificate without a restart."""

from __future__ import annotations

import signal
import socket
import ssl
from typing import TYPE_CHECKING, cast

import pytest
import trustme

from support.server import stub_config, wait_until

if TYPE_CHECKING:
    from pathlib import Path

    from support.running import StartServer


def names(port: int, authority: trustme.CA) -> set[str]:
    """Return the names in the certificate that is shown on a port, verified."""
    context = ssl.create_default_context()
    authority.configure_trust(context)
    context.check_hostname = False
    with (
        socket.create_connection(("127.0.0.1", port), timeout=5) as plain,
        context.wrap_socket(plain) as secure,
    ):
        shown = secure.getpeercert() or {}
        secure.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        assert secure.recv(100).startswith(b"HTTP/1.1 200 ")
    alternatives = cast("tuple[tuple[str, str], ...]", shown.get("subjectAltName", ()))
    return {value for _, value in alternatives}


def write(authority: trustme.CA, name: str, cert: Path, key: Path) -> None:
    issued = authority.issue_cert(name)
    key.write_bytes(issued.private_key_pem.bytes())
    cert.write_bytes(b"".join(pem.bytes() for pem in issued.cert_chain_pems))


def test_a_renewed_certificate_is_taken_over(modelswap_server: StartServer, tmp_path: Path) -> None:
    """SIGHUP after the files changed: new connections see the new certificate, once it is whole."""
    authority = trustme.CA()
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    write(authority, "first.test", cert, key)
    files = ("--tls-cert-file", str(cert), "--tls-key-file", str(key))
    server = modelswap_server(stub_config("a"), *files, start=False)
    process = server.spawn()
    port = server.port
    wait_until(lambda: _answers(port))
    assert names(port, authority) == {"first.test"}
    old_key = key.read_bytes()
    write(authority, "second.test", cert, key)
    new_key = key.read_bytes()
    key.write_bytes(old_key)
    process.send_signal(signal.SIGHUP)
    wait_until(lambda: "the TLS certificate was not reloaded" in server.log())
    assert names(port, authority) == {"first.test"}
    key.write_bytes(new_key)
    process.send_signal(signal.SIGHUP)
    wait_until(lambda: names(port, authority) == {"second.test"})


@pytest.mark.parametrize("is_there_at_start", [False, True])
def test_a_peer_behind_tls(
    modelswap_server: StartServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    *,
    is_there_at_start: bool,
) -> None:
    """It is reached whether the program knew of it when it started, or heard of it at a reload."""
    authority = trustme.CA()
    trusted, cert, key = (tmp_path / name for name in ("trusted.pem", "cert.pem", "key.pem"))
    authority.cert_pem.write_to_path(str(trusted))
    write(authority, "localhost", cert, key)
    monkeypatch.setenv("SSL_CERT_FILE", str(trusted))
    files = ("--tls-cert-file", str(cert), "--tls-key-file", str(key))
    other = modelswap_server(stub_config("far"), *files, start=False)
    other.spawn()
    wait_until(lambda: _answers(other.port))
    peers = f"peers:\n  p:\n    proxy: https://localhost:{other.port}\n    models: [far]\n"
    server = modelswap_server(stub_config("a", extra=peers if is_there_at_start else ""))
    if not is_there_at_start:
        assert server.chat("far").status == 404
        server.write_config(stub_config("a", extra=peers))
        assert server.process is not None
        server.process.send_signal(signal.SIGHUP)
        wait_until(lambda: server.chat("far").status != 404)
    assert server.chat("far").status == 200


def _answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True
