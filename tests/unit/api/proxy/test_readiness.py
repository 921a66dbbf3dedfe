"""What loads a model below `/upstream/<model>`, with a clock that the test moves."""

from __future__ import annotations

from typing import Any

import pytest

from modelswap.api.proxy.readiness import POLLING, Readiness, check_loaded
from modelswap.core.models.lifecycle import Phase
from modelswap.errors import ConflictError, LoadingError
from support.proxy_units import BASIC, FakeServices, M, request_of, snapshot_of

GET = request_of("GET", "/upstream/m/health", ())


def readiness(phase: Phase) -> tuple[Readiness, FakeServices]:
    services = FakeServices(snapshot_of(BASIC + "upstream: {ignorePaths: [ico$]}\n"))
    services.fleet.current = phase
    shared: Any = services
    return Readiness(shared), services


@pytest.mark.parametrize(("rest", "is_poll"), [("/health", True), ("/slots", True), ("/x", False)])
def test_polls_of_a_ready_model_take_no_lease(rest: str, *, is_poll: bool) -> None:
    assert readiness(Phase.READY)[0].is_unleased(M, GET, rest) == is_poll


def test_a_health_request_loads_a_stopped_model_and_a_monitor_does_not() -> None:
    unit, _ = readiness(Phase.STOPPED)
    assert not unit.is_unleased(M, GET, "/health"), "it takes a lease, which loads the model"
    for path in ("/metrics", "/favicon.ico"):
        with pytest.raises(ConflictError):
            unit.is_unleased(M, GET, path)


def test_what_its_ttl_unloaded_is_not_loaded_by_the_same_polls() -> None:
    unit, services = readiness(Phase.READY)
    services.fleet.has_idled = lambda _: True
    assert unit.is_unleased(M, GET, "/health")
    services.fleet.current = Phase.STOPPED
    services.loop.advance(POLLING - 1)
    with pytest.raises(ConflictError, match="ttl"):
        unit.is_unleased(M, GET, "/health")
    services.loop.advance(POLLING + 1)
    assert not unit.is_unleased(M, GET, "/health"), (
        "a client that was silent for long is no monitor"
    )


@pytest.mark.parametrize(("left", "after"), [(None, 1.0), (0.2, 1.0), (7.0, 7.0), (900.0, 60.0)])
def test_a_starting_model_says_when_to_look_again(left: float | None, after: float) -> None:
    fleet = readiness(Phase.STARTING)[1].fleet
    fleet.time_left = left
    with pytest.raises(LoadingError) as raised:
        check_loaded(fleet, M, "/slots")
    assert raised.value.retry_after == after
