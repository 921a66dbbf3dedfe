"""How often it is asked who answers in a server's place."""

from __future__ import annotations

import asyncio
import itertools

import pytest

from modelswap.launch.local.ports import Holder
from modelswap.launch.local.readiness import HolderCheck


@pytest.mark.parametrize(("lasts", "asked"), [(3600.0, 1), (0.0, 3)])
async def test_who_answers_is_asked_anew_after_a_moment(
    lasts: float, asked: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process may take the port between two answers; probes that follow at once share one check."""
    monkeypatch.setattr("modelswap.launch.local.readiness._CHECK_LASTS", lasts)
    monkeypatch.setattr(asyncio.get_running_loop(), "time", itertools.count().__next__)
    found: list[Holder] = []

    async def find() -> Holder:
        await asyncio.sleep(0)
        found.append(Holder(len(found), "other"))
        return found[-1]

    async with asyncio.TaskGroup() as tasks:
        check = HolderCheck(tasks, find)
        for _ in range(3):
            first = check.begin()
            assert check.begin() is first, "it is still asked"
            assert await first is found[-1]
    assert len(found) == asked
