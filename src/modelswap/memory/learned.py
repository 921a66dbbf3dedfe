"""What is learned of one model: the memory that it took at most, and how long it starts and stops.

Units: bytes, seconds.
"""

from __future__ import annotations

from functools import reduce
from typing import TYPE_CHECKING, Final

import msgspec

from modelswap.core.placement.policy import RAM, DeviceId
from modelswap.units import Bytes, Seconds

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

KEPT_TIMES: Final = 5
"""Last starts and stops: enough for a median that one cold start does not move."""

KEPT_RUNS: Final = 5
"""Last measured runs of which the largest counts: one that took far too much (a leak, a foreign program that was
counted for it) is forgotten after as many others."""


class LearnedNeed(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One model with one command; an update makes a new record."""

    runs: tuple[dict[str, int], ...] = ()
    """The peaks of the last runs, by device, of those that could be measured; the newest last."""
    first: dict[str, int] = {}
    """What the last run held after its first request: with so much it can serve. It may have grown since."""
    corrected: dict[str, int] = {}
    """By device: what it needs at least, after it ran out of memory there. Until it is measured again."""
    loads: tuple[float, ...] = ()
    """From the order to start until it was ready, the newest last."""
    stops: tuple[float, ...] = ()
    last_seen: float = 0.0
    """Seconds since 1970, when it ran."""

    @property
    def peaks(self) -> dict[str, int]:
        """The largest of `runs`, by device."""
        return reduce(_larger, self.runs, {})

    @property
    def is_measured_on_gpus(self) -> bool:
        """Whether its GPU memory could be measured, if only as none."""
        return any(device != RAM for device in (*self.peaks, *self.corrected))

    @property
    def gpu(self) -> Bytes:
        """What it needs on all GPUs together, wherever it ran."""
        sums = (
            sum(size for device, size in one.items() if device != RAM)
            for one in (self.peaks, self.corrected)
        )
        return Bytes(max(sums))

    def on(self, device: DeviceId) -> Bytes:
        return Bytes(max(self.peaks.get(device, 0), self.corrected.get(device, 0)))

    @property
    def reload(self) -> Seconds | None:
        """How long a stop and a start usually take together; `None`: it never started."""
        if not self.loads:
            return None
        return Seconds(_median(self.loads) + (_median(self.stops) if self.stops else 0.0))

    def with_peaks(
        self, peaks: Mapping[DeviceId, Bytes], now: float, *, is_new_run: bool
    ) -> LearnedNeed:
        """Return it with the peaks of one run; of the last runs the larger figure counts on each device."""
        runs = self.runs
        before, last = (runs, {}) if is_new_run or not runs else (runs[:-1], runs[-1])
        this = _larger(last, {str(device): int(size) for device, size in peaks.items()})
        return msgspec.structs.replace(
            self,
            runs=(*before, this)[-KEPT_RUNS:],
            first=this if is_new_run else self.first,
            corrected={d: size for d, size in self.corrected.items() if d not in peaks},
            last_seen=now,
        )

    def with_correction(self, device: DeviceId, size: Bytes, now: float) -> LearnedNeed:
        """Return it after it ran out of memory on a device where it was given less than *size*."""
        least = max(size, self.corrected.get(device, 0))
        corrected = {**self.corrected, device: least}
        return msgspec.structs.replace(self, corrected=corrected, last_seen=now)

    def with_load(self, seconds: Seconds, now: float) -> LearnedNeed:
        loads = (*self.loads, float(seconds))[-KEPT_TIMES:]
        return msgspec.structs.replace(self, loads=loads, last_seen=now)

    def with_stop(self, seconds: Seconds, now: float) -> LearnedNeed:
        stops = (*self.stops, float(seconds))[-KEPT_TIMES:]
        return msgspec.structs.replace(self, stops=stops, last_seen=now)


def _median(times: Sequence[float]) -> float:
    """As that of `statistics`, which the start of the program does not need to wait for."""
    ordered, half = sorted(times), len(times) // 2
    return (ordered[half] + ordered[~half]) / 2


def _larger(old: Mapping[str, int], new: Mapping[str, int]) -> dict[str, int]:
    """Return the larger of both on each device.

    On other GPUs the new figures count: the model was placed elsewhere, and the old ones are of the same bytes.
    """
    here = _gpus(new)
    is_moved = bool(here) and here != _gpus(old)
    merged = {one: size for one, size in old.items() if one == RAM or not is_moved}
    return {**merged, **{one: max(size, merged.get(one, 0)) for one, size in new.items()}}


def _gpus(devices: Mapping[str, int]) -> set[str]:
    return {device for device, size in devices.items() if device != RAM and size}
