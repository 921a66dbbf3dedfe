"""When a request is tried again."""

from __future__ import annotations

from typing import Any

import pytest

from modelswap.api.proxy.retries import RETRIES, Retries, may_resend
from modelswap.http import EndReason, RelayResult
from support.proxy_units import FakeLoop

NEVER_RAN = RelayResult(EndReason.NO_ANSWER, None, 0, "", started=False, never_ran=True)
UNCONNECTED = RelayResult(EndReason.CONNECT_FAILED, None, 0, "", started=False, never_ran=True)
RESET = RelayResult(
    EndReason.NO_ANSWER, None, 0, "", started=False, never_ran=False, was_reset=True
)
LOST = RelayResult(EndReason.NO_ANSWER, None, 0, "", started=False, never_ran=False)


@pytest.mark.parametrize(
    ("result", "whole", "streamed"),
    [
        (NEVER_RAN, True, False),
        (UNCONNECTED, True, True),
        (RESET, True, False),
        (LOST, False, False),
    ],
)
def test_a_streamed_body_is_sent_once(result: RelayResult, *, whole: bool, streamed: bool) -> None:
    assert may_resend(result, is_whole=True) == whole
    assert may_resend(result, is_whole=False) == streamed


def test_pauses_double_and_end() -> None:
    fake = FakeLoop()
    loop: Any = fake
    retries = Retries(loop)
    times: list[float] = []
    while not retries.are_used_up:
        retries.start(lambda _: times.append(fake.now), RESET)
        fake.advance(1)
    assert [round(at - second, 3) for second, at in enumerate(times)] == [0.05, 0.1, 0.2, 0.4]
    assert len(times) == RETRIES
    retries.start(lambda _: times.append(0), RESET)
    retries.cancel()
    fake.advance(9)
    assert len(times) == RETRIES
