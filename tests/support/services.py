"""The shared services of handlers, built alone: real observers, a fleet in which nothing runs."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from modelswap.api.reload_status import ReloadStatus
from modelswap.api.services import Services
from modelswap.api.snapshot import ActiveConfig, ConfigSnapshot
from modelswap.app.reload import open_store_of
from modelswap.config.plan import Plan
from modelswap.fleet.pulls.gate import NoPuller
from modelswap.observe.activity.inflight import Inflight
from modelswap.observe.captures import Captures
from modelswap.observe.events import EventBus
from modelswap.observe.logs.logs import Logger, Logs
from modelswap.observe.logs.redaction import HeaderMask
from modelswap.observe.metrics.performance import Performance
from modelswap.observe.metrics.prometheus import Metrics

if TYPE_CHECKING:
    from modelswap.core.spec import ModelId
    from modelswap.pull.progress import Puller


class IdleFleet:
    """No model runs, waits, is pulled or has failed."""

    def failure(self, _: ModelId) -> None:
        return None

    def server(self, _: ModelId) -> None:
        return None

    def pull_of(self, _: ModelId) -> None:
        return None

    def running(self) -> list[Any]:
        return []


async def no_reload() -> None:
    """Nothing is loaded again."""


def make_services(
    plan: Plan | None = None, fleet: object = None, puller: Puller | None = None
) -> Services:
    """Build services in the running loop; the store is open, in memory."""
    plan = plan or Plan()
    settings = plan.settings
    logs, bus = Logs(to_stdout="none"), EventBus()
    log, mask = Logger(logs), HeaderMask(settings.redact_headers)
    captures = Captures(settings.capture_buffer, mask)
    services = Services(
        loop=asyncio.get_running_loop(),
        config=ActiveConfig(ConfigSnapshot(plan, listening=["127.0.0.1"])),
        logs=logs,
        log=log,
        bus=bus,
        inflight=Inflight(bus, mask),
        captures=captures,
        store=open_store_of(settings, captures, log, bus),
        metrics=Metrics(version="1"),
        performance=Performance(disabled=True),
        reload=no_reload,
        complete=no_reload,
        puller=NoPuller() if puller is None else puller,
        reload_status=ReloadStatus(bus, log, files=plan.files, warnings=()),
    )
    services.fleet = fleet or IdleFleet()  # type: ignore[assignment]  # what the handlers use of it
    services.store.open()
    return services


def close(services: Services) -> None:
    services.bus.close()
    services.completions.flush()
    services.store.close()
    services.logs.close()
