"""Pulls against the stand-ins: folders of the test's own, and short waits."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from modelswap.catalog.pull_source import parse_source
from modelswap.catalog.pulls.places import Places
from modelswap.pull.job import PullJob
from modelswap.pull.timing import PullTiming
from modelswap.pull.watch import PullWatch
from modelswap.units import Bytes, Seconds

from .gguf_builder import chat_model

if TYPE_CHECKING:
    from pathlib import Path

    from modelswap.pull.progress import PullProgress

    from .hub import Hub

QUICK = PullTiming(
    connect=Seconds(20), silence=Seconds(20), first_pause=Seconds(0.01), longest_pause=Seconds(0.02),
    longest_wait=Seconds(5), tries=4,
)  # fmt: skip
"""Patient with a loaded machine, quick to try again."""
ROOMY = Bytes(1 << 40)


def gguf(path: Path, filler: int = 0) -> bytes:
    """Return the bytes of a small model; `filler` bytes of every value follow its tensors."""
    data = chat_model().write(path).read_bytes()
    path.unlink()
    return data + bytes(index * 7 % 256 for index in range(filler))


def home_with(hub: Hub, home: Path) -> dict[str, str]:
    """Return the environment of a program whose hub is *hub*, with a home of its own and no account."""
    named = ("HF_TOKEN", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HUB_OFFLINE", "OLLAMA_MODELS")
    unset = dict.fromkeys((*named, "LLAMA_CACHE", "XDG_CACHE_HOME", "http_proxy", "HTTP_PROXY"), "")
    home.mkdir()
    return {**unset, "HOME": str(home), "HF_HOME": str(home / "hf"), "HF_ENDPOINT": hub.url}


def places(folder: Path) -> Places:
    return Places(folder / "hub", (folder / "ollama", folder / "own"), folder / "urls")


@dataclass
class Pulling:
    """Pulls into one folder."""

    folder: Path
    timing: PullTiming = QUICK
    free: Bytes = ROOMY
    watches: list[PullWatch] = field(default_factory=list[PullWatch])

    @property
    def places(self) -> Places:
        return places(self.folder)

    def job(self, source: str) -> PullJob:
        parsed = parse_source(source)
        watch = PullWatch(parsed.text, self.timing)
        self.watches.append(watch)
        return PullJob(parsed, self.places, self.timing, watch, lambda _: self.free)

    def pull(self, source: str) -> PullProgress:
        job = self.job(source)
        job.run()
        return job.watch.progress()
