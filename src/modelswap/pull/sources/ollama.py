"""Pulls from an Ollama registry into Ollama's store, or into one of ours with the same layout.

Source: Ollama's `server/download.go` and `server/manifest.go`: `GET /v2/NAMESPACE/NAME/manifests/TAG`,
`GET /v2/NAMESPACE/NAME/blobs/DIGEST`; `blobs/sha256-HEX` and `manifests/HOST/NAMESPACE/NAME/TAG` on disk.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Annotated, Final

import msgspec

from modelswap.catalog.stores.ollama_manifest import MOST_MANIFEST, Descriptor
from modelswap.pull.failures import PullError
from modelswap.pull.progress import PullFailure
from modelswap.pull.transfer.fetch import Download
from modelswap.pull.transfer.http_answers import host_of, refusal, translated
from modelswap.pull.transfer.partial_file import Checksum, has_size
from modelswap.pull.transfer.tries import insist
from modelswap.units import Bytes

from .plan import PullPlan
from .small_file import write_whole

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
_ERRORS: Final = 400
"""The first status of an error."""
_OURS: Final = ".modelswap"
"""Folder in a store for what is not whole yet: Ollama deletes what it does not know among its blobs."""


class _Layer(Descriptor, frozen=True, kw_only=True):
    """One that a registry names, checked: it becomes the name of a file here."""

    digest: Annotated[str, msgspec.Meta(pattern="^sha256:[0-9a-f]{64}$")]
    size: Annotated[int, msgspec.Meta(ge=0)]

    @property
    def file(self) -> str:
        return self.digest.replace(":", "-")


class _Manifest(msgspec.Struct):
    config: _Layer
    layers: list[_Layer]


_DECODER: Final = msgspec.json.Decoder(_Manifest)
"""Made here, as the first use of a type on two threads at once crashes msgspec 0.22."""


class OllamaPlanner:
    def __init__(
        self, source: OllamaSource, places: Places, environ: Mapping[str, str] | None = None
    ) -> None:
        environ = os.environ if environ is None else environ
        self._source = source
        self._store = _writable(places)
        base = environ.get(REGISTRY, "") or f"https://{source.host}"
        self._api = f"{base.rstrip('/')}/v2/{source.namespace}/{source.name}"
        self._host = host_of(base)
        if not self._host:
            text = f"{REGISTRY} is no address of a registry: expected https://HOST"
            raise PullError(PullFailure.NETWORK, text)

    def plan(self, client: httpx2.Client, watch: PullWatch, timing: PullTiming) -> PullPlan:
        data = insist(lambda: self._ask(client, watch), watch, timing)
        layers = self._layers(data)
        blobs = {layer: self._store / "blobs" / layer.file for layer in layers}
        here = [layer for layer, path in blobs.items() if has_size(path, layer.size)]
        return PullPlan(
            downloads=tuple(
                self._download(layer, path) for layer, path in blobs.items() if layer not in here
            ),
            present={layer.file: layer.size for layer in here},
            finish=lambda: self._finish(data),
            folder=self._store / "blobs",
        )

    def _ask(self, client: httpx2.Client, watch: PullWatch) -> bytes:
        watch.check()
        url = f"{self._api}/manifests/{self._source.tag}"
        fields = {"Accept": _ACCEPT, "Accept-Encoding": "identity"}
        data = b""
        with (
            translated(self._host),
            client.stream(
                "GET", url, headers=fields, extensions={"trace": watch.trace}
            ) as response,
        ):
            if response.status_code >= _ERRORS:
                raise self._refused(response)
            for piece in response.iter_raw():
                watch.check()
                data += piece
                if len(data) > MOST_MANIFEST:
                    raise self._no_manifest()
        return data

    def _layers(self, data: bytes) -> list[_Layer]:
        """Return the blobs of a model, each once; raise where llama.cpp could not load it."""
        try:
            manifest = _DECODER.decode(data)
        except (ValueError, RecursionError):
            raise self._no_manifest() from None
        weights = [layer for layer in manifest.layers if layer.kind == "model"]
        if len(weights) != 1:
            text = (
                f"{self._source.text} has {len(weights)} GGUF files; llama.cpp loads it from one"
                " alone. Is it kept for Ollama's own engine, or does it run on Ollama's servers?"
            )
            raise PullError(PullFailure.NOT_FOUND, text)
        layers = {layer.digest: layer for layer in (manifest.config, *manifest.layers)}
        return list(layers.values())

    def _no_manifest(self) -> PullError:
        text = f"{self._host} does not answer with a manifest: is it Ollama's registry?"
        return PullError(PullFailure.DAMAGED, text)

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
        write_whole(path, manifest, self._store / _OURS)

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
        if all(os.access(path, os.W_OK | os.X_OK) and path.is_dir() for path in folders):
            return store
    return ours
