"""What is known of each model server's memory, from its start or adoption until it has exited.

Units: bytes; seconds of the loop's clock.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from modelswap.core.placement.policy import ANYWHERE, DeviceId
from modelswap.memory.measuring import Measurement
from modelswap.units import Bytes

from . import accounting

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from modelswap.core.placement.policy import Need, Placement
    from modelswap.devices.memory import DeviceMemory
    from modelswap.memory.measuring import Sample
    from modelswap.units import Seconds


class Run:
    """One server."""

    def __init__(
        self,
        started: Seconds,
        placement: Placement = ANYWHERE,
        before: Sequence[DeviceMemory] = (),
        *,
        is_from_start: bool = False,
    ) -> None:
        """*before*: the devices just before the start. Not *is_from_start*: it was found running."""
        self.measurement = Measurement(started, before)
        self.placement = placement
        self.is_from_start = is_from_start
        self.held: Mapping[DeviceId, Bytes] = dict(placement.promised)
        """What it is counted for: the larger of measured and promised."""
        self.stopping_since: Seconds | None = None
        self._used: Seconds | None = None
        """When a request of it had ended, as far as the measurement was told."""
        self._own: Mapping[DeviceId, Bytes] = {}

    @property
    def is_ready(self) -> bool:
        return self.measurement.load is not None

    @property
    def own(self) -> Mapping[DeviceId, Bytes]:
        """What no other program can have: not the pages of files. Where nothing is told, what it counts for."""
        return {**self.held, **self._own}

    def note_use(self, used: Seconds) -> None:
        """Learn when it was used last: when it became ready, or its last request ended."""
        if self.is_ready and used != self._used:
            if self._used is not None:
                self.measurement.on_request_ended()
            self._used = used

    def on_stopping(self, now: Seconds) -> None:
        """Count it as it is until it has exited: drivers give memory back late."""
        if self.stopping_since is None:
            self.stopping_since = now

    def on_sample(self, begun: Seconds, sample: Sample) -> None:
        if self.stopping_since is not None and begun >= self.stopping_since:
            return
        self.measurement.on_sample(begun, sample)
        told = {} if sample.is_elsewhere else sample.held.own
        own = {DeviceId(device): Bytes(size) for device, size in told.items()}
        self._own = {**self.measurement.held, **own}

    def count(self, need: Need) -> None:
        """Count it for what it holds, and for what it needs."""
        if self.stopping_since is None:
            measured = self.measurement.held
            self.held = accounting.larger(
                measured, accounting.promised(need, self.placement, measured)
            )
