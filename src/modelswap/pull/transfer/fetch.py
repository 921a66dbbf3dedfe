"""Downloads one file: goes on where an earlier try ended, and checks what came.

Guarantees: `target` appears whole and checked, or not at all; what came of it is kept in `part`, also
when the pull is cancelled or fails. One download of a target runs at a time on the whole machine.
"""

from __future__ import annotations

import re
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from filelock import Timeout
from huggingface_hub.utils import WeakFileLock  # type: ignore[attr-defined]  # not listed

from modelswap.pull.failures import PullError, TransientError, not_written
from modelswap.pull.progress import PullFailure
from modelswap.units import Bytes

from .http_answers import host_of, length_of, translated
from .partial_file import Checksum, PartialFile, size_of
from .tries import insist

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping
    from pathlib import Path

    import httpx2

    from modelswap.pull.timing import PullTiming
    from modelswap.pull.watch import PullWatch

    from .room import Room

_LARGEST_RANGE: Final = Bytes(16 << 30)
"""That one request asks for: the hub's storage hosts refuse answers of more than 50 GB."""
_LOOK_AGAIN: Final = 1.0
"""Seconds that a lock is waited for until a cancelled pull is noticed."""
_CONTENT_RANGE: Final = re.compile(r"bytes ([0-9]{1,18})-([0-9]{1,18})/([0-9]{1,18}|\*)")
_PRINTABLE: Final = re.compile(r"[ -~]{1,50}")
"""What a text may show of a field of an answer."""
_WHOLE, _PART, _BEYOND = 200, 206, 416
"""Statuses: all of the file, the range that was asked for, no such range."""
_ERRORS: Final = 400
"""The first status of an error."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Download:
    name: str
    """For readers."""
    url: str = field(repr=False)
    """May be a secret."""
    fields: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)
    """Of the request; `Authorization` goes to the first host alone, not where it redirects."""
    part: Path
    target: Path
    size: Bytes | None
    checksum: Checksum | None
    """`None`: the part is trusted as long as the server's validator is the same."""
    refused: Callable[[httpx2.Response], PullError]
    """What an error status means."""
    lock: Path

    @property
    def host(self) -> str:
        return host_of(self.url)

    @property
    def is_here(self) -> bool:
        return self.target.exists() and self.size in (None, size_of(self.target))

    @property
    def missing(self) -> Bytes:
        """What is still to come; 0 where the size is not known."""
        return Bytes(0 if self.size is None else max(0, self.size - size_of(self.part)))


def fetch(
    download: Download, client: httpx2.Client, watch: PullWatch, timing: PullTiming, room: Room
) -> None:
    """Download a file; raise `PullError` or `PullCancelledError`."""
    try:
        download.part.parent.mkdir(parents=True, exist_ok=True)
        with _alone(download, watch):
            if download.is_here:  # another program was quicker
                watch.received(download.name, size_of(download.target), 0)
                return
            _fetch(download, client, watch, timing, room)
    except OSError as problem:
        raise not_written(problem, download.part.parent) from None


def _fetch(
    download: Download, client: httpx2.Client, watch: PullWatch, timing: PullTiming, room: Room
) -> None:
    def note(done: int, count: int) -> None:
        watch.check()
        watch.received(download.name, done, count)
        room.written(count)

    with PartialFile(download.part, download.size, download.checksum, note) as part:
        was_resumed = part.done > 0

        def go_on() -> None:
            while not part.is_whole:
                _stream(download, part, client, watch, room)

        insist(go_on, watch, timing, lambda: part.done)
        if was_resumed and not part.is_right:  # the fault may be in what an earlier run wrote
            part.restart()
            insist(go_on, watch, timing, lambda: part.done)
        if not part.is_right:
            part.restart()
            text = f"{download.name}: what came has another checksum than {download.host} announced"
            raise PullError(PullFailure.DAMAGED, text)
        part.keep(download.target)


