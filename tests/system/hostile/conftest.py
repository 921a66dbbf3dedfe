"""A peer that remembers what came through."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from support.streams import Listener

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def peer() -> Iterator[Listener]:
    """Another server, which remembers what it was asked."""
    with Listener() as listener:
        yield listener
