"""The shared services: what another plan and another profile change."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from modelswap.config.plan import Plan, Profile, Settings
from support.services import close, make_services

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from modelswap.api.services import Services

WORK = Plan(profiles={"work": Profile(id="work", pins={})})


@pytest.fixture
async def services() -> AsyncIterator[Services]:
    services = make_services(WORK)
    yield services
    close(services)


async def test_another_plan_reaches_every_observer(services: Services) -> None:
    """Snapshot, captures, log level and masks follow the plan."""
    before = services.config.snapshot
    plan = Plan(
        settings=Settings(capture_buffer=0, log_level="warn", redact_headers=("X-Secret",)),  # type: ignore[arg-type]  # a number of bytes
        profiles=WORK.profiles,
    )
    services.adopt(plan)
    assert services.config.plan is plan
    assert services.config.snapshot is not before
    assert not services.captures.enabled
    assert not services.shows_requests
    masked = services.inflight.mask.flatten([(b"x-secret", b"1")])
    assert masked == {"X-Secret": "[REDACTED]"}


@pytest.mark.parametrize(("plan", "expected"), [(WORK, "work"), (Plan(), None)])
async def test_the_profile_stays_while_it_exists(
    services: Services, plan: Plan, expected: str | None
) -> None:
    """A reload keeps the active profile unless the new plan does not have it."""
    services.set_profile("work")
    services.adopt(plan)
    assert services.profile == expected
