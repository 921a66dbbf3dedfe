"""TLS: the program serves it, and uses a renewed certificate without a restart."""

from __future__ import annotations

import signal
import socket
import ssl
from typing import TYPE_CHECKING, cast

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


def _answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True
