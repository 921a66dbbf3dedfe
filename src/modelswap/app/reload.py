"""Reloads the configuration while requests run.

Guarantees: an invalid configuration changes nothing; unchanged models run on untouched. One reload at
a time, and none during a hand-over.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

from modelswap.api.snapshot import UnusableError
from modelswap.config.diff import diff, summary
from modelswap.errors import UnavailableError
from modelswap.fleet import Fleet
from modelswap.http import CertificateError
from modelswap.observe.activity.store import Store

from .found_log import log_found

if TYPE_CHECKING:
    from collections.abc import Callable

    from modelswap.api.services import Services
    from modelswap.config.diff import Diff
    from modelswap.config.load import Loaded
    from modelswap.config.plan import Plan, Settings
    from modelswap.config.source.source import Source
    from modelswap.config.source.watching import Watch
    from modelswap.http import Certificate, Server
    from modelswap.observe.captures import Captures
    from modelswap.observe.events import EventBus
    from modelswap.observe.logs.logs import Logger

    from .model_watch import ModelWatch
    from .options import Options
    from .systemd import ServiceManager


class Reloader:
    def __init__(
        self,
        options: Options,
        watch: Watch | None,
        models: ModelWatch,
        manager: ServiceManager,
        *,
        crashed: Callable[[BaseException], None],
        reloaded: Callable[[], None],
    ) -> None:
        """*reloaded* is called after each attempt; `ReloadStatus` has its result."""
        self._reloaded = reloaded
        self._options = options
        self._watch = watch
        self._models = models
        self._manager = manager
        self._crashed = crashed
        self.wanted = asyncio.Event()
        self.guard = asyncio.Lock()
        """Held during a reload or a hand-over."""

        self._source: Source | None = None

    def bind(
        self,
        services: Services,
        server: Server,
        tls: Certificate | None,
        source: Source | None = None,
    ) -> None:
        """Reload for these; *source*: the files in use, where models are pulled."""
        self._services, self._server, self._tls, self._source = services, server, tls, source

    async def run(self) -> None:
        while True:
            await self.wanted.wait()
            self.wanted.clear()
            self._manager.reloading()
            try:
                await self.reload()
            except UnavailableError:
                return  # another process has taken over, and has loaded the configuration anew
            except Exception as bug:  # noqa: BLE001 - outermost handler: a reload must not end the program
                self._crashed(bug)
                self._reject([f"internal error: {bug!r}"])
            self._manager.ready()

    async def reload(self) -> None:
        """Load the configuration again; an invalid one changes nothing."""
        async with self.guard:
            if not isinstance(self._services.fleet, Fleet):
                raise UnavailableError("another process has taken over; ask again", retry_after=1)
            loaded, change = await asyncio.to_thread(self._load, self._services.config.plan)
            try:
                await self._adopt(loaded, change)
            finally:
                self._reloaded()

    async def complete(self) -> None:
        """Make the plan anew of the files in use, as they were read: what was pulled is here now.

        Only models that were pulled differ then; the files on disk may be edited or broken meanwhile.
        """
        async with self.guard:
            source = self._source
            if source is None or not isinstance(self._services.fleet, Fleet):
                return
            present = self._services.config.plan
            loaded = await asyncio.to_thread(self._options.complete, source, self._models.known)
            if loaded.plan is None:  # such as a found model that has a name now
                lines = "; ".join(map(str, loaded.problems))
                self._services.log.warning(f"what was pulled cannot be used: {lines}")
                return
            self._apply(loaded.plan, diff(present, loaded.plan))

    def _load(self, present: Plan) -> tuple[Loaded, Diff | None]:
        """Load, and compare: with many models both take long."""
        loaded = self._options.load(self._models.find)
        return loaded, None if loaded.plan is None else diff(present, loaded.plan)

    def _reject(self, problems: list[str]) -> None:
        self._services.reload_status.reject(problems)
        self._models.on_rejected()

    async def _adopt(self, loaded: Loaded, change: Diff | None) -> None:
        if loaded.plan is None or change is None:
            self._reject([str(problem) for problem in loaded.problems])
            return
        fleet = self._services.fleet
        if loaded.plan.memory is not None and self._services.config.plan.memory is None:
            assert isinstance(fleet, Fleet)
            await fleet.read_memory()  # the first decision by memory has to know the devices
        try:
            settings = self._replace(loaded, loaded.plan, change)
        except UnusableError as error:
            self._reject([str(error)])
            return
        if "store_path" in settings:
            await self._change_store(loaded.plan)

    async def _change_store(self, plan: Plan) -> None:
        """Switch to another store; the rows of the old one stay there."""
        services, old = self._services, self._services.store
        if old.is_at(plan.settings.store_path):
            return
        new = open_store_of(plan.settings, services.captures, services.log, services.bus)
        await new.begin()
        new.dropped = old.dropped
        services.completions.flush()
        services.store = services.completions.store = new
        await asyncio.to_thread(old.close, is_hurried=False)
        services.captures.clear()

    def _replace(self, loaded: Loaded, plan: Plan, change: Diff) -> tuple[str, ...]:
        """Apply the plan; return which settings differ."""
        services = self._services
        before = services.config.plan.discovered
        fleet = self._apply(plan, change)
        self._source = loaded.source
        services.reload_status.adopt(plan.files, loaded.warnings)
        self._server.set_limits(plan.settings.limits)
        self._reload_tls()
        for model in change.removed:
            self._services.logs.forget(model)
        log = self._services.log
        log.info(f"configuration reloaded: {summary(change)}")
        log_found(log, plan.discovered, before)
        self._models.on_plan(looks=plan.discovered is not None)
        for key in change.needs_restart:
            log.warning(f"{key}: takes effect at the next start")
        fresh = change.added | change.changed
        fleet.preload([m for m in plan.settings.preload if m in fresh])
        if self._watch is not None:
            self._watch.watch_also([Path(file) for file in plan.named_files])
        return change.settings

    def _apply(self, plan: Plan, change: Diff) -> Fleet:
        fleet = self._services.fleet
        assert isinstance(fleet, Fleet)
        self._services.adopt(plan)
        fleet.replace(plan, plan.policy, changed=set(change.changed), removed=set(change.removed))
        return fleet

    def _reload_tls(self) -> None:
        if self._tls is not None:
            try:
                self._tls.reload()
            except CertificateError as error:
                self._services.log.warning(f"the TLS certificate was not reloaded: {error}")

    async def takes_all_models(self) -> bool:
        loaded = await asyncio.to_thread(self._options.load, self._models.known)
        return (
            loaded.plan is not None
            and not loaded.plan.models
            and bool(self._services.config.plan.models)
        )


def open_store_of(settings: Settings, captures: Captures, log: Logger, bus: EventBus) -> Store:
    """Make the store that the settings describe; it is not open yet."""
    return Store(
        captures,
        path=settings.store_path,
        max_rows=settings.metrics_max_in_memory,
        retention=settings.store_retention,
        file_rows=settings.store_rows,
        warn=log.warning,
        on_recorded=lambda ids: bus.publish_all("activity", ({"id": number} for number in ids)),
    )
