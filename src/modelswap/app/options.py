"""What the command line of `serve` asked for, checked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from modelswap.deferred import dataclass
from modelswap.http import LISTEN_EXPECTED, Certificate, CertificateError, ListenAddress

if TYPE_CHECKING:
    from pathlib import Path

LOCAL: Final = "127.0.0.1"


class StartError(Exception):
    """The server cannot start; `lines` tell the user why."""

    def __init__(self, *lines: str) -> None:
        super().__init__("\n".join(lines))
        self.lines = lines


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """The command line of `serve`."""

    config: Path | None
    config_dir: Path | None
    listen: str | None = None
    watch: bool = False
    state_dir: Path | None = None
    tls_cert: Path | None = None
    tls_key: Path | None = None


def parse_listen(text: str | None, *, tls: bool) -> ListenAddress:
    """Return where to listen; llama-swap's `:8080` means every interface. May raise StartError."""
    if text is None:
        return ListenAddress(LOCAL, 8443 if tls else 8080)
    try:
        return ListenAddress.parse(text)
    except ValueError as error:
        raise StartError(
            f"modelswap: --listen {text!r}: expected {LISTEN_EXPECTED}; found {error}"
        ) from error


def certificate_of(options: Options) -> Certificate | None:
    """Load the certificate; None without TLS. May raise StartError."""
    if options.tls_cert is None:
        return None
    try:
        return Certificate(options.tls_cert, options.tls_key)
    except CertificateError as error:
        raise StartError(f"modelswap: TLS: {error}") from error
