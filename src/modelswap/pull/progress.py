"""What a pull tells of itself, and the protocol of the object that pulls."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Protocol

from modelswap.deferred import dataclass
from modelswap.units import Bytes, Seconds

if TYPE_CHECKING:
    from collections.abc import Callable

    from modelswap.catalog.pulled import PulledModel


class PullPhase(StrEnum):
    RESOLVING = "resolving"
    """The hub is asked which files there are."""
    DOWNLOADING = "downloading"
    STALLED = "stalled"
    """Nothing has come for a while; it goes on trying."""
    FINISHED = "finished"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_over(self) -> bool:
        return self in (PullPhase.FINISHED, PullPhase.FAILED, PullPhase.CANCELLED)


class PullFailure(StrEnum):
    """The class of a failure; values are part of the HTTP interface."""

    TOKEN_MISSING = "token_missing"  # noqa: S105 - no secret
    """The repository is gated or private."""
    NOT_FOUND = "not_found"
    AMBIGUOUS = "ambiguous"
    """The repository has no such quantization; the text lists those it has."""
    RATE_LIMITED = "rate_limited"
    DISK_FULL = "disk_full"
    NOT_WRITABLE = "not_writable"
    """The folder of downloads cannot be written."""
    NETWORK = "network"
    DAMAGED = "damaged"
    """What came is not what the hub announced."""
    OFFLINE = "offline"
    """`HF_HUB_OFFLINE` forbids it."""

    @property
    def is_lasting(self) -> bool:
        """Whether another try fails too, as long as nothing is changed."""
        return self not in (PullFailure.RATE_LIMITED, PullFailure.NETWORK, PullFailure.DAMAGED)


@dataclass(frozen=True, slots=True, kw_only=True)
class FileProgress:
    name: str
    """The file's path in its repository."""
    done: Bytes
    total: Bytes | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PullProgress:
    """One pull at one moment."""

    source: str
    """As it is written: `hf:OWNER/REPO:Q4_K_M`."""
    phase: PullPhase
    done: Bytes = Bytes(0)
    total: Bytes | None = None
    """`None`: not known yet."""
    received: Bytes = Bytes(0)
    """What has come over the network in this pull."""
    rate: float = 0.0
    """Bytes per second, lately."""
    files: tuple[FileProgress, ...] = ()
    failure: PullFailure | None = None
    text: str = ""
    """Why it failed or stalled, and what to do: for every reader; it holds no secret."""
    retry_after: Seconds | None = None

    @property
    def is_over(self) -> bool:
        return self.phase.is_over

    @property
    def seconds_left(self) -> Seconds | None:
        """The time that the rest takes at the present rate; `None`: not known."""
        if self.total is None or self.rate <= 0:
            return None
        return Seconds(max(0, self.total - self.done) / self.rate)


class Puller(Protocol):
    """Owns all pulls of the program; lives on the event loop, its work runs on threads."""

    def located(self, source: str) -> PulledModel | None:
        """Return the model if all its files are here; a look at the disk, no network."""
        ...

    def start(self, source: str) -> PullProgress:
        """Begin to pull, or join the pull that runs; a failed one begins anew."""
        ...

    def progress(self, source: str) -> PullProgress | None:
        """Return how a pull stands, or how it ended; `None`: there was none."""
        ...

    def pulls(self) -> list[PullProgress]:
        """Return all pulls that run, and those that ended lately."""
        ...

    def cancel(self, source: str) -> bool:
        """Stop a pull; what came stays for the next try. `False`: none runs."""
        ...

    def subscribe(self, listener: Callable[[PullProgress], None]) -> None:
        """Tell the listener of each change, on the loop, at most a few times a second."""
        ...
