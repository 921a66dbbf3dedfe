"""What follows from a pull: the plan is made complete, found models are looked for, files are warmed.

Guarantees: a request that waits for a pull goes on as soon as its model's command is complete, whatever
the state of the configuration files.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from modelswap.fleet import Fleet

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from modelswap.api.services import Services
    from modelswap.catalog.pulled import PulledModel
    from modelswap.pull.page_cache import PageCacheWarmer
    from modelswap.pull.progress import Puller, PullProgress

    from .reload import Reloader


class PullerOnDemand:
    """The puller, made at the first pull: most configurations have none."""

    def __init__(self) -> None:
        self._puller: Puller | None = None
        self._warmer: PageCacheWarmer | None = None
        self._listeners: list[Callable[[PullProgress], None]] = []

    def _warm(self, files: Iterable[Path]) -> None:
        from modelswap.pull.page_cache import PageCacheWarmer  # noqa: PLC0415 - after a pull

        if self._warmer is None:
            self._warmer = PageCacheWarmer()
        self._warmer.warm(files)

    def warm(self, sources: Iterable[str]) -> None:
        """Read into the page cache what is here of these sources. Not for the loop's thread."""
        for source in sources:
            found = self.located(source)
            if found is not None:
                self._warm(found.all_files)

    def located(self, source: str) -> PulledModel | None:
        """Look at the disk, on any thread: no puller is made for it, as that is the loop's to do."""
        from modelswap.catalog.pulled import located  # noqa: PLC0415 - only where a model has a source

        return located(source)

    def start(self, source: str) -> PullProgress:
        if self._puller is None:
            from modelswap.pull.puller import ThreadPuller  # noqa: PLC0415 - as above

            self._puller = ThreadPuller(warm=self._warm)
            for listener in self._listeners:
                self._puller.subscribe(listener)
        return self._puller.start(source)

    def progress(self, source: str) -> PullProgress | None:
        return None if self._puller is None else self._puller.progress(source)

    def pulls(self) -> list[PullProgress]:
        return [] if self._puller is None else self._puller.pulls()

    def cancel(self, source: str) -> bool:
        return self._puller is not None and self._puller.cancel(source)

    def subscribe(self, listener: Callable[[PullProgress], None]) -> None:
        self._listeners.append(listener)
        if self._puller is not None:
            self._puller.subscribe(listener)


class PullFollower:
    def __init__(self, reloader: Reloader, crashed: Callable[[BaseException], None]) -> None:
        self._reloader = reloader
        self._crashed = crashed
        self._arrived: list[str] = []
        self._wanted = asyncio.Event()

    def on_pulled(self, source: str) -> None:
        """Take note that the files of a source are here."""
        self._arrived.append(source)
        self._wanted.set()

    async def run(self, services: Services) -> None:
        """Make the plan complete after each pull."""
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            arrived, self._arrived = self._arrived, []
            try:
                await self._reloader.complete()
            except Exception as bug:  # noqa: BLE001 - outermost handler: the waiting requests are refused
                self._crashed(bug)
            self._tell(services, arrived)

    def _tell(self, services: Services, arrived: list[str]) -> None:
        fleet, plan = services.fleet, services.config.plan
        if not isinstance(fleet, Fleet):  # another process has taken over, and looks by itself
            return
        for source in arrived:
            fleet.gate.pulled(source)
        services.fleet_events.publish_statuses()
        named = {model.pull_name for model in plan.models.values()}
        if plan.discovered is not None and not named.issuperset(arrived):
            self._reloader.wanted.set()  # it has become a found model
