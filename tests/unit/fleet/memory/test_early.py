"""Requests that wait a moment before they are decided."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING

from modelswap.fleet.memory import early
from modelswap.fleet.memory.early import EarlyRequests
from modelswap.units import Seconds

if TYPE_CHECKING:
    import pytest


async def test_what_is_prepared_goes_in_order() -> None:
    """A release lets go what is prepared, once; the rest waits on."""
    waiting = EarlyRequests(asyncio.get_running_loop())
    gone: list[str] = []
    prepared: set[str] = set()
    for name in ("a", "b", "c"):
        waiting.add(partial(prepared.__contains__, name), partial(gone.append, name))
    waiting.release()
    assert gone == []
    prepared |= {"a", "c"}
    waiting.release()
    waiting.release()
    assert gone == ["a", "c"]
    waiting.release_all()
    waiting.release_all()
    assert gone == ["a", "c", "b"]


async def test_nothing_waits_longer_than_a_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is never prepared is let go all the same."""
    monkeypatch.setattr(early, "MOMENT", Seconds(0.01))
    waiting = EarlyRequests(asyncio.get_running_loop())
    gone = asyncio.Event()
    waiting.add(lambda: False, gone.set)
    async with asyncio.timeout(30):
        await gone.wait()
    again = asyncio.Event()
    waiting.add(lambda: False, again.set)  # with a deadline of its own
    async with asyncio.timeout(30):
        await again.wait()