@contextmanager
def _alone(download: Download, watch: PullWatch) -> Generator[None]:
    """Hold the lock that `huggingface_hub` and the programs on it hold while they load this file."""
    download.lock.parent.mkdir(parents=True, exist_ok=True)
    while True:
        watch.check()
        lock = WeakFileLock(download.lock, timeout=_LOOK_AGAIN)
        try:
            lock.__enter__()
        except Timeout:
            watch.wait(f"another program is downloading {download.name}", 0)
            continue
        try:
            yield
        finally:
            lock.__exit__(None, None, None)
        return


def _stream(
    download: Download, part: PartialFile, client: httpx2.Client, watch: PullWatch, room: Room
) -> None:
    """Ask for what is missing, once, and take what comes of it."""
    watch.check()
    fields = {**download.fields, "Accept-Encoding": "identity"}
    part.distrust()
    if part.done or _is_large(part):
        fields["Range"] = _range(part)
        if validator := part.validator:
            fields["If-Range"] = validator
    extensions = {"trace": watch.trace}
    with (
        translated(download.host),
        client.stream("GET", download.url, headers=fields, extensions=extensions) as response,
    ):
        most = _begin(download, part, response, watch, room)
        for piece in response.iter_raw():
            if most is not None and part.done + len(piece) > most:
                part.restart()
                raise _unlike(download, "sends more bytes than it announced")
            part.write(piece)
        if most is None:
            part.end()
        elif part.done < most:
            text = f"{download.host} ended after {part.done} of {most} bytes"
            raise TransientError(PullFailure.NETWORK, text)


def _is_large(part: PartialFile) -> bool:
    return part.total is not None and part.total - part.done > _LARGEST_RANGE


def _range(part: PartialFile) -> str:
    end = part.done + _LARGEST_RANGE
    return f"bytes={part.done}-{end - 1}" if _is_large(part) else f"bytes={part.done}-"


def _begin(
    download: Download, part: PartialFile, response: httpx2.Response, watch: PullWatch, room: Room
) -> int | None:
    """Look at the head of an answer; return where the file ends that it brings, or `None`."""
    if response.status_code == _BEYOND and part.done:
        part.restart()
        raise TransientError(PullFailure.NETWORK, f"{download.host} has a shorter file now")
    if response.status_code >= _ERRORS:
        raise download.refused(response)
    validators = response.headers.get("etag", ""), response.headers.get("last-modified", "")
    end: int | None
    if response.status_code == _PART:
        begin, end, total = _content_range(response)
        if begin != part.done or end <= begin:
            raise _unlike(download, "sends another part than it was asked for")
        if part.is_of_another(*validators):
            part.restart()
            raise TransientError(PullFailure.NETWORK, f"{download.host} has another file now")
    elif response.status_code == _WHOLE:
        if part.done:
            part.restart()
        end = total = length_of(response)
    else:
        raise _unlike(download, f"answers with status {response.status_code}")
    if total is not None and part.total is not None and total != part.total:
        kind = _PRINTABLE.match(response.headers.get("content-type", ""))
        what = kind[0] if kind else "unknown type"
        raise _unlike(download, f"has {total} bytes ({what}) instead of {part.total}")
    if total is not None and part.total is None:
        room.need(total - part.done)
        part.total = Bytes(total)
        watch.size(download.name, total)
    part.remember(*validators)
    return part.total if end is None else end


def _content_range(response: httpx2.Response) -> tuple[int, int, int | None]:
    """Return the first byte, the one behind the last, and the length of the file; -1 where it is unclear."""
    found = _CONTENT_RANGE.fullmatch(response.headers.get("content-range", ""))
    if found is None:
        return -1, -1, None
    return int(found[1]), int(found[2]) + 1, None if found[3] == "*" else int(found[3])


def _unlike(download: Download, text: str) -> PullError:
    return PullError(PullFailure.DAMAGED, f"{download.name}: {download.host} {text}")
