"""Pulls a GGUF file from an address of its own, into a folder of ours."""

from __future__ import annotations

from typing import TYPE_CHECKING

from modelswap.catalog.files import FoundFile
from modelswap.catalog.header_cache import HeaderCache
from modelswap.catalog.header_reader import HeaderReader
from modelswap.catalog.models.summary import BrokenFile
from modelswap.catalog.pulls.local import is_file
from modelswap.pull.failures import PullError
from modelswap.pull.progress import PullFailure
from modelswap.pull.transfer.fetch import Download
from modelswap.pull.transfer.http_answers import host_of, length_of, refusal, translated
from modelswap.pull.transfer.partial_file import size_of
from modelswap.pull.transfer.tries import insist

from .plan import PullPlan

if TYPE_CHECKING:
    from pathlib import Path

    import httpx2

    from modelswap.catalog.pull_source import UrlSource
    from modelswap.catalog.pulls.places import Places
    from modelswap.pull.timing import PullTiming
    from modelswap.pull.watch import PullWatch
    from modelswap.units import Bytes

_OK = 200
"""Status of a file that is there."""
_NO_HEAD = frozenset({400, 403, 405, 501})
"""Statuses of servers that serve GET alone, as signed addresses do: the size is then said with the file."""


class UrlPlanner:
    def __init__(self, source: UrlSource, places: Places) -> None:
        self._source = source
        self._files = places.files_of(source)
        self._host = host_of(source.url)

    def plan(self, client: httpx2.Client, watch: PullWatch, timing: PullTiming) -> PullPlan:
        missing = {path: url for path, url in self._files.items() if not is_file(path)}
        downloads = tuple(
            self._download(path, url, self._size(url, client, watch, timing))
            for path, url in missing.items()
        )
        return PullPlan(
            downloads=downloads,
            present={path.name: size_of(path) for path in self._files if path not in missing},
            finish=lambda: self._check(list(missing)),
            folder=next(iter(self._files)).parent,
        )

    def _size(
        self, url: str, client: httpx2.Client, watch: PullWatch, timing: PullTiming
    ) -> Bytes | None:
        """Ask how long a file is; servers need not say."""

        def ask() -> Bytes | None:
            watch.check()
            fields = {"Accept-Encoding": "identity"}
            extensions = {"trace": watch.trace}
            with translated(self._host):
                response = client.head(url, headers=fields, extensions=extensions)
            if response.status_code in _NO_HEAD:
                return None
            if response.status_code != _OK:
                raise self._refused(response)
            return length_of(response) or None  # some servers send nothing, and tell its length

        return insist(ask, watch, timing)

    def _download(self, path: Path, url: str, size: Bytes | None) -> Download:
        return Download(
            name=path.name,
            url=url,
            part=path.with_name(f"{path.name}.part"),
            target=path,
            size=size,
            checksum=None,
            refused=self._refused,
            lock=path.with_name(f".{path.name}.lock"),
        )

    def _refused(self, response: httpx2.Response) -> PullError:
        return refusal(
            self._host, response.status_code, response.headers,
            missing=f"{self._host} has no file {self._source.text}",
            refused=f"{self._host} refuses {self._source.text}: its address lacks a password or a"
            " signature, or the signature has expired",
        )  # fmt: skip

    def _check(self, files: list[Path]) -> None:
        """Raise `PullError` where what came is no whole GGUF file: its server announced no checksum."""
        reader = HeaderReader(HeaderCache())
        for path in files:
            found = reader.gguf(FoundFile.of(str(path), path.name, path.stat(), is_link=False))
            if isinstance(found, BrokenFile):
                text = found.text
            elif found.data_end > size_of(path):
                text = f"is cut off: its tensors end at byte {found.data_end} of {size_of(path)}"
            else:
                continue
            path.unlink()
            what = f"{self._source.text}: {self._host} sent {path.name}, which {text}"
            raise PullError(PullFailure.DAMAGED, what)
