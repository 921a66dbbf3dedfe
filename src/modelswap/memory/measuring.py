"""Measures what one model server takes, from the order to start it until it has exited.

A driver (fleet) tells a `Measurement` what happens, takes a `Sample` on a thread whenever `next_sample` says so, and
stores what `worth_storing` returns.

Guarantees: a `Measurement` reads no clock and no device. A model at rest is not sampled.
Does not: count pages of files while the server loads: a load may read through files that it does not keep.
Units: bytes; seconds of one clock.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from modelswap.core.placement.policy import RAM, DeviceId
from modelswap.units import Bytes, Seconds

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from modelswap.devices.capacity.reader import Held
    from modelswap.devices.memory import DeviceMemory

WHILE_LOADING: Final = Seconds(1.0)
"""Between two samples: a load's peak lasts longer, unless the load itself takes no longer."""
WHILE_USED: Final = Seconds(5.0)
"""Between two samples: memory grows by long contexts and leaks, over many requests."""
GROWTH: Final = 0.01
"""Of what was stored; a smaller growth is not worth a write."""
LEAST_GROWTH: Final = Bytes(16 << 20)
"""The same for small models."""


class Sample(NamedTuple):
    """What a server holds at one moment."""

    held: Held
    is_elsewhere: bool = False
    """Its processes say nothing: they are a client's of a container."""
    devices: Sequence[DeviceMemory] = ()
    """All devices."""


def growth(before: Sequence[DeviceMemory], now: Sequence[DeviceMemory]) -> dict[DeviceId, Bytes]:
    """Return by how much the used bytes of each device have grown; a device of one reading is left out."""
    used = {device.id: device.total - device.free for device in before}
    return {
        DeviceId(device.id): Bytes(max(0, device.total - device.free - used[device.id]))
        for device in now
        if device.id in used
    }


class Measurement:
    """Of one run of one model server."""

    def __init__(self, started: Seconds, before: Sequence[DeviceMemory] = ()) -> None:
        """*before*: the devices just before the start, for those that do not tell what a process holds."""
        self._started = started
        self._before = before
        self._ready: Seconds | None = None
        self._sampled: Seconds | None = None
        self._is_settled = False
        """A request has ended, and a sample was taken since."""
        self._has_worked = False
        """A request has ended since the last sample."""
        self._peaks: dict[DeviceId, Bytes] = {}
        self._stored: dict[DeviceId, Bytes] = {}
        self.held: Mapping[DeviceId, Bytes] = {}
        """At the last sample."""
        self.reclaimable = Bytes(0)
        """Pages of files that are not counted, as far as they are resident: their content was copied."""

    @property
    def load(self) -> Seconds | None:
        """How long it loaded; `None`: it does still, or never finished."""
        return None if self._ready is None else Seconds(self._ready - self._started)

    @property
    def is_measured(self) -> bool:
        """Whether a sample was begun since the server was ready."""
        if self._ready is None or self._sampled is None:
            return False
        return self._sampled >= self._ready

    @property
    def is_served(self) -> bool:
        """Whether a request has ended."""
        return self._is_settled or self._has_worked

    @property
    def peaks(self) -> Mapping[DeviceId, Bytes]:
        return self._peaks

    def on_others_changed(self) -> None:
        """Another of our servers started, stopped or grew: totals say nothing of this one any more."""
        self._before = ()

    def on_ready(self, now: Seconds) -> None:
        self._ready = now

    def on_request_ended(self) -> None:
        self._has_worked = True

    def next_sample(self, now: Seconds, *, in_flight: int = 0) -> Seconds | None:
        """Return how long to wait until the next sample; `None`: until it works again."""
        if self._ready is None:
            pause = WHILE_LOADING
        elif not self.is_measured:
            return Seconds(0.0)
        elif self._has_worked and not self._is_settled:
            return Seconds(0.0)  # nothing can be stored before it
        elif self._has_worked or in_flight:
            pause = WHILE_USED
        else:
            return None
        since = self._started if self._sampled is None else self._sampled
        return Seconds(max(0.0, since + pause - now))

    def on_sample(self, now: Seconds, sample: Sample) -> None:
        """Take a sample that was begun at *now*."""
        is_ready = self._ready is not None and self._ready <= now
        self.held = self._figures(sample)
        counted = dict(self.held)
        if not is_ready and RAM in counted:
            counted[RAM] = Bytes(sample.held.own[RAM])
        for device, size in counted.items():
            self._peaks[device] = max(size, self._peaks.get(device, Bytes(0)))
        self._sampled = now
        if is_ready:
            self._is_settled = self.is_served
            self._has_worked = False

    def _figures(self, sample: Sample) -> dict[DeviceId, Bytes]:
        figures: dict[DeviceId, Bytes] = {}
        if not sample.is_elsewhere:
            figures = {DeviceId(one): Bytes(size) for one, size in sample.held.by_device.items()}
            if RAM in figures:
                copied = min(self.reclaimable, sample.held.file_pages)
                figures[RAM] = Bytes(figures[RAM] - copied)
        if self._ready is not None and self._before:
            return {**growth(self._before, sample.devices), **figures}
        kept = {device: size for device, size in self.held.items() if device not in figures}
        return {**kept, **figures}  # what only the totals told is not measured again

    def worth_storing(self) -> Mapping[DeviceId, Bytes] | None:
        """Return the peaks when they say something new: after the first request, and when they have grown."""
        if not self._is_settled:
            return None
        is_new = any(_has_grown(self._stored.get(d), size) for d, size in self._peaks.items())
        return dict(self._peaks) if is_new else None

    @property
    def is_stored(self) -> bool:
        """Whether something of this run was stored already."""
        return bool(self._stored)

    def on_stored(self, peaks: Mapping[DeviceId, Bytes]) -> None:
        self._stored = dict(peaks)


def _has_grown(stored: Bytes | None, size: Bytes) -> bool:
    return stored is None or size > stored + max(LEAST_GROWTH, GROWTH * stored)
