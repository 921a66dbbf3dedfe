"""The pauses before a request is tried again."""

from __future__ import annotations

from typing import Any

from modelswap.api.proxy.request_state import RETRIES, Retries
from modelswap.http import EndReason, RelayResult
from support.proxy_units import FakeLoop

RESULT = RelayResult(EndReason.CONNECT_FAILED, None, 0, "", started=False, never_ran=True)


def test_pauses_double_and_are_counted() -> None:
    loop: Any = FakeLoop()
    times: list[float] = []
    retries = Retries(loop, lambda _: times.append(round(loop.now, 3)))
    for _ in range(RETRIES):
        assert not retries.is_used_up
        retries.later(RESULT)
        loop.advance(10)
    assert [round(time % 10, 3) for time in times] == [0.05, 0.1, 0.2, 0.4]
    assert retries.is_used_up


def test_a_closed_one_tries_no_more() -> None:
    loop: Any = FakeLoop()
    results: list[RelayResult] = []
    retries = Retries(loop, results.append)
    retries.close()
    retries.later(RESULT)
    retries.close()
    loop.advance(10)
    assert results == []
