"""Pulls from Hugging Face's hub into its cache, as `huggingface_hub` lays it out.

The library asks the hub, and its names, locks and layout are used, so that every program on it finds the
files and none is loaded twice. The bytes are read by `transfer`: the library (2.4) starts a broken download
anew in the next run, does not check hashes, and cannot be stopped (docs/decisions/0029).
Source: huggingface.co/docs/huggingface_hub/guides/manage-cache, and `file_download.py` of version 2.4.
"""

from __future__ import annotations

import os
import re
import shutil
from dataclasses import dataclass
from secrets import token_hex
from typing import TYPE_CHECKING, Annotated, Final, NoReturn

import httpx2
import msgspec
from huggingface_hub import HfApi, constants, hf_hub_url
from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

from modelswap import __version__
from modelswap.catalog.pulls.hub_choice import NoSuchModelError, choose_files, is_plain
from modelswap.catalog.pulls.tree import TreeEntry, encode_tree
from modelswap.pull.failures import PullError, not_written
from modelswap.pull.progress import PullFailure
from modelswap.pull.transfer.fetch import Download
from modelswap.pull.transfer.http_answers import refusal, translated
from modelswap.pull.transfer.partial_file import Checksum, has_size
from modelswap.pull.transfer.tries import insist
from modelswap.units import Bytes

from .hub_access import HubAccess
from .plan import PullPlan
from .small_file import write_whole

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from huggingface_hub.hf_api import ModelInfo

    from modelswap.catalog.pull_source import HubSource
    from modelswap.catalog.pulls.places import Places
    from modelswap.pull.timing import PullTiming
    from modelswap.pull.watch import PullWatch

constants.HF_HUB_DISABLE_TELEMETRY = True
"""The library would ask the hub for a list of agents, and tell it which one runs this program, and that PyTorch
is here. Here and not in the environment, which the model servers get."""
_MAIN: Final = "main"
_COMMIT: Final = re.compile(r"[0-9a-f]{40,64}")
_Size = Annotated[int, msgspec.Meta(ge=0)]
_YES: Final = frozenset({"1", "ON", "YES", "TRUE"})
"""Values of an environment variable that `huggingface_hub` takes for yes."""


@dataclass(frozen=True, slots=True)
class _File:
    path: str
    size: Bytes
    etag: str
    """Its name among the cache's blobs: the SHA-256 of a large file, Git's SHA-1 of another one."""
    is_large: bool

    @property
    def checksum(self) -> Checksum:
        if self.is_large:
            return Checksum("sha256", self.etag)
        return Checksum("sha1", self.etag, f"blob {self.size}\0".encode())


class _LargeFile(msgspec.Struct):
    sha256: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]
    size: _Size


class _Listed(msgspec.Struct):
    """A file as the hub lists it, checked: its hash becomes the name of a file here."""

    path: str
    size: _Size
    blob_id: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{40}$")]
    lfs: _LargeFile | None = None

    @property
    def entry(self) -> TreeEntry:
        if self.lfs is None:
            return TreeEntry(self.size, self.blob_id)
        return TreeEntry(self.lfs.size, self.blob_id, self.lfs.sha256, self.lfs.size)


_PREPARED: Final = msgspec.json.Decoder(list[_Listed])
"""Made when the module is imported: msgspec 0.22 crashes the program where two threads are the first to use a type."""


