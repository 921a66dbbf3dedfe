"""A wait for a lease, with a clock that the test moves."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from modelswap.api.proxy.queue_wait import QueueWait
from modelswap.core.commands import Fail, Reason
from modelswap.core.models.lifecycle import Phase
from modelswap.core.spec import RequestId
from modelswap.pull.progress import PullPhase, PullProgress
from modelswap.units import Bytes
from support.proxy_units import (
    BASIC,
    JSON,
    FakeExchange,
    FakeServices,
    M,
    context_of,
    request_of,
    snapshot_of,
)

if TYPE_CHECKING:
    from modelswap.errors import ReplyError

TIMEOUT = (*JSON, ("X-Stainless-Read-Timeout", "10"))
STATE = BASIC.replace("    aliases: [nick]\n", "    sendLoadingState: true\n")


class Receiver:
    def __init__(self) -> None:
        self.leases: list[int] = []
        self.errors: list[ReplyError] = []

    def on_lease(self, server: object, queue_ms: int) -> None:
        del server
        self.leases.append(queue_ms)

    def fail(self, error: ReplyError) -> None:
        self.errors.append(error)

    def number(self) -> int:
        return 7


class Wait:
    """A wait that has begun."""

    def __init__(
        self,
        fields: tuple[tuple[str, str], ...] = JSON,
        *,
        stream: bool = False,
        text: str = BASIC,
        time_left: float | None = None,
        pull: PullProgress | None = None,
    ) -> None:
        snapshot = snapshot_of(text)
        self.services = FakeServices(snapshot)
        self.fleet, self.loop = self.services.fleet, self.services.loop
        self.fleet.current, self.fleet.time_left = Phase.STARTING, time_left
        self.fleet.pull = pull
        request = request_of(fields=fields, length=9)
        exchange: Any = FakeExchange(request)
        self.exchange = exchange
        self.receiver: Any = Receiver()
        context = context_of(request, snapshot=snapshot)
        services: Any = self.services
        began = 0.0
        self.unit = QueueWait(services, exchange, context, self.receiver, M, stream, began)
        self.unit.enter()


@pytest.fixture(autouse=True)
def _stopped_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("modelswap.api.proxy.queue_wait.monotonic", lambda: 0.25)


def test_a_grant_ends_the_wait() -> None:
    wait = Wait()
    assert (wait.fleet.orders, wait.loop.waiting) == (["ask"], [])
    wait.fleet.grant()
    wait.unit.close()
    assert (wait.receiver.leases, wait.fleet.orders) == ([250], ["ask"])


def test_a_refusal_is_worded() -> None:
    wait = Wait()
    wait.fleet.waiter.on_refused(Fail(RequestId(1), Reason.QUEUE_FULL))
    [error] = wait.receiver.errors
    assert (error.status, error.code) == (503, "queue_full")


def test_closing_gives_the_place_back_once() -> None:
    wait = Wait(TIMEOUT, stream=True)
    wait.unit.close()
    wait.unit.close(failed=True)
    assert (wait.fleet.orders, wait.loop.waiting) == (["ask", "cancel"], [])
    assert wait.exchange.sent == b""


def test_a_stream_is_silent_for_the_grace_period_and_then_kept_alive() -> None:
    wait = Wait(stream=True)
    settings = wait.services.config.snapshot.plan.settings
    wait.loop.advance(settings.loading_grace - 0.3)
    assert not wait.exchange.started
    wait.loop.advance(0.1)
    assert wait.exchange.status == 200
    first = wait.exchange.sent
    assert b'"content": ""' in first
    wait.loop.advance(settings.loading_keep_alive)
    assert wait.exchange.sent == first * 2
    wait.fleet.grant()
    wait.loop.advance(1000)
    assert wait.exchange.sent == first * 2


def test_an_announced_timeout_shortens_the_grace_period() -> None:
    wait = Wait((*JSON, ("X-Request-Timeout", "2")), stream=True)
    wait.loop.advance(1.3)
    assert wait.exchange.started


def test_a_client_without_stream_is_answered_before_it_gives_up() -> None:
    wait = Wait(TIMEOUT)
    wait.loop.advance(8.7)
    assert wait.receiver.errors == []
    wait.loop.advance(0.1)
    [error] = wait.receiver.errors
    assert (error.status, error.code, error.retry_after) == (503, "model_loading", 5.0)
    assert wait.fleet.orders == ["ask", "leave"], "the load goes on"


@pytest.mark.parametrize(("time_left", "after"), [(30.0, 30.0), (900.0, 60.0)])
def test_it_is_answered_at_once_when_the_load_takes_longer(time_left: float, after: float) -> None:
    wait = Wait(TIMEOUT, time_left=time_left)
    wait.loop.advance(0)
    assert [error.retry_after for error in wait.receiver.errors] == [after]


@pytest.mark.parametrize("failed", [False, True])
def test_the_loading_state_shows_position_and_end(*, failed: bool) -> None:
    wait = Wait(stream=True, text=STATE)
    assert wait.fleet.orders == ["ask watched"]
    assert b"modelswap loading model: m" in wait.exchange.sent
    wait.unit.on_position(2)
    wait.loop.advance(0.75)
    assert b"Queue position: #2" in wait.exchange.sent
    wait.unit.close(failed=failed)
    assert (b"Failed after 0.75s" in wait.exchange.sent) == failed
    assert (b"Done! (0.75s)" in wait.exchange.sent) != failed


def test_a_second_wait_goes_on_with_the_same_stream() -> None:
    """The server ended before the request had begun: the client waits on."""
    wait = Wait(stream=True)
    wait.loop.advance(100)
    before = wait.exchange.sent
    wait.fleet.grant()
    wait.unit.enter()
    wait.loop.advance(wait.services.config.snapshot.plan.settings.loading_keep_alive)
    assert len(wait.exchange.sent) > len(before)
    assert wait.fleet.orders == ["ask", "ask"]


PULL = PullProgress(
    source="hf:o/r",
    phase=PullPhase.DOWNLOADING,
    done=Bytes(1_200_000_000),
    total=Bytes(3_500_000_000),
    rate=100_000_000.0,
)


@pytest.mark.parametrize(("rate", "after"), [(0.0, 5.0), (100e6, 23.0), (1e6, 60.0), (9e9, 1.0)])
def test_a_long_pull_is_not_waited_for(rate: float, after: float) -> None:
    """After `pull.wait` a plain client is told when to ask again, by the rate; the pull goes on."""
    wait = Wait(text=f"pull: {{wait: 10}}\n{BASIC}", pull=replace(PULL, rate=rate))
    wait.loop.advance(9.7)
    assert wait.receiver.errors == []
    wait.loop.advance(0.1)
    [error] = wait.receiver.errors
    assert (error.status, error.code, error.retry_after) == (503, "model_pulling", after)
    assert "pulling hf:o/r … 34 %, 1.2 of 3.5 GB" in error.text
    assert wait.fleet.orders == ["ask", "leave"]


def test_a_client_s_own_time_is_shorter() -> None:
    """A client that announced its timeout is answered before it, while its model is pulled too."""
    wait = Wait(TIMEOUT, pull=PULL)
    wait.loop.advance(8.8)
    assert [error.code for error in wait.receiver.errors] == ["model_pulling"]


@pytest.mark.parametrize(("fields", "codes"), [(JSON, []), (TIMEOUT, ["model_loading"])])
def test_a_pull_that_is_over_in_time(fields: tuple[tuple[str, str], ...], codes: list[str]) -> None:
    """The load after it may take as long as any other: only the client's own time counts then."""
    wait = Wait(fields, text=f"pull: {{wait: 5}}\n{BASIC}", pull=PULL)
    wait.loop.advance(4)
    wait.fleet.pull = None
    wait.loop.advance(1)
    assert wait.receiver.errors == []
    wait.loop.advance(1000)
    assert [error.code for error in wait.receiver.errors] == codes


def test_a_stream_waits_for_the_whole_pull() -> None:
    """It is kept alive, however long the pull takes, and reads each step once."""
    wait = Wait(stream=True, text=f"pull: {{wait: 1}}\n{STATE}", pull=PULL)
    wait.loop.advance(0.75)
    assert "pulling hf:o/r … 34 %, 1.2 of 3.5 GB, 100 MB/s, 23 s left" in spoken(wait.exchange.sent)
    wait.loop.advance(7.5)
    assert spoken(wait.exchange.sent).count("pulling") == 1
    wait.fleet.pull = replace(PULL, phase=PullPhase.STALLED, text="nothing has come for 10 s")
    wait.loop.advance(0.75)
    assert "has stalled: nothing has come" in spoken(wait.exchange.sent)
    assert wait.receiver.errors == []


def spoken(sent: bytes) -> str:
    """Return the reasoning of all events."""
    events = [line[6:] for line in sent.decode().split("\n") if line.startswith("data: {")]
    deltas = [json.loads(event)["choices"][0]["delta"] for event in events]
    return "".join(delta.get("reasoning_content") or "" for delta in deltas)
