"""What the command line of `serve` asked for, checked."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Final

from modelswap.config.discover.disk.places import Discovery
from modelswap.config.load import load, load_source
from modelswap.config.source.watching import Watch
from modelswap.deferred import dataclass
from modelswap.http import LISTEN_EXPECTED, Certificate, CertificateError, ListenAddress

if TYPE_CHECKING:
    from pathlib import Path

    from modelswap.config.discover.disk.places import Find
    from modelswap.config.load import Loaded
    from modelswap.config.source.source import Source

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
    models_dirs: tuple[Path, ...] = ()
    """Folders whose models are served beside those of the configuration."""
    models_presets: tuple[Path, ...] = ()
    """Presets of llama.cpp's router for found models."""
    models_autoload: bool | None = None
    """Whether a request loads its model; `None`: the configuration says it."""
    models_max: int | None = None
    """How many models may be loaded; `None`: the configuration says it."""
    watch: bool = False
    state_dir: Path | None = None
    tls_cert: Path | None = None
    tls_key: Path | None = None

    @property
    def asks_for_nothing(self) -> bool:
        """No source of models is named: they are looked for in the usual places."""
        named = (self.config, self.config_dir, *self.models_dirs, *self.models_presets)
        return all(one is None for one in named)

    def load(self, find: Find) -> Loaded:
        """Load the configuration, and the models on disk by *find*."""
        return load(
            self.config,
            self.config_dir,
            discovery=self._discovery(find),
            models_max=self.models_max,
        )

    def complete(self, source: Source, find: Find) -> Loaded:
        """Make the plan of the same files again: what was pulled meanwhile is part of it."""
        return load_source(
            source,
            windows=sys.platform == "win32",
            discovery=self._discovery(find),
            models_max=self.models_max,
        )

    def _discovery(self, find: Find) -> Discovery:
        return Discovery(self.models_dirs, self.models_presets, self.asks_for_nothing, find)

    def watched(self) -> Watch | None:
        """Begin to watch the files, when that is asked for and there are some."""
        files = [self.config, self.tls_cert, self.tls_key, *self.models_presets]
        named = [file for file in files if file is not None]
        is_something = bool(named) or self.config_dir is not None
        return Watch(named, self.config_dir) if self.watch and is_something else None


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
