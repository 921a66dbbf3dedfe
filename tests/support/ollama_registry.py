"""A stand-in of Ollama's registry: manifests, and blobs by digest behind a redirect."""

from __future__ import annotations

import json
import re
from hashlib import sha256
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from .file_server import Asked, FileServer, Served

if TYPE_CHECKING:
    from collections.abc import Mapping

_KIND = "application/vnd.ollama.image."


class OllamaRegistry(FileServer):
    def __init__(self) -> None:
        super().__init__()
        self.manifests: dict[str, bytes] = {}
        """By `NAMESPACE/NAME:TAG`."""
        self.blobs: dict[str, bytes] = {}
        """By hexadecimal digest."""

    def add(self, name: str, layers: Mapping[str, bytes]) -> bytes:
        """Add a model of layers by kind, such as `model` and `params`; return its manifest."""
        config = json.dumps({"model_format": "gguf", "file_type": "Q4_K_M"}).encode()
        manifest = {
            "schemaVersion": 2,
            "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
            "config": self._layer("application/vnd.docker.container.image.v1+json", config),
            "layers": [self._layer(_KIND + kind, data) for kind, data in layers.items()],
        }
        self.manifests[name] = json.dumps(manifest).encode()
        return self.manifests[name]

    def _layer(self, kind: str, data: bytes) -> dict[str, object]:
        digest = sha256(data).hexdigest()
        self.blobs[digest] = data
        return {"mediaType": kind, "digest": f"sha256:{digest}", "size": len(data)}

    def find(self, asked: Asked) -> Served:
        path = urlsplit(asked.path).path
        if found := re.fullmatch(r"/v2/([^/]+/[^/]+)/manifests/([^/]+)", path):
            data = self.manifests.get(f"{found[1]}:{found[2]}")
            unknown = b'{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}'
            return Served(unknown, status=404) if data is None else Served(data)
        if found := re.fullmatch(r"/v2/[^/]+/[^/]+/blobs/sha256:(\w+)", path):
            where = f"{self.other_url}/storage/{found[1]}?X-Amz-Signature=secret-signature"
            return Served(b"", {"Location": where}, 307)
        if found := re.fullmatch(r"/storage/(\w+)", path):
            data = self.blobs.get(found[1])
            return (
                Served(b"", status=404) if data is None else Served(data, {"ETag": f'"{found[1]}"'})
            )
        return Served(b"", status=404)
