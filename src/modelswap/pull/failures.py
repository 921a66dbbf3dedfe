"""How a pull ends early: what went wrong, and whether another try may go better."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Final

from .progress import PullFailure

if TYPE_CHECKING:
    from pathlib import Path

    from modelswap.units import Seconds

_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})


class PullError(Exception):
    """A pull that cannot succeed as things are; the text is for every reader."""

    def __init__(
        self, failure: PullFailure, text: str, *, retry_after: Seconds | None = None
    ) -> None:
        super().__init__(text)
        self.failure = failure
        self.text = text
        self.retry_after = retry_after


class TransientError(PullError):
    """Another try may go better, after `retry_after` where the server says so."""


class PullCancelledError(Exception):
    """The pull was told to stop."""


def not_written(problem: OSError, folder: Path) -> PullError:
    """Translate the failure of writing below a folder."""
    if problem.errno in _FULL:
        return PullError(PullFailure.DISK_FULL, f"{folder}: the disk is full")
    reason = problem.strerror or type(problem).__name__
    return PullError(PullFailure.NOT_WRITABLE, f"{folder} cannot be written: {reason}")
