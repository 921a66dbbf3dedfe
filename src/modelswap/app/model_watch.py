"""Folders of models are looked at while the program runs: new and removed files cause a reload.

They are looked at, as the configuration is (docs/decisions/0005): notifications miss network folders and
what other machines write. A look at the directories tells whether the files have to be looked at.
Guarantees: a look runs in a thread of its own, and takes at most `_MOST_SHARE` of it.
Does not: reload; it says that a reload would find other models.
"""

from __future__ import annotations

import asyncio
import threading
import time
from contextlib import suppress
from math import inf
from typing import TYPE_CHECKING, Final, Protocol

from modelswap.config.discover.disk.places import Findings, Places
from modelswap.config.source.watching import stamps

if TYPE_CHECKING:
    from collections.abc import Callable

    from modelswap.catalog.found import FoundModel
    from modelswap.config.discover.disk.settling import Settling, Stamp

INTERVAL: Final = 2.0
"""Seconds between two looks: a new file is served after two of them."""
_LONGEST_TRUST: Final = 60.0
"""Seconds after which the files are looked at anyway: a file system's clock may be coarse. So many are
between two reloads for models that a rejected one did not bring."""
_MOST_SHARE: Final = 0.02
"""Of one core: a look at very many files is taken less often."""


class ModelFinder(Protocol):
    """Looks at the disk."""

    def find(self, places: Places, /) -> Findings: ...

    def stamp(self, places: Places, /) -> int: ...


class ModelWatch:
    """Finds models for each reload, and notices in between that others would be found."""

    def __init__(self, finder: ModelFinder | None = None, *, every: float = INTERVAL) -> None:
        """*finder* looks at the disk; by default one that keeps what it learnt of the files."""
        self._finder = finder
        self._every = every
        self._lock = threading.Lock()
        """One look at a time: a reload may ask for one while the watch looks."""
        self._settling: Settling | None = None
        self._places = Places()
        self._problems: tuple[str, ...] = ()
        self._stamp: int | None = None
        self._looked_at = 0.0
        self._is_settled = False
        """What counts was settled by a look, and no reload has used it yet."""
        self._offered: tuple[FoundModel, ...] = ()
        """What the last reload that came so far was given."""
        self._in_use: tuple[FoundModel, ...] = ()
        self._retry_at = inf
        """When a reload is wanted again: the last one was rejected, and would have changed the models."""
        self._wanted = asyncio.Event()

    def find(self, places: Places) -> Findings:
        """Return what a reload serves: what the looks have settled, else all that is there now."""
        with self._lock:
            settling = self._ready()
            if self._is_settled and places == self._places:
                self._is_settled = False
                found = Findings(settling.taken, self._problems)
            else:
                self._places = places
                found = self._look()
                settling.take(found.models)
            self._offered = found.models
            return found

    def known(self, places: Places) -> Findings:
        """Return what counts, without a look."""
        _ = places
        with self._lock:
            return Findings(self._ready().taken, self._problems)

    def has_changed(self) -> bool:
        """Look; tell whether a reload would find other models."""
        with self._lock:
            settling = self._ready()
            if time.monotonic() >= self._retry_at:
                settling.look(self._look().models)
                self._is_settled, self._retry_at = True, inf
                return True
            if settling.is_settled and not self._may_have_changed():
                return False
            if settling.look(self._look().models):
                self._is_settled = True
                return True
            return False

    def _ready(self) -> Settling:
        if self._settling is None:
            from modelswap.config.discover.disk.settling import Settling  # noqa: PLC0415 - only where models are looked for

            self._settling = Settling(_stamp)
        return self._settling

    def _look(self) -> Findings:
        finder = self._ready_finder()
        self._looked_at = time.monotonic()
        self._stamp = finder.stamp(self._places)
        found = finder.find(self._places)
        self._problems = found.problems
        return found

    def _may_have_changed(self) -> bool:
        is_old = time.monotonic() - self._looked_at > _LONGEST_TRUST
        return is_old or self._ready_finder().stamp(self._places) != self._stamp

    def _ready_finder(self) -> ModelFinder:
        if self._finder is None:
            from modelswap.config.discover.disk.finder import Finder  # noqa: PLC0415 - the same

            self._finder = Finder()
        return self._finder

    def on_plan(self, *, looks: bool) -> None:
        """Begin or stop to look: the plan that is in use now has found models, or none."""
        self._in_use, self._retry_at = self._offered, inf
        if looks:
            self._wanted.set()
        else:
            self._wanted.clear()

    def on_rejected(self) -> None:
        """Note that a reload was rejected: models that it would have brought are offered again, later."""
        is_lost = self._is_settled or self._offered != self._in_use
        self._retry_at = time.monotonic() + _LONGEST_TRUST if is_lost else inf

    async def run(self, changed: Callable[[], None]) -> None:
        """Call `changed` whenever a reload would find other models."""
        while True:
            await self._wanted.wait()
            begun = time.monotonic()
            if await self._has_changed():
                changed()
            await asyncio.sleep(max(self._every, (time.monotonic() - begun) / _MOST_SHARE))

    async def _has_changed(self) -> bool:
        """Look in a thread that delays no exit: a network folder may be gone for good."""
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[bool] = loop.create_future()

        def tell(*, has_changed: bool) -> None:
            if not answer.done():
                answer.set_result(has_changed)

        def look() -> None:
            try:
                has_changed = self.has_changed()
            except OSError:  # the next look may see more
                has_changed = False
            with suppress(RuntimeError):  # the program has ended meanwhile
                loop.call_soon_threadsafe(lambda: tell(has_changed=has_changed))

        threading.Thread(target=look, name="look for models", daemon=True).start()
        return await answer


def _stamp(model: FoundModel) -> Stamp:
    return stamps([file for file in (*model.files, model.mmproj) if file is not None])
