"""A stand-in of Hugging Face's hub: point `HF_ENDPOINT` at `Hub.url`.

Repository info, the list of files, `resolve` with its redirect to a storage host, gated and private
repositories, and every fault of `FileServer`.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from hashlib import sha1, sha256
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from .file_server import Asked, FileServer, Served

if TYPE_CHECKING:
    from collections.abc import Mapping

_LFS = re.compile(r"\.(gguf|safetensors|bin)$")
"""Which files the hub keeps as large ones."""


@dataclass
class HubRepository:
    name: str
    files: dict[str, bytes]
    gated: bool = False
    private: bool = False
    allowed: set[str] = field(default_factory=set[str])
    """Tokens with access, where it is gated or private."""

    @property
    def commit(self) -> str:
        text = json.dumps({path: sha256(data).hexdigest() for path, data in self.files.items()})
        return sha1(f"{self.name} {text}".encode(), usedforsecurity=False).hexdigest()

    def etag(self, path: str) -> str:
        """Return what a file is called in the cache's `blobs`."""
        data = self.files[path]
        if _LFS.search(path):
            return sha256(data).hexdigest()
        header = f"blob {len(data)}\0".encode()
        return sha1(header + data, usedforsecurity=False).hexdigest()


class Hub(FileServer):
    def __init__(self) -> None:
        super().__init__()
        self.repositories: dict[str, HubRepository] = {}
        self.tokens: set[str] = set()
        """Those that the hub knows; any other one is refused."""

    def add(
        self,
        name: str,
        files: Mapping[str, bytes],
        *,
        gated: bool = False,
        private: bool = False,
        allowed: str = "",
    ) -> HubRepository:
        """Add or replace a repository; `allowed` is a token that may read it."""
        tokens = {allowed} if allowed else set[str]()
        self.tokens |= tokens
        made = HubRepository(name, dict(files), gated, private, tokens)
        self.repositories[name] = made
        return made

    def downloads(self, path: str) -> list[Asked]:
        """Return the requests for the bytes of a file, at the storage host."""
        for repository in self.repositories.values():
            if path in repository.files:
                return self.of(f"/storage/{repository.etag(path)}")
        return []

    def find(self, asked: Asked) -> Served:
        path = unquote(urlsplit(asked.path).path)
        if found := re.fullmatch(r"/storage/(\w+)", path):
            return self._stored(found[1], asked)
        if found := re.fullmatch(r"/api/models/([^/]+/[^/]+)(/revision/[^/]+)?", path):
            return self._info(found[1], asked)
        if found := re.fullmatch(r"/api/models/([^/]+/[^/]+)/tree/[^/]+", path):
            return self._tree(found[1], asked)
        if found := re.fullmatch(r"/([^/]+/[^/]+)/resolve/[^/]+/(.+)", path):
            return self._resolve(found[1], found[2], asked)
        return _error(404, "", "Sorry, we can't find the page you are looking for.")

    def _open(self, name: str, asked: Asked) -> HubRepository | Served:
        token = asked.fields.get("authorization", "").removeprefix("Bearer ")
        if token and token not in self.tokens:
            return _error(401, "", "Invalid credentials in Authorization header")
        found = self.repositories.get(name)
        if found is None or (found.private and token not in found.allowed):
            return _error(404 if token else 401, "RepoNotFound", "Repository not found")
        return found

    def _info(self, name: str, asked: Asked) -> Served:
        found = self._open(name, asked)
        if isinstance(found, Served):
            return found
        siblings = [
            {"rfilename": path, "size": len(data), "blobId": _blob(data)}
            | ({"lfs": {"sha256": sha256(data).hexdigest(), "size": len(data), "pointerSize": 134}}
               if _LFS.search(path) else {})
            for path, data in sorted(found.files.items())
        ]  # fmt: skip
        gated = "manual" if found.gated else False
        return _json(
            {"id": name, "modelId": name, "sha": found.commit, "private": found.private,
             "gated": gated, "disabled": False, "tags": [], "siblings": siblings}
        )  # fmt: skip

    def _tree(self, name: str, asked: Asked) -> Served:
        found = self._open(name, asked)
        if isinstance(found, Served):
            return found
        return _json(
            [{"type": "file", "path": path, "size": len(data), "oid": _blob(data)}
             | ({"lfs": {"oid": sha256(data).hexdigest(), "size": len(data), "pointerSize": 134}}
                if _LFS.search(path) else {})
             for path, data in sorted(found.files.items())]
        )  # fmt: skip

    def _resolve(self, name: str, path: str, asked: Asked) -> Served:
        found = self._open(name, asked)
        if isinstance(found, Served):
            return found
        token = asked.fields.get("authorization", "").removeprefix("Bearer ")
        if found.gated and token not in found.allowed:
            return _error(
                403 if token else 401, "GatedRepo", f"Access to model {name} is restricted."
            )
        if path not in found.files:
            return _error(404, "EntryNotFound", "Entry not found")
        data, etag = found.files[path], found.etag(path)
        fields = {"X-Repo-Commit": found.commit}
        if not _LFS.search(path):
            return Served(data, {**fields, "ETag": f'"{etag}"'})
        fields |= {"X-Linked-ETag": f'"{etag}"', "X-Linked-Size": str(len(data))}
        fields["Location"] = f"{self.other_url}/storage/{etag}?Signature=secret-signature"
        return Served(b"", fields, 302)

    def _stored(self, etag: str, asked: Asked) -> Served:
        """Return the bytes, as a storage host does: it wants no token, and says so."""
        if "authorization" in asked.fields:
            return _error(400, "", "Only one auth mechanism allowed")
        for repository in self.repositories.values():
            for path, data in repository.files.items():
                if repository.etag(path) == etag:
                    return Served(data, {"ETag": f'"{etag}"'})
        return _error(404, "", "NoSuchKey")


def _blob(data: bytes) -> str:
    header = f"blob {len(data)}\0".encode()
    return sha1(header + data, usedforsecurity=False).hexdigest()


def _json(content: Any) -> Served:
    return Served(json.dumps(content).encode(), {"Content-Type": "application/json"})


def _error(status: int, code: str, text: str) -> Served:
    fields = {"X-Error-Message": text} | ({"X-Error-Code": code} if code else {})
    return Served(json.dumps({"error": text}).encode(), fields, status)
