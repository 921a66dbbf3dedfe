"""Reads again and again: when asked, and at the times that were set; one reading at a time.

Guarantees: a reading that was asked for while another one is under way begins after it. None begins after
`close`.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final, NamedTuple

from modelswap.units import Seconds

from .reading import Reading, read

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Mapping

    from modelswap.core.spec import ModelId

    from .reading import MemoryReader
    from .worker import Worker

FRESH: Final = Seconds(0.2)
"""A load is decided by a reading that is not older: other programs take memory at any time, and a reading
costs a hundredth of the load."""

PATIENCE: Final = Seconds(10.0)
"""Until a reading that does not end is told: a driver without persistence takes a second or more for each GPU
at its first answer."""


class Subjects(NamedTuple):
    """What one reading is about."""

    servers: Mapping[ModelId, int]
    """Model → pid."""
    with_holders: bool
    """Also find out which other programs hold memory."""


class Readings:
    def __init__(
        self,
        reader: MemoryReader,
        worker: Worker,
        loop: asyncio.AbstractEventLoop,
        *,
        subjects: Callable[[], Subjects],
        on_reading: Callable[[Reading, Mapping[ModelId, int], Seconds], None],
        on_end: Callable[[], None],
        on_trouble: Callable[[str], None],
    ) -> None:
        """*on_reading* gets the reading, whom it is about, and when it began.

        *on_end* is called after each reading, also one that failed, unless another one follows at once.
        """
        self._reader = reader
        self._worker = worker
        self._loop = loop
        self._subjects = subjects
        self._on_reading = on_reading
        self._on_end = on_end
        self._on_trouble = on_trouble
        self._timer: asyncio.TimerHandle | None = None
        self._patience: asyncio.TimerHandle | None = None
        self._is_reading = self._is_closed = False
        self._is_wanted = False
        """Again, after the reading that is under way."""
        self.read_at: Seconds | None = None
        """When the last one ended, also one that failed; `None`: none has."""
        self.problem = ""
        """Why the last one failed; empty: it did not."""

    @property
    def now(self) -> Seconds:
        return Seconds(self._loop.time())

    @property
    def is_fresh(self) -> bool:
        return self.read_at is not None and self.now - self.read_at <= FRESH

    def read(self) -> None:
        """Begin a reading, now or after the one that is under way."""
        if self._is_closed:
            return
        self._is_wanted = self._is_reading
        if self._is_reading:
            return
        self._is_reading = True
        self.cancel()
        self._patience = self._loop.call_later(PATIENCE, self._on_late)
        servers, with_holders = self._subjects()
        self._worker.run(
            partial(read, self._reader, servers, with_holders=with_holders),
            partial(self._on_done, servers, self.now),
            self._on_failed,
        )

    def call_later(self, delay: Seconds, call: Callable[[], None]) -> None:
        """Call after *delay* unless a reading begins before; replaces an earlier call."""
        self.cancel()
        if not (self._is_closed or self._is_reading):
            self._timer = self._loop.call_later(delay, call)

    def cancel(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def close(self) -> None:
        self._is_closed = True
        self.cancel()
        self._forget_patience()

    def _forget_patience(self) -> None:
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None

    def _on_late(self) -> None:
        self.problem = f"no answer for {PATIENCE:g} s"
        self._on_trouble(self.problem)

    def _on_done(self, servers: Mapping[ModelId, int], begun: Seconds, reading: Reading) -> None:
        self.problem = ""
        self._end(partial(self._on_reading, reading, servers, begun))

    def _on_failed(self, error: Exception) -> None:
        text = str(error) or repr(error)
        is_new, self.problem = text != self.problem, text
        self._end(partial(self._on_trouble, text) if is_new else _nothing)

    def _end(self, tell: Callable[[], None]) -> None:
        self._is_reading = False
        self._forget_patience()
        self.read_at = self.now
        tell()
        if self._is_wanted:
            self.read()
        else:
            self._on_end()


def _nothing() -> None:
    """The same failure as before: it was told."""
