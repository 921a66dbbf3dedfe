"""Folders of models are looked at while the program runs: new and removed files cause a reload.

They are looked at, as the configuration is (docs/decisions/0005): notifications miss network folders and
what other machines write. A look reads the headers of new files only.
Guarantees: a look runs in a thread of its own, and takes at most `_MOST_SHARE` of it.
Does not: reload; it says that a reload would find other models.
"""

from __future__ import annotations

import asyncio
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from modelswap.config.discover.places import Findings, Places

if TYPE_CHECKING:
    from collections.abc import Callable

    from modelswap.catalog.found import FoundModel
    from modelswap.config.discover.places import Find
    from modelswap.config.discover.settling import Settling, Stamp

INTERVAL: Final = 2.0
"""Seconds between two looks: a new file is served after two of them."""
_MOST_SHARE: Final = 0.02
"""Of one core: a look at very many files is taken less often."""


class ModelWatch:
    """Finds models for each reload, and notices in between that others would be found."""

    def __init__(self, find: Find | None = None, *, every: float = INTERVAL) -> None:
        """*find* looks at the disk; by default a finder that keeps what it learnt of the files."""
        self._find = find
        self._every = every
        self._lock = threading.Lock()
        """One look at a time: a reload may ask for one while the watch looks."""
        self._settling: Settling | None = None
        self._places = Places()
        self._problems: tuple[str, ...] = ()
        self._is_settled = False
        """What counts was settled by a look, and no reload has used it yet."""
        self._wanted = asyncio.Event()

    def find(self, places: Places) -> Findings:
        """Return what a reload serves: what the looks have settled, else all that is there now."""
        with self._lock:
            settling = self._ready()
            if self._is_settled and places == self._places:
                self._is_settled = False
                return Findings(settling.taken, self._problems)
            self._places = places
            found = self._look()
            settling.take(found.models)
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
            if settling.look(self._look().models):
                self._is_settled = True
                return True
            return False

    def _ready(self) -> Settling:
        if self._settling is None:
            from modelswap.config.discover.settling import Settling  # noqa: PLC0415 - only where models are looked for

            self._settling = Settling(_stamp)
        return self._settling

    def _look(self) -> Findings:
        if self._find is None:
            from modelswap.config.discover.finder import Finder  # noqa: PLC0415 - the same

            self._find = Finder().find
        found = self._find(self._places)
        self._problems = found.problems
        return found

    def on_plan(self, *, looks: bool) -> None:
        """Begin or stop to look: the plan in use has found models, or none."""
        if looks:
            self._wanted.set()
        else:
            self._wanted.clear()

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
    found: list[object] = []
    for file in (*model.files, model.mmproj):
        if file is not None:
            with suppress(OSError, ValueError):
                stat = file.stat()
                found.append((str(file), stat.st_mtime_ns, stat.st_size, stat.st_ino))
    return tuple(found)
