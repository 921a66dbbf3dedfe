"""One pull from its source to a model on disk; runs on a thread of its own."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, assert_never

import httpx2

from modelswap import __version__
from modelswap.catalog.pull_source import HubSource, OllamaSource, UrlSource
from modelswap.catalog.pulls.local import locate

from .failures import PullCancelledError, PullError, not_written
from .progress import PullFailure
from .sources.hub import HubPlanner
from .sources.ollama import OllamaPlanner
from .sources.url import UrlPlanner
from .transfer.fetch import fetch
from .transfer.room import Room

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from modelswap.catalog.pull_source import PullSource
    from modelswap.catalog.pulls.model import PulledModel
    from modelswap.catalog.pulls.places import Places
    from modelswap.units import Bytes

    from .sources.plan import Planner, PullPlan
    from .timing import PullTiming
    from .watch import PullWatch

_UNREACHED = frozenset({PullFailure.NETWORK, PullFailure.OFFLINE, PullFailure.RATE_LIMITED})
"""Failures of asking which files there are, after which a model that is here whole still serves."""


@dataclass(frozen=True, slots=True)
class PullJob:
    source: PullSource
    places: Places
    timing: PullTiming
    watch: PullWatch
    free: Callable[[Path], Bytes] | None = None
    """How many bytes the file system of a folder has left; by default it is asked."""

    def run(self) -> PulledModel | None:
        """Pull, and tell the watch how it ended; return the model where it is here now."""
        self.watch.begin()
        try:
            note = self._pull()
            model = self._found()
        except PullCancelledError:
            return None
        except PullError as error:
            self.watch.fail(error)
            return None
        self.watch.finish(note)
        return model

    def _found(self) -> PulledModel:
        model = locate(self.source, self.places)
        if model is None:
            text = f"{self.source.text}: all files came, and they are no whole model"
            raise PullError(PullFailure.DAMAGED, text)
        return model

    def _pull(self) -> str:
        """Return what a reader should know of a pull that went well."""
        with ExitStack() as stack:
            try:
                client = stack.enter_context(self._client())
                plan = self._planner().plan(client, self.watch, self.timing)
            except PullError as error:
                if error.failure in _UNREACHED and locate(self.source, self.places):
                    return f"is here already; whether it is the newest is not known: {error.text}"
                raise
            self._download(plan, client)
        return "" if plan.downloads else "was here already"

    def _client(self) -> httpx2.Client:
        timeout = httpx2.Timeout(self.timing.silence, connect=self.timing.connect)
        agent = {"User-Agent": f"modelswap/{__version__}"}
        try:
            return httpx2.Client(timeout=timeout, follow_redirects=True, headers=agent)
        except ImportError:
            text = "a SOCKS proxy (ALL_PROXY, HTTPS_PROXY) needs a package: pip install socksio"
        except (ValueError, httpx2.InvalidURL):
            text = "ALL_PROXY, HTTPS_PROXY or HTTP_PROXY is no address such as http://host:3128"
        except OSError as problem:
            text = f"the certificates in SSL_CERT_FILE or SSL_CERT_DIR: {problem.strerror}"
        raise PullError(PullFailure.NETWORK, text)

    def _download(self, plan: PullPlan, client: httpx2.Client) -> None:
        self.watch.download(plan.files)
        room = Room(plan.folder, self.free)
        room.need(sum(download.missing for download in plan.downloads))
        for download in plan.downloads:
            fetch(download, client, self.watch, self.timing, room)
        self.watch.check()
        try:
            plan.finish()
        except OSError as problem:
            raise not_written(problem, plan.folder) from None

    def _planner(self) -> Planner:
        match self.source:
            case HubSource():
                return HubPlanner(self.source, self.places)
            case OllamaSource():
                return OllamaPlanner(self.source, self.places)
            case UrlSource():
                return UrlPlanner(self.source, self.places)
            case _ as never:
                assert_never(never)
