"""Where models usually lie on this machine."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from modelswap.units import Bytes

from .found import ModelSource
from .small_files import read_start

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_MOST_SETTINGS: Final = Bytes(1 << 20)
"""The longest settings file of LM Studio that is read; it has some kilobytes."""
_SERVICE: Final = Path("/usr/share/ollama/.ollama/models")
"""Where Ollama's installer for Linux has its service keep models."""


@dataclass(frozen=True, slots=True)
class Root:
    """A folder to look into; the layouts of known stores are recognized wherever they lie."""

    path: Path
    source: ModelSource = ModelSource.FOLDER


class _LmStudioSettings(msgspec.Struct, rename="camel"):
    downloads_folder: str = ""


_DECODER: Final = msgspec.json.Decoder(_LmStudioSettings)


def default_roots(
    environ: Mapping[str, str] | None = None, home: Path | None = None, platform: str = sys.platform
) -> tuple[Root, ...]:
    """Return the usual places that exist, each once."""
    environ = os.environ if environ is None else environ
    if home is None:
        try:
            home = Path.home()
        except RuntimeError:  # there is no home
            return ()
    found: dict[Path, Root] = {}
    for path, source in _places(environ, home, platform):
        try:
            is_there = path.is_dir()
        except PermissionError:  # a scan says so
            is_there = True
        if is_there:
            found.setdefault(path.resolve(), Root(path, source))
    return tuple(found.values())


def _places(
    environ: Mapping[str, str], home: Path, platform: str
) -> Iterator[tuple[Path, ModelSource]]:
    yield home / "models", ModelSource.FOLDER
    cache = user_cache(environ, home)
    yield hugging_face_cache(environ, home), ModelSource.HUGGING_FACE
    yield _llama_cpp(environ, home, cache, platform), ModelSource.FOLDER
    for path in _lm_studio(home):
        yield path, ModelSource.LM_STUDIO
    for path in ollama_stores(environ, home, platform):
        yield path, ModelSource.OLLAMA
    ours = own_cache(environ, home)
    yield ours / "models", ModelSource.FOLDER
    yield ours / "ollama", ModelSource.OLLAMA


def _path(environ: Mapping[str, str], key: str, home: Path) -> Path | None:
    value = environ.get(key, "")
    if not value:
        return None
    return home / value[2:] if value.startswith("~/") else Path(value)


def user_cache(environ: Mapping[str, str], home: Path) -> Path:
    return _path(environ, "XDG_CACHE_HOME", home) or home / ".cache"


def own_cache(environ: Mapping[str, str], home: Path) -> Path:
    """Return where this program puts what it pulls and no other program has a place for."""
    return user_cache(environ, home) / "modelswap"


def hugging_face_cache(environ: Mapping[str, str], home: Path) -> Path:
    """Return what `huggingface_hub` uses; the second name is the one of its older versions."""
    cache = user_cache(environ, home)
    named = _path(environ, "HF_HUB_CACHE", home) or _path(environ, "HUGGINGFACE_HUB_CACHE", home)
    return named or (_path(environ, "HF_HOME", home) or cache / "huggingface") / "hub"


def ollama_stores(environ: Mapping[str, str], home: Path, platform: str) -> Iterator[Path]:
    """Yield where Ollama keeps models: as this user, then as a service."""
    yield _path(environ, "OLLAMA_MODELS", home) or home / ".ollama" / "models"
    if platform.startswith("linux"):
        yield _SERVICE


def _llama_cpp(environ: Mapping[str, str], home: Path, cache: Path, platform: str) -> Path:
    """Return where builds of llama.cpp before its move to Hugging Face's cache put downloads."""
    if (named := _path(environ, "LLAMA_CACHE", home)) is not None:
        return named
    if platform == "darwin":
        return home / "Library" / "Caches" / "llama.cpp"
    if platform == "win32" and (local := environ.get("LOCALAPPDATA")):
        return Path(local) / "llama.cpp"
    return cache / "llama.cpp"


def _lm_studio(home: Path) -> Iterator[Path]:
    """Yield LM Studio's folder as it is set up, then the usual ones of its versions."""
    pointed = _read(home / ".lmstudio-home-pointer").decode("utf-8", "replace").strip()
    homes = [home / pointed] if pointed and "\0" not in pointed else []
    for each in (*homes, home / ".lmstudio"):
        try:
            settings = _DECODER.decode(_read(each / "settings.json"))
        except (ValueError, RecursionError):
            settings = _LmStudioSettings()
        if settings.downloads_folder and "\0" not in settings.downloads_folder:
            yield Path(settings.downloads_folder)
        yield each / "models"
    yield home / ".cache" / "lm-studio" / "models"


def _read(path: Path) -> bytes:
    try:
        return read_start(path, _MOST_SETTINGS)
    except OSError:
        return b""
