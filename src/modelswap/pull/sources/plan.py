"""What one pull has to do: the files to download, and what makes them a model afterwards."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from modelswap.pull.failures import PullError
from modelswap.pull.progress import FileProgress, PullFailure
from modelswap.units import Bytes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    import httpx2

    from modelswap.pull.timing import PullTiming
    from modelswap.pull.transfer.fetch import Download
    from modelswap.pull.watch import PullWatch

_MARGIN: Final = Bytes(256 << 20)
"""Left free on the file system: other programs write there meanwhile."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PullPlan:
    downloads: tuple[Download, ...]
    present: tuple[FileProgress, ...] = ()
    """Files that are here already."""
    finish: Callable[[], None]
    """Make the downloaded files a model, where they lie; it raises `OSError`."""
    folder: Path
    """Where they come to lie; it may not exist yet."""

    @property
    def files(self) -> list[FileProgress]:
        new = [FileProgress(name=one.name, done=Bytes(0), total=one.size) for one in self.downloads]
        return [*self.present, *new]


class Planner(Protocol):
    """Knows one kind of source."""

    def plan(self, client: httpx2.Client, watch: PullWatch, timing: PullTiming) -> PullPlan:
        """Ask which files there are; raise `PullError`."""
        ...


def free_bytes(folder: Path) -> Bytes:
    """Return what this user may still write to the file system of a folder that may not exist yet."""
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    return Bytes(shutil.disk_usage(existing).free)


def check_room(
    downloads: Iterable[Download], folder: Path, free: Callable[[Path], Bytes] = free_bytes
) -> None:
    """Raise `PullError` where the file system has no room for what is missing, as far as sizes are known."""
    missing = sum(download.missing for download in downloads)
    try:
        there = free(folder)
    except OSError:
        return
    if missing and missing + _MARGIN > there:
        text = (
            f"{folder}: {gibibytes(missing)} are still to come and {gibibytes(there)} are free"
            f" ({gibibytes(_MARGIN)} must stay free): make room, or set another folder"
        )
        raise PullError(PullFailure.DISK_FULL, text)


def gibibytes(count: int) -> str:
    return f"{count / (1 << 30):.2f} GiB"
