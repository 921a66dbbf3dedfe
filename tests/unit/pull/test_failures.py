"""Why nothing can be written."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from modelswap.pull.failures import not_written
from modelswap.pull.progress import PullFailure


@pytest.mark.parametrize(
    ("number", "failure", "text"),
    [
        (errno.ENOSPC, PullFailure.DISK_FULL, "/cache: the disk is full"),
        (errno.EDQUOT, PullFailure.DISK_FULL, "/cache: the disk is full"),
        (errno.EROFS, PullFailure.NOT_WRITABLE, "/cache cannot be written: Read-only file system"),
    ],
)
def test_a_full_disk_is_told_from_a_closed_one(
    number: int, failure: PullFailure, text: str
) -> None:
    error = not_written(OSError(number, os.strerror(number)), Path("/cache"))
    assert (error.failure, error.text) == (failure, text)
