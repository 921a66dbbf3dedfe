"""Pulls from an Ollama registry into Ollama's store, or into one of ours with the same layout.

Source: Ollama's `server/download.go` and `server/manifest.go`: `GET /v2/NAMESPACE/NAME/manifests/TAG`,
`GET /v2/NAMESPACE/NAME/blobs/DIGEST`; `blobs/sha256-HEX` and `manifests/HOST/NAMESPACE/NAME/TAG` on disk.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Annotated, Final

import msgspec

from modelswap.pull.failures import PullError
from modelswap.pull.progress import FileProgress, PullFailure
from modelswap.pull.transfer.fetch import Download
from modelswap.pull.transfer.http_answers import refusal, translated
from modelswap.pull.transfer.partial_file import Checksum, size_of
from modelswap.pull.transfer.tries import insist
from modelswap.units import Bytes

from .plan import PullPlan

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import httpx2

    from modelswap.catalog.pull_source import OllamaSource
    from modelswap.catalog.pulls.places import Places
    from modelswap.pull.timing import PullTiming
    from modelswap.pull.watch import PullWatch

REGISTRY: Final = "MODELSWAP_OLLAMA_REGISTRY"
"""Environment variable: the address to ask instead of each source's host, for mirrors and tests."""
_ACCEPT: Final = "application/vnd.docker.distribution.manifest.v2+json"
_MOST_MANIFEST: Final = Bytes(1 << 20)
"""Of an answer that is read; manifests have about a kilobyte."""
_KIND: Final = "application/vnd.ollama.image."
_ERRORS: Final = 400
"""The first status of an error."""
_OURS: Final = ".modelswap"
"""Folder in a store for what is not whole yet: Ollama deletes what it does not know among its blobs."""


class _Layer(msgspec.Struct, rename="camel", frozen=True):
    digest: Annotated[str, msgspec.Meta(pattern="^sha256:[0-9a-f]{64}$")]
    size: Annotated[int, msgspec.Meta(ge=0)]
    media_type: str = ""

    @property
    def file(self) -> str:
        return self.digest.replace(":", "-")

    @property
    def kind(self) -> str:
        return self.media_type.partition(";")[0].removeprefix(_KIND)


class _Manifest(msgspec.Struct):
    config: _Layer
    layers: list[_Layer]


class OllamaPlanner:
    def __init__(
        self, source: OllamaSource, places: Places, environ: Mapping[str, str] | None = None
    ) -> None:
        environ = os.environ if environ is None else environ
        self._source = source
        self._store = _writable(places)
        base = environ.get(REGISTRY, "") or f"https://{source.host}"
        self._api = f"{base.rstrip('/')}/v2/{source.namespace}/{source.name}"
        self._host = base.partition("://")[2].partition("/")[0]

    def plan(self, client: httpx2.Client, watch: PullWatch, timing: PullTiming) -> PullPlan:
        data = insist(lambda: self._ask(client, watch), watch, timing)
        layers = self._layers(data)
        blobs = {layer: self._store / "blobs" / layer.file for layer in layers}
        here = [layer for layer, path in blobs.items() if _has_size(path, layer.size)]
        return PullPlan(
            downloads=tuple(
                self._download(layer, path) for layer, path in blobs.items() if layer not in here
            ),
            present=tuple(
                FileProgress(name=layer.file, done=Bytes(layer.size), total=Bytes(layer.size))
                for layer in here
            ),
            finish=lambda: self._finish(data),
            folder=self._store / "blobs",
        )

    def _ask(self, client: httpx2.Client, watch: PullWatch) -> bytes:
        watch.check()
        with translated(self._host):
            response = client.get(
                f"{self._api}/manifests/{self._source.tag}",
                headers={"Accept": _ACCEPT},
                extensions={"trace": watch.trace},
            )
        if response.status_code >= _ERRORS:
            raise self._refused(response)
        return response.content[: _MOST_MANIFEST + 1]

    def _layers(self, data: bytes) -> list[_Layer]:
        """Return the blobs of a model, each once; raise where llama.cpp could not load it."""
        try:
            manifest = msgspec.json.decode(data, type=_Manifest)
        except (ValueError, RecursionError):
            text = f"{self._host} does not answer with a manifest: is it Ollama's registry?"
            raise PullError(PullFailure.DAMAGED, text) from None
        weights = [layer for layer in manifest.layers if layer.kind == "model"]
        if len(weights) != 1:
            text = (
                f"{self._source.text} has {len(weights)} GGUF files; llama.cpp loads it from one"
                " alone. Is it kept for Ollama's own engine, or does it run on Ollama's servers?"
            )
            raise PullError(PullFailure.NOT_FOUND, text)
        layers = {layer.digest: layer for layer in (manifest.config, *manifest.layers)}
        return list(layers.values())

    def _download(self, layer: _Layer, path: Path) -> Download:
        return Download(
            name=layer.file,
            url=f"{self._api}/blobs/{layer.digest}",
            part=self._store / _OURS / f"{layer.file}.part",
            target=path,
            size=Bytes(layer.size),
            checksum=Checksum("sha256", layer.digest.partition(":")[2]),
            refused=self._refused,
            lock=self._store / _OURS / f"{layer.file}.lock",
        )

    def _finish(self, manifest: bytes) -> None:
        source = self._source
        path = self._store / "manifests" / source.host / source.namespace / source.name / source.tag
        path.parent.mkdir(parents=True, exist_ok=True)
        (self._store / _OURS).mkdir(exist_ok=True)
        new = self._store / _OURS / f"manifest.{os.getpid()}"
        new.write_bytes(manifest)
        new.replace(path)

    def _refused(self, response: httpx2.Response) -> PullError:
        return refusal(
            self._host, response.status_code, response.headers,
            missing=f"{self._host} has no {self._source.text}: are name and tag spelled right?",
            refused=f"{self._host} refuses {self._source.text}: a private model has to be pulled by"
            " Ollama itself (`ollama pull`), which then shares it",
        )  # fmt: skip


def _writable(places: Places) -> Path:
    """Return the first store of Ollama that exists and takes files, else ours."""
    *stores, ours = places.ollama
    for store in stores:
        folders = (store / "blobs", store / "manifests", store)
        if all(path.is_dir() and os.access(path, os.W_OK | os.X_OK) for path in folders):
            return store
    return ours


def _has_size(path: Path, size: int) -> bool:
    return path.exists() and size_of(path) == size
