"""Control routes about profiles and the configuration, with real services."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from modelswap.api.auth.identity import ANONYMOUS
from modelswap.api.control import models
from modelswap.api.control.control_request import ControlError, ControlRequest
from modelswap.config.plan import Plan, Profile
from modelswap.errors import UnavailableError
from support.services import close, make_services

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from modelswap.api.services import Services

PLAN = Plan(profiles={"work": Profile(id="work", pins={"a": "b"})})


@pytest.fixture
async def services() -> AsyncIterator[Services]:
    services = make_services(PLAN)
    yield services
    close(services)


def control_request(services: Services, body: bytes = b"", **params: str) -> ControlRequest:
    request: Any = SimpleNamespace(query="", header=lambda _: None)
    return ControlRequest(
        http_request=request, services=services, identity=ANONYMOUS, params=params, body=body
    )


async def test_health_and_readiness(services: Services) -> None:
    """Both are 200 while requests are accepted; readiness ends with the shutdown."""
    request = control_request(services)
    assert (await models.health(request)).body == b"OK"
    assert (await models.ready(request)).body == b"OK"
    services.draining = True
    assert (await models.health(request)).body == b"OK"
    with pytest.raises(UnavailableError):
        await models.ready(request)


@pytest.mark.parametrize(
    ("body", "status"),
    [(b"no", 400), (b"{}", 400), (b'{"name":1}', 400), (b'{"name":"other"}', 404)],
)
async def test_a_bad_profile_is_told(services: Services, body: bytes, status: int) -> None:
    """It changes nothing."""
    with pytest.raises(ControlError) as caught:
        await models.set_profile(control_request(services, body))
    assert caught.value.status == status
    assert services.profile is None


async def test_a_profile_is_set(services: Services) -> None:
    """It is active until another name, or none, is set."""
    await models.set_profile(control_request(services, b'{"name":"work"}'))
    shown = json.loads((await models.profiles(control_request(services))).body)
    assert shown["active"] == "work"
    assert [profile["id"] for profile in shown["profiles"]] == ["work"]
    await models.set_profile(control_request(services, b'{"name":null}'))
    assert services.profile is None


async def test_a_reload_that_failed_is_a_conflict(services: Services) -> None:
    """The status says why, as the status route does."""
    request = control_request(services)
    assert (await models.reload(request)).status == 200
    services.reload_status.reject(["a.yaml:1: no"])
    reply = await models.reload(request)
    assert reply.status == 409
    assert json.loads(reply.body)["problems"] == ["a.yaml:1: no"]
    assert (await models.config_status(request)).body == reply.body


async def test_a_model_that_is_not_there(services: Services) -> None:
    """404 by its name; nothing is loaded or unloaded."""
    for handler in (models.load_one, models.unload_one):
        with pytest.raises(ControlError, match="model not found"):
            await handler(control_request(services, model="other"))
