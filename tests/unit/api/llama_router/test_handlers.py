"""Who may reload with the list, and what the stream tells of a load."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from modelswap.api.auth.identity import ANONYMOUS, Identity
from modelswap.api.control.control_request import ControlRequest, StreamReply
from modelswap.api.llama_router import handlers
from modelswap.core.models.lifecycle import Phase
from modelswap.errors import ForbiddenError
from support.services import IdleFleet, close, make_services

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from modelswap.api.services import Services

LIMITED = Identity("limited", models=("a",))
PROGRESS: dict[str, Any] = {"stages": ["text_model"], "current": "text_model", "value": 0.5}


class OneModelFleet(IdleFleet):
    """One model, which loads or not."""

    def __init__(self) -> None:
        self.is_loading = True

    def running(self) -> list[Any]:
        model = SimpleNamespace(id="a", argv=())
        return [(model, Phase.STARTING, 1)] if self.is_loading else []

    def phase(self, _: str) -> Phase:
        return Phase.STARTING if self.is_loading else Phase.STOPPED


@pytest.fixture
async def services() -> AsyncIterator[Services]:
    services = make_services(fleet=OneModelFleet())
    yield services
    close(services)


@pytest.fixture
def reloads(services: Services) -> list[None]:
    """One item for each reload."""
    found: list[None] = []

    async def reload() -> None:
        found.append(None)

    services.reload = reload
    return found


def asked(services: Services, query: str = "", identity: Identity = ANONYMOUS) -> ControlRequest:
    def header(_: bytes) -> None:
        return None

    request: Any = SimpleNamespace(query=query, header=header)
    return ControlRequest(http_request=request, services=services, identity=identity)


async def test_a_key_of_some_models_may_not_reload(services: Services, reloads: list[None]) -> None:
    """A reload concerns all models, here as at `/api/config/reload`."""
    services.fleet = IdleFleet()  # type: ignore[assignment]  # what the list uses of it
    with pytest.raises(ForbiddenError, match="limited to some models"):
        await handlers.list_models(asked(services, "reload=1", LIMITED))
    assert reloads == []
    await handlers.list_models(asked(services, "", LIMITED))


@pytest.mark.parametrize(
    ("query", "count"),
    [("reload=1", 1), ("reload=true", 1), ("reload=0", 0), ("reload=false", 0), ("reload=", 0)],
)
async def test_a_reload_is_asked_for(
    services: Services, reloads: list[None], query: str, count: int
) -> None:
    services.fleet = IdleFleet()  # type: ignore[assignment]  # what the list uses of it
    await handlers.list_models(asked(services, query))
    assert len(reloads) == count


async def test_a_second_load_is_told_from_its_beginning(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Although it is as far as the first one was when that was told last."""

    def progress_of(*_: object) -> dict[str, Any]:
        return PROGRESS

    monkeypatch.setattr(handlers, "progress_of", progress_of)
    monkeypatch.setattr(handlers, "LOOK", 0.001)
    monkeypatch.setattr(handlers, "KEEP_ALIVE", 0.001)
    fleet: Any = services.fleet
    reply = await handlers.events(asked(services))
    assert isinstance(reply, StreamReply)
    frames = reply.chunks
    await anext(frames)
    assert b"progress" in await anext(frames)
    fleet.is_loading = False
    for _ in range(2):  # between them it has looked
        assert b"keep-alive" in await anext(frames)
    fleet.is_loading = True
    async with asyncio.timeout(30):
        assert b"progress" in await anext(frames)
    services.fleet_events.router.close()
    assert [frame async for frame in frames if b"progress" in frame] == []
