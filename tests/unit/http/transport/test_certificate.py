"""The certificate on show: another pair takes its place whole, or not at all."""

from __future__ import annotations

import asyncio
import ssl
from typing import TYPE_CHECKING

import pytest
import trustme
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from modelswap.http import Certificate, CertificateError
from support.sockets import serving

if TYPE_CHECKING:
    from pathlib import Path

    from modelswap.http import Exchange

AUTHORITY = trustme.CA()
FIRST = AUTHORITY.issue_cert("first.test")
SECOND = AUTHORITY.issue_cert("second.test")
JUNK = b"-----BEGIN %b-----\nAAAA\n-----END %b-----\n"


def chain_of(issued: trustme.LeafCert) -> bytes:
    return b"".join(pem.bytes() for pem in issued.cert_chain_pems)


def encrypted(key: bytes) -> bytes:
    secret = BestAvailableEncryption(b"secret")
    return load_pem_private_key(key, None).private_bytes(
        Encoding.PEM, PrivateFormat.TraditionalOpenSSL, secret
    )


def never(exchange: Exchange) -> None:
    raise AssertionError(exchange)


async def shown(port: int, name: str | None) -> str:
    """Shake hands, verified; return the name in the certificate. No *name*: none is asked for."""
    context = ssl.create_default_context()
    context.check_hostname = False
    AUTHORITY.configure_trust(context)
    _, writer = await asyncio.open_connection(
        "127.0.0.1", port, ssl=context, server_hostname=name or ""
    )
    alternatives = writer.get_extra_info("peercert")["subjectAltName"]
    writer.close()
    await writer.wait_closed()
    return str(alternatives[0][1])


@pytest.mark.parametrize("name", [None, "first.test"])
async def test_a_pair_is_shown_whole_or_not_at_all(tmp_path: Path, name: str | None) -> None:
    """Between the two writes of a renewal the old pair goes on; then the new one is shown."""
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    cert.write_bytes(chain_of(FIRST))
    key.write_bytes(FIRST.private_key_pem.bytes())
    certificate = Certificate(cert, key)
    async with serving(never, ssl_context=certificate.context) as (_, port):
        cert.write_bytes(chain_of(SECOND))
        with pytest.raises(CertificateError, match="does not belong"):
            certificate.reload()
        assert await shown(port, name) == "first.test"
        key.write_bytes(SECOND.private_key_pem.bytes())
        certificate.reload()
        assert await shown(port, name) == "second.test"
        cert.unlink()
        with pytest.raises(CertificateError, match="cannot be read"):
            certificate.reload()
        assert await shown(port, name) == "second.test"


CERT, KEY = chain_of(FIRST), FIRST.private_key_pem.bytes()


@pytest.mark.parametrize(
    ("cert", "key", "said"),
    [
        (None, KEY, "c.pem: the certificate cannot be read: No such file"),
        (CERT, None, "k.pem: the private key cannot be read: No such file"),
        (b"no", KEY, "c.pem: holds no PEM certificate"),
        (CERT, b"no", "k.pem: holds no PEM private key"),
        (CERT, CERT, "k.pem: holds no PEM private key"),
        (JUNK % (b"CERTIFICATE", b"CERTIFICATE"), KEY, "c.pem: the PEM certificate in it is dam"),
        (CERT, JUNK % (b"PRIVATE KEY", b"PRIVATE KEY"), "k.pem: the PEM private key in it is dam"),
        (CERT, encrypted(KEY), "k.pem: the private key is encrypted"),
        (CERT, SECOND.private_key_pem.bytes(), "k.pem: the private key does not belong to the cer"),
    ],
)
def test_what_is_wrong_names_its_file(
    tmp_path: Path, cert: bytes | None, key: bytes | None, said: str
) -> None:
    """The file that is meant, and what is expected of it."""
    for name, held in (("c.pem", cert), ("k.pem", key)):
        if held is not None:
            (tmp_path / name).write_bytes(held)
    with pytest.raises(CertificateError) as found:
        Certificate(tmp_path / "c.pem", tmp_path / "k.pem")
    assert str(found.value).startswith(f"{tmp_path}/{said}")


def test_key_and_certificate_in_one_file(tmp_path: Path) -> None:
    """Without a key's file the certificate's holds both."""
    both = tmp_path / "both.pem"
    both.write_bytes(KEY + CERT)
    assert Certificate(both).context.sni_callback is not None
