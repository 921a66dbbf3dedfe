"""All pulls of the program: each source once at a time, two at once, the others in a queue.

Guarantees: its methods belong to the event loop and never wait; the work runs on threads, which take
nothing with them when the program ends: what came is on disk, and the next pull goes on from there.
Does not: import what downloads until the first pull.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from contextlib import suppress
from dataclasses import field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from modelswap.catalog.pull_source import canonical, parse_source
from modelswap.deferred import dataclass

from .failures import PullError
from .progress import PullFailure, PullProgress
from .timing import PullTiming
from .watch import PullWatch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from modelswap.catalog.pulled import PulledModel
    from modelswap.catalog.pulls.places import Places
    from modelswap.units import Bytes

    Listener = Callable[[PullProgress], None]

MOST_AT_ONCE: Final = 2
"""Pulls: one fills most lines; a second one keeps a small model from waiting for a large one."""
_TOLD_EVERY: Final = 0.25
"""Seconds between two looks at the progress: a bar moves, and listeners have little to do."""
_MOST_ENDED: Final = 64
"""Ended pulls that are remembered."""
_QUEUED: Final = f"waits: {MOST_AT_ONCE} other models are being pulled"


@dataclass(slots=True)
class _Run:
    source: str
    """In canonical form."""
    given: str = field(repr=False)
    """As it was given: it may hold a secret."""
    watch: PullWatch
    told: PullProgress | None = None
    """What the listeners know."""

    @property
    def is_over(self) -> bool:
        return self.watch.is_over


class ThreadPuller:
    """`warm` is told the files of each model that was pulled, on the pull's thread."""

    def __init__(
        self,
        *,
        places: Places | None = None,
        timing: PullTiming | None = None,
        free: Callable[[Path], Bytes] | None = None,
        warm: Callable[[Iterable[Path]], None] | None = None,
    ) -> None:
        self._places = places
        self._timing = timing or PullTiming()
        self._free = free
        self._warm = warm
        self._runs: dict[str, _Run] = {}
        """By canonical source; the ones that began last are at the end."""
        self._queue: deque[_Run] = deque()
        self._threads = 0
        self._listeners: list[Listener] = []
        self._timer: asyncio.TimerHandle | None = None

    def located(self, source: str) -> PulledModel | None:
        """Return the model if all its files are here; it reads the disk: never on the event loop."""
        from modelswap.catalog.pulls.local import locate  # noqa: PLC0415 - only where a model has a source

        return locate(parse_source(source), self._usual_places())

    def start(self, source: str) -> PullProgress:
        """Begin to pull, or join the pull that runs; `ValueError`: the text names no source."""
        key = canonical(source)
        run = self._runs.get(key)
        if run is None or run.is_over:
            self._runs.pop(key, None)
            run = self._runs[key] = _Run(key, source, PullWatch(key, self._timing))
            if self._threads >= MOST_AT_ONCE:
                run.watch.queue(_QUEUED)
            self._queue.append(run)
            self._begin()
            self._tell(run)
            self._look_again()
        return run.watch.progress()

    def progress(self, source: str) -> PullProgress | None:
        run = self._runs.get(canonical(source))
        return run.watch.progress() if run else None

    def pulls(self) -> list[PullProgress]:
        return [run.watch.progress() for run in self._runs.values()]

    def cancel(self, source: str) -> bool:
        run = self._runs.get(canonical(source))
        if run is None or run.is_over:
            return False
        run.watch.cancel()
        with suppress(ValueError):
            self._queue.remove(run)
        self._tell(run)
        return True

    def subscribe(self, listener: Listener) -> None:
        self._listeners.append(listener)

    def close(self) -> None:
        """Stop all pulls; what came is kept."""
        for run in self._runs.values():
            run.watch.cancel()
        self._queue.clear()
        self._listeners.clear()

    def _begin(self) -> None:
        loop = asyncio.get_running_loop()
        while self._queue and self._threads < MOST_AT_ONCE:
            run = self._queue.popleft()
            self._threads += 1
            threading.Thread(target=self._work, args=(run, loop), name="pull", daemon=True).start()

    def _work(self, run: _Run, loop: asyncio.AbstractEventLoop) -> None:
        """Pull, on a thread."""
        try:
            self._pull(run)
        except Exception as problem:  # noqa: BLE001 - the outermost handler of this thread
            text = f"{run.source}: modelswap has a defect here ({_where(problem)})"
            run.watch.fail(PullError(PullFailure.DAMAGED, text))
        with suppress(RuntimeError):  # the loop is closed
            loop.call_soon_threadsafe(self._on_end, run)

    def _pull(self, run: _Run) -> None:
        from .job import PullJob  # noqa: PLC0415 - brings huggingface_hub, which takes half a second

        source = parse_source(run.given)
        model = PullJob(source, self._usual_places(), self._timing, run.watch, self._free).run()
        if model is not None and self._warm is not None:
            self._warm(model.all_files)

    def _usual_places(self) -> Places:
        from modelswap.catalog.pulls.places import Places  # noqa: PLC0415 - only where a model has a source

        return self._places or Places.usual()

    def _on_end(self, run: _Run) -> None:
        self._threads -= 1
        self._forget()
        self._begin()
        self._tell(run)

    def _forget(self) -> None:
        ended = [key for key, run in self._runs.items() if run.is_over]
        for key in ended[:-_MOST_ENDED]:
            del self._runs[key]

    def _look_again(self) -> None:
        if self._timer is None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(_TOLD_EVERY, self._look)

    def _look(self) -> None:
        self._timer = None
        going_on = [run for run in self._runs.values() if not run.is_over]
        if going_on:
            self._look_again()
        for run in going_on:
            self._tell(run)

    def _tell(self, run: _Run) -> None:
        now = run.watch.progress()
        if now != run.told:
            run.told = now
            for listener in self._listeners:
                listener(now)


def _where(problem: Exception) -> str:
    """Return kind and place of an unexpected exception; its own text may hold an address with a secret."""
    frame = problem.__traceback__
    while frame is not None and frame.tb_next is not None:
        frame = frame.tb_next
    place = f", {Path(frame.tb_frame.f_code.co_filename).name}:{frame.tb_lineno}" if frame else ""
    return type(problem).__name__ + place
