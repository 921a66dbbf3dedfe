"""The certificate that the server shows; it can be replaced while the server runs.

Guarantees: OpenSSL takes a new certificate before it looks at the key, so each pair is loaded into a
context of its own: a failure leaves the pair in use whole.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import ssl
    from pathlib import Path

_PEM_CERTIFICATES: Final = (b"-----BEGIN CERTIFICATE-----", b"-----BEGIN TRUSTED CERTIFICATE-----")
_PEM_KEY: Final = b"PRIVATE KEY-----"
_MISMATCHES: Final = frozenset({"KEY_VALUES_MISMATCH", "KEY_TYPE_MISMATCH"})


class CertificateError(Exception):
    """The text names the file and what is expected."""


class Certificate:
    def __init__(self, cert: Path, key: Path | None = None) -> None:
        """Without `key`, the certificate's file holds it too. Raise CertificateError."""
        self._cert = cert
        self._key = cert if key is None else key
        self.context = self._shown = _loaded(self._cert, self._key)
        """For the listener. Each handshake moves on to the pair that is shown by then."""
        self.context.sni_callback = self._show

    def reload(self) -> None:
        """Raise CertificateError; then the pair before is shown on."""
        self._shown = _loaded(self._cert, self._key)

    def _show(self, connection: ssl.SSLObject, _name: str | None, _first: ssl.SSLContext) -> None:
        """OpenSSL calls this for every handshake, also for one that names no server."""
        connection.context = self._shown


def _loaded(cert: Path, key: Path) -> ssl.SSLContext:
    import ssl  # noqa: PLC0415 - most serve without TLS

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_alpn_protocols(["http/1.1"])
    asked: list[bool] = []

    def password() -> str:
        """Give none: OpenSSL would ask for it on the terminal."""
        asked.append(True)
        return ""

    try:
        context.load_cert_chain(cert, key, password)
    except (OSError, ValueError) as error:
        wrong = (
            _wrong_file(cert, _PEM_CERTIFICATES, "certificate")
            or _wrong_file(key, (_PEM_KEY,), "private key")
            or _wrong_pair(cert, key, error, is_encrypted=bool(asked))
        )
        raise CertificateError(wrong) from error
    return context


def _wrong_file(file: Path, marks: tuple[bytes, ...], what: str) -> str:
    try:
        held = file.read_bytes()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        return f"{file}: the {what} cannot be read: {reason}"
    if not any(mark in held for mark in marks):
        return f"{file}: holds no PEM {what} (-----BEGIN …{what.upper()}-----)"
    return ""


def _wrong_pair(cert: Path, key: Path, error: Exception, *, is_encrypted: bool) -> str:
    reason: str = getattr(error, "reason", None) or ""
    if reason in _MISMATCHES:
        return f"{key}: the private key does not belong to the certificate in {cert}"
    if is_encrypted:
        return f"{key}: the private key is encrypted; a key without a password is expected"
    if reason not in {"", "PEM_LIB"}:
        return f"{cert}: the certificate cannot be used: {reason.lower().replace('_', ' ')}"
    if not _holds_certificates(cert):
        return f"{cert}: the PEM certificate in it is damaged"
    return f"{key}: the PEM private key in it is damaged"


def _holds_certificates(cert: Path) -> bool:
    import ssl  # noqa: PLC0415 - as above

    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_verify_locations(cafile=cert)
    except (OSError, ValueError):
        return False
    return True
