"""Where pulled models lie: the folders of each kind of source on this machine."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from modelswap.catalog.names import parts_of
from modelswap.catalog.roots import hugging_face_cache, ollama_stores, own_cache
from modelswap.digest import sha256

if TYPE_CHECKING:
    from collections.abc import Mapping

    from modelswap.catalog.pull_source import UrlSource

_ENDING = ".gguf"
_DIGITS = 16
"""Hexadecimal digits of an address's digest in the name of its folder: no two addresses share it."""


@dataclass(frozen=True, slots=True)
class Places:
    hub: Path
    """Hugging Face's cache."""
    ollama: tuple[Path, ...]
    """Ollama's own stores, and the one that is made where it has none: the last."""
    urls: Path

    @classmethod
    def usual(cls, environ: Mapping[str, str] | None = None, home: Path | None = None) -> Places:
        """Return the folders that the environment names."""
        environ = os.environ if environ is None else environ
        home = Path(os.path.expanduser("~")) if home is None else home  # noqa: PTH111 - it never fails
        ours = own_cache(environ, home)
        stores = (*ollama_stores(environ, home, sys.platform), ours / "ollama")
        return cls(hugging_face_cache(environ, home), stores, ours / "models")

    def repository(self, name: str) -> Path:
        return self.hub / f"models--{name.replace('/', '--')}"

    def files_of(self, source: UrlSource) -> dict[Path, str]:
        """Return each file with its address; an address of a split file's part stands for all parts."""
        found = urlsplit(source.url)
        folder, _, name = found.path.rpartition("/")
        identity = f"{found.scheme}://{found.netloc.rpartition('@')[2]}{folder}?{found.query}"
        digest = sha256(identity.encode()).hexdigest()[:_DIGITS]
        place = self.urls / f"{found.hostname or 'unknown'}-{digest}"
        return {
            place / unquote(part): found._replace(path=f"{folder}/{part}").geturl()
            for part in _parts(name)
        }


def _parts(name: str) -> list[str]:
    stem, ending = name[: -len(_ENDING)], name[-len(_ENDING) :]
    return [part + ending for part in parts_of(stem)]
