"""Reads one manifest of Ollama: which blobs a model consists of.

Guarantees: a blob is only ever a file of the store's `blobs` folder, named by its digest; a manifest
that names anything else, or that is a link out of the store, is refused.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeVar

import msgspec

from modelswap.catalog.files import FoundFile
from modelswap.catalog.small_files import read_start
from modelswap.units import Bytes

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

T = TypeVar("T")
MANIFESTS: Final = ("manifests-v2", "manifests")
"""Folders of a store; the newer layout counts where a name is in both."""
MOST_MANIFEST: Final = Bytes(1 << 20)
"""The longest manifest or small layer that is read; manifests have about a kilobyte."""
_DIGEST: Final = re.compile(r"sha256[:-]([0-9a-fA-F]{64})")
_KIND: Final = "application/vnd.ollama.image."
_LIST: Final = "application/vnd.ollama.manifest.list.v2+json"
_RUNNERS: Final = ("ollama", "llamacpp")
"""Which manifest of a list is taken: one for llama.cpp, not one for MLX."""


class ManifestError(ValueError):
    """What is wrong with a manifest: a clause that goes on after the model's name."""


class Descriptor(msgspec.Struct, frozen=True, rename="camel"):
    """What a manifest says of a blob, without its name and size."""

    media_type: str = ""

    @property
    def kind(self) -> str:
        """Such as `model`, `projector`, `params`; other media types keep their whole name."""
        return self.media_type.partition(";")[0].strip().removeprefix(_KIND)


class Layer(Descriptor, frozen=True):
    digest: str = ""
    size: int = 0


class _Manifest(msgspec.Struct, rename="camel"):
    media_type: str = ""
    config: Layer | None = None
    layers: list[Layer] = []
    runner: str = ""
    digest: str = ""
    manifests: list[_Manifest] = []


class Config(msgspec.Struct):
    """Of the blob that describes a model."""

    file_type: str = ""
    remote_host: str = ""
    remote_model: str = ""


_MANIFEST: Final = msgspec.json.Decoder(_Manifest)
_CONFIG: Final = msgspec.json.Decoder(Config)
_PARAMETERS: Final = msgspec.json.Decoder(dict[str, Any])
"""Made here, as the first use of a type on two threads at once crashes msgspec 0.22."""


@dataclass(frozen=True, slots=True)
class Manifest:
    layers: tuple[Layer, ...]
    config: Config

    def of_kind(self, kind: str) -> Sequence[Layer]:
        return [layer for layer in self.layers if layer.kind == kind]


class Store:
    """One store: `manifests/HOST/NAMESPACE/NAME/TAG` and `blobs/sha256-HEX`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._blobs = path / "blobs"

    def read_manifest(self, path: Path) -> Manifest:
        self._refuse_links_out(path)
        found = _decode(_read(path), _MANIFEST)
        if found.media_type == _LIST:
            found = self._runnable(found)
        config = Config()
        if found.config is not None and found.config.digest:
            config = _decode(self.read_blob(found.config), _CONFIG)
        return Manifest(tuple(found.layers), config)

    def read_blob(self, layer: Layer) -> bytes:
        """Return the content of a small layer."""
        return _read(self._blob_path(layer.digest))

    def options(self, manifest: Manifest) -> dict[str, str]:
        """Return the parameters of a model; those of other types than Ollama writes are left out."""
        options: dict[str, str] = {}
        for layer in manifest.of_kind("params"):
            options |= self._parameters(layer)
        return options

    def _parameters(self, layer: Layer) -> dict[str, str]:
        try:
            found = _PARAMETERS.decode(self.read_blob(layer))
        except (ValueError, RecursionError):
            return {}
        return {key: text for key, value in sorted(found.items()) if (text := _written(value))}

    def blob(self, layer: Layer) -> FoundFile:
        """Return the file of a layer; raise where it is not whole."""
        path = self._blob_path(layer.digest)
        try:
            found = path.stat()
        except FileNotFoundError:
            raise ManifestError(self._absence(path)) from None
        except OSError as problem:
            raise ManifestError(
                f"needs {path.name}, which cannot be read: {problem.strerror}"
            ) from None
        if found.st_size != layer.size:
            raise ManifestError(
                f"needs {path.name} with {layer.size} bytes; the file has {found.st_size}"
            )
        return FoundFile.of(str(path), path.name, found, is_link=False)

    def _absence(self, path: Path) -> str:
        if any(self._blobs.glob(f"{path.name}-partial*")):
            return f"is still being downloaded: of {path.name} only a part is there"
        return f"needs {path.name}, which is not in the store"

    def _blob_path(self, digest: str) -> Path:
        found = _DIGEST.fullmatch(digest)
        if found is None:
            raise ManifestError(
                f"has a manifest that names {digest[:100]!r} instead of a blob of its store"
            )
        return self._blobs / f"sha256-{found[1].lower()}"

    def _refuse_links_out(self, path: Path) -> None:
        """A manifest may be a link to a blob, in the newer layout."""
        try:
            target, store = path.resolve(strict=True), self._path.resolve()
            blobs = self._blobs.resolve()
        except (OSError, RuntimeError):
            raise ManifestError("has a manifest that cannot be read") from None
        if not (target.is_relative_to(store) or target.is_relative_to(blobs)):
            raise ManifestError(f"has a manifest that points outside its store, to {target}")

    def _runnable(self, found: _Manifest) -> _Manifest:
        runners = sorted({child.runner.lower() for child in found.manifests})
        for runner in _RUNNERS:
            for child in found.manifests:
                if child.runner.lower() != runner:
                    continue
                if child.layers or not child.digest:
                    return child
                return _decode(self.read_blob(Layer(digest=child.digest)), _MANIFEST)
        raise ManifestError(
            f"is there for {', '.join(runners) or 'no program'} only, not for llama.cpp"
        )


def _read(path: Path) -> bytes:
    try:
        data = read_start(path, MOST_MANIFEST + 1)
    except OSError as problem:
        raise ManifestError(
            f"needs {path.name}, which cannot be read: {problem.strerror}"
        ) from None
    if len(data) > MOST_MANIFEST:
        raise ManifestError(f"needs {path.name}, which has more than {MOST_MANIFEST} bytes")
    return data


def _decode(data: bytes, decoder: msgspec.json.Decoder[T]) -> T:
    try:
        return decoder.decode(data)
    except (ValueError, RecursionError) as problem:
        raise ManifestError(
            f"has a manifest or a description that is not as expected: {problem}"
        ) from None


def _written(value: object) -> str:
    match value:
        case str():
            return value
        case bool() | int() | float() | list():
            return msgspec.json.encode(value).decode()
        case _:
            return ""