class HubPlanner:
    def __init__(
        self, source: HubSource, places: Places, environ: Mapping[str, str] | None = None
    ) -> None:
        self._source = source
        self._environ = os.environ if environ is None else environ
        self._folder = places.repository(source.repository)
        self._locks = places.hub / ".locks" / self._folder.name
        self._access = HubAccess.usual(self._environ)

    def plan(self, client: httpx2.Client, watch: PullWatch, timing: PullTiming) -> PullPlan:
        _ = client  # the library has one
        self._refuse_offline()
        info = insist(lambda: self._ask(timing), watch, timing)
        commit, tree = self._understood(info)
        try:
            choice = choose_files(self._source, list(tree))
        except NoSuchModelError as problem:
            is_listed = bool(self._source.quantization)
            kind = PullFailure.AMBIGUOUS if is_listed else PullFailure.NOT_FOUND
            raise PullError(kind, f"{self._source.repository} {problem}") from None
        files = [_file(path, tree[path]) for path in choice.all]
        self._keep_tree(commit, tree)
        snapshot = self._folder / "snapshots" / commit
        missing = {file.path: file for file in files if not self._is_here(file, snapshot)}
        by_etag = {file.etag: file for file in reversed(missing.values())}  # one of equal files
        return PullPlan(
            downloads=tuple(self._download(file, commit) for file in reversed(by_etag.values())),
            present={file.path: file.size for file in files if file.path not in missing},
            finish=lambda: self._finish(files, commit, snapshot),
            folder=self._folder / "blobs",
        )

    def _refuse_offline(self) -> None:
        for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"):
            if self._environ.get(name, "").upper() in _YES:
                raise self._offline(name)

    def _offline(self, name: str) -> PullError:
        text = f"{self._source.text} is not here whole, and {name} forbids to ask the hub"
        return PullError(PullFailure.OFFLINE, text)

    def _ask(self, timing: PullTiming) -> ModelInfo:
        """Ask for the newest revision and its files, once."""
        api = HfApi(
            endpoint=self._access.endpoint, library_name="modelswap", library_version=__version__
        )
        try:
            with translated(self._access.host):
                return api.model_info(
                    self._source.repository,
                    files_metadata=True,
                    timeout=timing.connect,
                    token=self._access.token or False,
                )
        except HfHubHTTPError as problem:
            raise self._refused(problem.response) from None
        except OfflineModeIsEnabled:
            raise self._offline("HF_HUB_OFFLINE") from None
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError, httpx2.HTTPError):
            self._garbage("its answer is no description of a repository")

    def _garbage(self, text: str) -> NoReturn:
        hint = "is it Hugging Face's hub, or does a proxy or a sign-in page answer for it?"
        raise PullError(PullFailure.DAMAGED, f"{self._access.host}: {text}; {hint}")

    def _understood(self, info: ModelInfo) -> tuple[str, dict[str, TreeEntry]]:
        """Return the revision and its files; each field is checked, as some become names of files."""
        commit: object = info.sha
        if not isinstance(commit, str) or not _COMMIT.fullmatch(commit):
            self._garbage("it does not name a revision")
        raw = [
            {"path": one.rfilename, "size": one.size, "blob_id": one.blob_id,
             "lfs": one.lfs and {"sha256": one.lfs.sha256, "size": one.lfs.size}}
            for one in info.siblings or ()
        ]  # fmt: skip
        try:
            listed = msgspec.convert(raw, list[_Listed])
        except msgspec.ValidationError as problem:
            self._garbage(f"its list of files is not as expected: {problem}")
        return commit, {one.path: one.entry for one in listed if is_plain(one.path)}

    def _keep_tree(self, commit: str, tree: dict[str, TreeEntry]) -> None:
        path = self._folder / "trees" / f"{commit}.json"
        try:
            if not path.exists():
                write_whole(path, encode_tree(tree.items()))
        except OSError as problem:
            raise not_written(problem, self._folder) from None

    def _is_here(self, file: _File, snapshot: Path) -> bool:
        blob, pointer = self._folder / "blobs" / file.etag, snapshot / file.path
        return any(has_size(path, file.size) for path in (pointer, blob))

    def _download(self, file: _File, commit: str) -> Download:
        blob = self._folder / "blobs" / file.etag
        return Download(
            name=file.path,
            url=hf_hub_url(
                self._source.repository, file.path, revision=commit, endpoint=self._access.endpoint
            ),
            fields=self._access.fields,
            part=blob.with_name(f"{file.etag}.incomplete"),
            target=blob,
            size=file.size,
            checksum=file.checksum,
            refused=self._refused,
            lock=self._locks / f"{file.etag}.lock",
        )

    def _finish(self, files: Sequence[_File], commit: str, snapshot: Path) -> None:
        """Give the blobs their names, and make this revision the one that `main` means."""
        last = {file.etag: file for file in files}
        for file in files:
            pointer = snapshot / file.path
            if not has_size(pointer, file.size):
                _link(self._folder / "blobs" / file.etag, pointer, moves=last[file.etag] is file)
        write_whole(self._folder / "refs" / _MAIN, commit.encode())

    def _refused(self, response: httpx2.Response) -> PullError:
        name = self._source.repository
        page = self._access.page(name)
        code = response.headers.get("x-error-code", "")
        missing = f"{name} is not on {self._access.host}: is it spelled right?"
        if code == "EntryNotFound":
            missing = f"{name}: {self._access.host} has no such file any more"
        return refusal(
            self._access.host, response.status_code, response.headers,
            missing=missing, refused=self._no_access(response.status_code, code, page),
        )  # fmt: skip

    def _no_access(self, status: int, code: str, page: str) -> str:
        name, token = self._source.repository, self._access.token
        get = self._access.get_token
        if code == "GatedRepo":
            accept = f"{name} is gated: accept its licence at {page}"
            if token is None:
                return f"{accept}, then give a token: {get}"
            return f"{accept} with the account of the token in {self._access.token_place}"
        if token is None:
            return (
                f"{name} is private or does not exist; for a private one a token is missing: {get}"
            )
        if status == 401:  # noqa: PLR2004 - Unauthorized
            return f"{self._access.host} does not accept the token in {self._access.token_place}: {get}"
        return f"the token in {self._access.token_place} may not read {name}: see {page}"


def _file(path: str, entry: TreeEntry) -> _File:
    if entry.lfs_sha256 is not None:
        return _File(path, Bytes(entry.size), entry.lfs_sha256, is_large=True)
    return _File(path, Bytes(entry.size), entry.blob_id, is_large=False)


def _link(blob: Path, pointer: Path, *, moves: bool) -> None:
    """Make a file of a snapshot, in one step: a relative link to the blob.

    Where there are no links it is the blob itself, or a copy if another file needs the blob, too.
    """
    pointer.parent.mkdir(parents=True, exist_ok=True)
    new = pointer.with_name(f".{token_hex(8)}.tmp")
    try:
        try:
            new.symlink_to(os.path.relpath(blob, pointer.parent))
        except OSError:
            if moves:
                blob.replace(pointer)
                return
            shutil.copyfile(blob, new)
        new.replace(pointer)
    finally:
        new.unlink(missing_ok=True)
