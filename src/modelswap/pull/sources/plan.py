"""What one pull has to do: the files to download, and what makes them a model afterwards."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from modelswap.pull.progress import FileProgress
from modelswap.units import Bytes

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    import httpx2

    from modelswap.pull.timing import PullTiming
    from modelswap.pull.transfer.fetch import Download
    from modelswap.pull.watch import PullWatch


@dataclass(frozen=True, slots=True, kw_only=True)
class PullPlan:
    downloads: tuple[Download, ...]
    present: Mapping[str, int]
    """Sizes of the files that are here already, by name."""
    finish: Callable[[], None]
    """Make the downloaded files a model, where they lie; it raises `OSError`."""
    folder: Path
    """Where they come to lie; it may not exist yet."""

    @property
    def files(self) -> list[FileProgress]:
        new = [FileProgress(name=one.name, done=Bytes(0), total=one.size) for one in self.downloads]
        here = [
            FileProgress(name=name, done=Bytes(size), total=Bytes(size))
            for name, size in self.present.items()
        ]
        return [*here, *new]


class Planner(Protocol):
    """Knows one kind of source."""

    def plan(self, client: httpx2.Client, watch: PullWatch, timing: PullTiming) -> PullPlan:
        """Ask which files there are; raise `PullError`."""
        ...
