"""The state machine of a request, with a relay that does what the test says."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from modelswap.api.proxy.proxy_request import ProxyRequest
from modelswap.api.proxy.request_state import RETRIES, RequestPhase
from modelswap.core.models.lifecycle import Phase
from modelswap.core.naming.names import LocalTarget, PeerTarget
from modelswap.errors import BadRequestError
from modelswap.http import EndReason, RelayResult
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

BODY = b'{"model":"m"}'
HEAD: Any = SimpleNamespace(
    status=200,
    headers=(),
    type_text="application/json",
    event_stream=False,
    encoding=b"",
    weight=9,
    is_active=False,
    length_block=b"",
)
FORM = (("Content-Type", "multipart/form-data; boundary=x"),)


def ended(reason: EndReason, **facts: Any) -> RelayResult:
    known: dict[str, Any] = {"status": None, "bytes_sent": 0, "detail": "why"}
    known |= {"started": False, "never_ran": False} | facts
    return RelayResult(reason, **known)


class FakeRelay:
    """The relay of a request; the last one made is `FakeRelay.last`."""

    last: FakeRelay
    count = 0

    def __init__(  # noqa: PLR0917 - as `Relay`
        self, exchange: Any, pool: Any, request: Any, body: Any, owner: Any, observer: Any
    ) -> None:
        self.exchange, self.pool, self.request = exchange, pool, request
        self.body, self.owner, self.observer = body, owner, observer
        FakeRelay.last = self
        FakeRelay.count += 1

    def begin(self, fresh: bool) -> None:  # noqa: FBT001 - as `Relay`
        self.fresh = fresh

    def take_over(self, connection: object) -> None:
        self.connection = connection

    def cancel(self) -> None:
        self.owner.on_end(ended(EndReason.CANCELLED))

    def on_client_gone(self) -> None:
        self.owner.on_end(ended(EndReason.CLIENT_GONE))

    def on_whole(self, head: Any, data: bytes) -> None:
        self.owner.on_whole(head, data)


class IdleConnection:
    """What the pool has; it has the relay made like the real one."""

    taker: Any

    def observer(self) -> None:
        self.taker.observer_on(self)


@pytest.fixture(autouse=True)
def _relay(monkeypatch: pytest.MonkeyPatch) -> None:
    FakeRelay.count = 0
    monkeypatch.setattr("modelswap.api.proxy.proxy_request.Relay", FakeRelay)


class Started:
    """A request that has its body."""

    def __init__(
        self,
        body: bytes = BODY,
        *,
        phase: Phase = Phase.READY,
        fields: tuple[tuple[str, str], ...] = JSON,
        text: str = BASIC,
        connection: IdleConnection | None = None,
        **facts: Any,
    ) -> None:
        snapshot = snapshot_of(text)
        services: Any = FakeServices(snapshot)
        services.fleet.ready.upstream.connection = connection
        self.services = services
        self.fleet = self.services.fleet
        self.fleet.current = phase
        request = request_of(fields=fields, length=len(body))
        exchange: Any = FakeExchange(request, body)
        self.exchange = exchange
        self.context = context_of(request, snapshot=snapshot, **facts)
        self.unit = ProxyRequest(services, exchange, self.context)
        if connection is not None:
            connection.taker = self.unit
            pool = services.fleet.ready.upstream
            self.context.upstream_request(pool, "", LocalTarget(M, "m"), started=False)
        self.unit.receive()

    @property
    def relay(self) -> FakeRelay:
        return FakeRelay.last

    def assert_over(self, status: int, ending: str) -> None:
        """It ended once, and holds nothing."""
        assert self.unit._phase is RequestPhase.FINISHED
        assert (self.fleet.leases, self.services.running) == (0, [])
        assert [line[0] for line in self.services.lines] == [status]
        assert [entry._end_reason for entry in self.services.entries] == [ending]
        assert self.services.loop.waiting == []


def test_a_ready_model_gets_the_request_at_once() -> None:
    started = Started()
    assert (started.relay.body, started.relay.fresh, started.fleet.leases) == (BODY, False, 1)
    assert [entry.model for entry in started.services.running] == ["m"]
    started.unit.on_whole(HEAD, b"{}")
    started.assert_over(200, "done")
    assert started.services.lines == [(200, 2)]
    started.unit.on_end(ended(EndReason.DONE))
    started.unit.cancel()
    started.assert_over(200, "done")


def test_the_record_observes_the_relay_itself() -> None:
    started = Started()
    assert started.relay.observer is started.services.running[0]
    assert (started.relay.observer.sent, started.relay.observer.queue_ms) == (BODY, 0)


@pytest.mark.parametrize(
    ("result", "status", "ending"),
    [
        (ended(EndReason.DONE, status=200, started=True), 200, "done"),
        (ended(EndReason.CLIENT_GONE), 499, "client_gone"),
        (ended(EndReason.TRUNCATED, status=200, started=True), 200, "truncated"),
        (ended(EndReason.CANCELLED), 499, "cancelled"),
        (ended(EndReason.BAD_RESPONSE), 502, "bad_response"),
        (ended(EndReason.HEADER_TIMEOUT), 504, "header_timeout"),
    ],
)
def test_a_relay_ends_the_request(result: RelayResult, status: int, ending: str) -> None:
    started = Started()
    if result.started:
        started.exchange.started, started.exchange.status = True, 200
    started.unit.on_end(result)
    started.assert_over(status, ending)
    assert started.fleet.orders == (["stalled why"] if ending == "header_timeout" else [])


class TestAsked:
    """On an idle connection, without a relay."""

    def test_a_whole_response_ends_it(self) -> None:
        started = Started(connection=IdleConnection())
        record = started.services.running[0]
        assert (record.sent, record.sent_size, record.queue_ms) == (BODY, len(BODY), 0)
        assert (started.unit._phase, started.fleet.leases) == (RequestPhase.RELAYING, 1)
        started.unit.on_response(HEAD, b"{}")
        started.assert_over(200, "done")
        assert (FakeRelay.count, started.exchange.sent) == (0, b"{}")
        started.unit.cancel()
        started.assert_over(200, "done")

    def test_a_response_that_needs_a_closing_line_gets_a_relay(self) -> None:
        started = Started(connection=IdleConnection())
        started.exchange.must_close = True
        started.unit.on_response(HEAD, b"{}")
        assert (FakeRelay.count, started.relay.connection) == (1, None)
        assert started.exchange.sent == b""
        started.assert_over(200, "done")

    def test_a_client_that_leaves_ends_it(self) -> None:
        connection = IdleConnection()
        started = Started(connection=connection)
        started.exchange.on_gone()
        assert (FakeRelay.count, started.relay.connection) == (1, connection)
        started.assert_over(499, "client_gone")

    def test_it_can_be_cancelled(self) -> None:
        started = Started(connection=IdleConnection())
        started.services.running[0].cancel()
        started.assert_over(499, "cancelled")

    def test_it_is_tried_again(self) -> None:
        """By a relay, which the connection has had made."""
        connection = IdleConnection()
        started = Started(connection=connection)
        connection.observer()
        started.fleet.current = Phase.STOPPED
        started.unit.on_end(ended(EndReason.NO_ANSWER, never_ran=True))
        started.services.loop.advance(0.05)
        started.fleet.grant()
        assert FakeRelay.count == 2
        started.unit.on_whole(HEAD, b"{}")
        started.assert_over(200, "done")

    def test_a_client_that_left_before_gets_a_relay_which_sees_it(self) -> None:
        connection = IdleConnection()
        started = Started(connection=connection)
        started.unit.on_response(HEAD, b"{}")
        services: Any = started.services
        other: Any = FakeExchange(started.exchange.request, BODY, finished=True)
        ProxyRequest(services, other, started.context).receive()
        assert (FakeRelay.count, started.relay.fresh) == (1, False)


def test_a_refused_request_never_asks_for_a_lease() -> None:
    started = Started(b'{"model":"nobody"}')
    started.assert_over(404, "refused")
    assert (FakeRelay.count, started.fleet.orders) == (0, [])


class TestQueue:
    def test_a_model_that_is_not_ready_is_waited_for(self) -> None:
        started = Started(phase=Phase.STOPPED)
        assert (started.unit._phase, FakeRelay.count) == (RequestPhase.QUEUED, 0)
        started.fleet.grant()
        assert (started.unit._phase, FakeRelay.count) == (RequestPhase.RELAYING, 1)
        started.unit.on_whole(HEAD, b"{}")
        started.assert_over(200, "done")

    def test_a_client_that_leaves_gives_its_place_back(self) -> None:
        started = Started(phase=Phase.STOPPED)
        started.exchange.on_gone()
        started.assert_over(499, "cancelled")
        assert started.fleet.orders == ["ask", "cancel"]

    def test_a_form_that_breaks_off_gives_its_place_back(self) -> None:
        started = Started(phase=Phase.STOPPED)
        started.unit.fail(BadRequestError("could not parse multipart form"))
        started.assert_over(400, "refused")
        assert started.fleet.orders == ["ask", "cancel"]

    def test_a_late_grant_is_given_back(self) -> None:
        started = Started(phase=Phase.STOPPED)
        started.exchange.on_gone()
        started.fleet.grant()
        assert (started.fleet.leases, FakeRelay.count) == (0, 0)

    def test_it_can_be_cancelled(self) -> None:
        started = Started(phase=Phase.STOPPED)
        started.services.running[0].cancel()
        started.assert_over(499, "cancelled")
        assert started.fleet.orders == ["ask", "cancel"]

    def test_background_requests_always_queue(self) -> None:
        text = BASIC + "backgroundHeader: X-Background\n"
        started = Started(fields=(*JSON, ("X-Background", "1")), text=text)
        assert started.fleet.orders == ["ask"]


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
    assert result.may_resend(is_whole=True) == whole
    assert result.may_resend(is_whole=False) == streamed


class TestRetries:
    def test_pauses_double_and_end(self) -> None:
        started = Started()
        clock = started.services.loop
        times: list[float] = []

        def server(_: str) -> Any:
            times.append(round(clock.now, 3))
            return started.fleet.ready

        started.fleet.server = server
        started.unit.on_end(ended(EndReason.NO_ANSWER, was_reset=True))
        clock.advance(10)
        assert times == [0.05, 0.15, 0.35, 0.75]
        assert len(times) == RETRIES

    def test_a_server_that_ended_before_the_request_began_is_asked_for_again(self) -> None:
        started = Started()
        started.fleet.current = Phase.STOPPED
        started.unit.on_end(ended(EndReason.CONNECT_FAILED, never_ran=True))
        assert (started.unit._phase, started.fleet.leases) == (RequestPhase.RETRYING, 0)
        started.services.loop.advance(0.05)
        assert started.unit._phase is RequestPhase.QUEUED
        started.fleet.grant()
        started.unit.on_whole(HEAD, b"{}")
        started.assert_over(200, "done")

    def test_a_reset_counts_only_when_the_server_has_exited(self) -> None:
        started = Started()
        started.unit.on_end(ended(EndReason.NO_ANSWER, was_reset=True))
        started.services.loop.advance(10)
        assert FakeRelay.count == 1, "it is still there: it may have the request"
        started.assert_over(502, "no_answer")

    def test_a_client_that_leaves_ends_the_retry(self) -> None:
        started = Started()
        started.unit.on_end(ended(EndReason.CONNECT_FAILED, never_ran=True))
        started.exchange.on_gone()
        started.assert_over(499, "cancelled")


class TestUnleased:
    POLL = ("m", LocalTarget(M, "m"))

    def test_a_poll_uses_a_ready_server_without_a_lease(self) -> None:
        started = Started(named=self.POLL, unleased="polls")
        assert (FakeRelay.count, started.fleet.leases) == (1, 0)
        started.unit.on_end(ended(EndReason.CONNECT_FAILED, never_ran=True))
        started.assert_over(502, "connect_failed")

    def test_it_loads_nothing(self) -> None:
        started = Started(named=self.POLL, unleased="polls", phase=Phase.STOPPED)
        started.assert_over(409, "refused")
        assert FakeRelay.count == 0

    def test_a_peer_needs_no_lease(self) -> None:
        peer = PeerTarget("far", "big", "far/big", "big")
        started = Started(b'{"model":"far/big"}', named=("far/big", peer))
        assert (started.relay.body, started.fleet.orders) == (b'{"model":"big"}', [])


def test_a_failure_after_keep_alives_is_an_event() -> None:
    started = Started(b'{"model":"m","stream":true}', phase=Phase.STARTING)
    started.services.loop.advance(1000)
    assert started.exchange.started
    started.fleet.grant()
    started.unit.on_end(ended(EndReason.NO_ANSWER))
    assert started.exchange.finished
    assert b"why" in started.exchange.sent.rsplit(b"data: ", 1)[1]
    started.assert_over(200, "no_answer")
    assert started.services.entries[0].status == 502


def test_a_form_is_edited_and_sent_whole() -> None:
    form = b'--x\r\nContent-Disposition: form-data; name="model"\r\n\r\nrenamed\r\n--x--\r\n'
    started = Started(form, fields=FORM)
    assert started.relay.body == form.replace(b"renamed", b"real")
    started.unit.on_whole(HEAD, b"{}")
    started.assert_over(200, "done")


def test_a_broken_form_for_a_model_in_the_path_leaves_a_row() -> None:
    peer = PeerTarget("far", "big", "far/big", "big")
    started = Started(b"no form", fields=FORM, named=("far/big", peer))
    started.assert_over(400, "refused")
    assert [entry.model for entry in started.services.entries] == ["far/big"]
    assert FakeRelay.count == 0


def test_a_bug_keeps_no_lease(monkeypatch: pytest.MonkeyPatch) -> None:
    def begin(_self: object, fresh: bool) -> None:  # noqa: FBT001 - as `Relay`
        raise RuntimeError(fresh)

    monkeypatch.setattr(FakeRelay, "begin", begin)
    started = Started()
    started.assert_over(500, "refused")
    assert "RuntimeError" in started.services.warnings[0]


def test_a_selector_is_released_at_the_end() -> None:
    started = Started(b'{"model":"any"}')
    selection = started.unit._resolved.selection
    assert selection is not None
    released: list[tuple[str, str]] = []
    started.context.snapshot.selectors.decrement = lambda *chosen: released.append(chosen)  # type: ignore[method-assign]
    started.unit.on_whole(HEAD, b"{}")
    assert released == [selection]


def test_a_lease_ends_with_what_its_request_asked_for() -> None:
    """For how long the model stays loaded counts from the end, which is here."""
    text = "requestTTL: {min: 0}\nmodels: {m: {cmd: 'x ${PORT}'}}"
    started = Started(b'{"model":"m","keep_alive":"5m"}', text=text)
    assert started.fleet.leases == 1
    FakeRelay.last.owner.on_end(ended(EndReason.DONE, status=200))
    assert (started.fleet.leases, started.fleet.asked_ttl) == (0, 300)
