"""What the system tests share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from support.streams import RecordingPeer

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def peer() -> Iterator[RecordingPeer]:
    """Another server, which records what it was asked."""
    with RecordingPeer() as recording:
        yield recording
