"""The account of bodies in memory."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from modelswap.http.server import body_memory
from modelswap.http.server.body_memory import BodyMemory
from modelswap.units import Bytes

if TYPE_CHECKING:
    import pytest

MB = 1 << 20


async def test_all_together_and_each_address_have_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """One address gets half of what there is; what is freed may be held again."""
    monkeypatch.setattr(body_memory, "_MAX_HELD", 8 * MB)
    memory = BodyMemory(asyncio.get_running_loop())
    largest = Bytes(MB // 8)
    assert memory.hold("a", 4 * MB, largest)
    assert not memory.hold("a", 1, largest)
    assert memory.hold("b", 4 * MB, largest)
    assert not memory.hold("c", 1, largest)
    memory.free("a", 3 * MB)
    assert memory.held == 5 * MB
    assert memory.hold("a", 3 * MB, largest)
    memory.close()


async def test_some_of_the_largest_bodies_always_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    """A high limit for one body raises the bound for all."""
    monkeypatch.setattr(body_memory, "_MAX_HELD", MB)
    memory = BodyMemory(asyncio.get_running_loop())
    assert memory.hold("a", 4 * MB, Bytes(MB))
    assert not memory.hold("a", 1, Bytes(MB))
    memory.close()


async def test_memory_goes_back_to_the_system_some_time_after_the_last_body(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Unless another body has come meanwhile."""
    trims: list[None] = []
    monkeypatch.setattr(body_memory, "_TRIM_DELAY", 0.01)
    monkeypatch.setattr(body_memory, "malloc_trim", lambda: trims.append(None))
    memory = BodyMemory(asyncio.get_running_loop())
    memory.hold("a", 1, Bytes(MB))
    memory.free("a", 1)
    memory.hold("b", 1, Bytes(MB))
    await asyncio.sleep(0.05)
    assert not trims
    memory.free("b", 1)
    await asyncio.sleep(0.05)
    assert len(trims) == 1
    memory.free("b", 0)
    memory.close()
    await asyncio.sleep(0.05)
    assert len(trims) == 1
