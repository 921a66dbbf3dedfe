"""Joins what is known of a model's memory into its need: declared, else learned, else predicted, else unknown.

RAM and GPUs are looked at apart: what the configuration does not declare of one, was not measured there, or is not
predicted, comes from the next source.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final, NamedTuple

from modelswap.core.placement.policy import RAM, UNKNOWN_NEED, DeviceId, Need, NeedSource
from modelswap.units import Bytes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .estimate import Estimate
    from .learned import LearnedNeed

GPU: Final = DeviceId("gpu")
"""In a declared need: on whichever GPU the model gets."""

Declared = Mapping[DeviceId, Bytes] | Bytes | None
"""By device; a bare size is that on the GPUs, or of `ram` where there are none."""


class _Figure(NamedTuple):
    """What one source says of RAM, or of the GPUs."""

    source: NeedSource
    fixed: Mapping[DeviceId, Bytes]
    movable: Bytes = Bytes(0)


_ORDER: Final = list(NeedSource)


def need_of(
    *,
    declared: Declared = None,
    learned: LearnedNeed | None = None,
    predicted: Estimate | None = None,
    gpus: Sequence[DeviceId] = (),
    named: Sequence[DeviceId] = (),
    measured: Mapping[DeviceId, Bytes] | None = None,
) -> Need:
    """Return the need of one model.

    *gpus*: those of this machine; without any, all memory is in `ram`. *named*: those that the command names, so that
    its GPU memory is fixed there; empty: those of *predicted*, else it is movable. *measured*: what it holds now;
    a need that is not declared is at least that.
    """
    named = named or ((predicted.devices if predicted else ()) if gpus else ())
    ram = _ram(declared, learned, predicted, has_gpus=bool(gpus))
    on_gpus = (
        _on_gpus(declared, learned, predicted, named) if gpus else _Figure(NeedSource.DECLARED, {})
    )
    if ram is None or on_gpus is None:
        return UNKNOWN_NEED
    sources = [figure.source for figure in (ram, on_gpus) if gpus or figure is ram]
    if isinstance(declared, int) and gpus:
        sources = [on_gpus.source]  # the size of a model on GPUs says all that was asked for
    need = Need(
        fixed={**ram.fixed, **on_gpus.fixed},
        movable=on_gpus.movable,
        source=max(sources, key=_ORDER.index),
    )
    return need if declared is not None or not measured else _at_least(need, measured)


def _ram(
    declared: Declared, learned: LearnedNeed | None, predicted: Estimate | None, *, has_gpus: bool
) -> _Figure | None:
    if isinstance(declared, Mapping) and (RAM in declared or not has_gpus):
        declared_size = declared[RAM] if has_gpus else Bytes(sum(declared.values()))
        return _Figure(NeedSource.DECLARED, {RAM: declared_size})
    if isinstance(declared, int) and not has_gpus:
        return _Figure(NeedSource.DECLARED, {RAM: Bytes(declared)})
    if learned is not None and learned.on(RAM):
        return _Figure(NeedSource.LEARNED, {RAM: learned.on(RAM)})
    if predicted is not None:
        size = predicted.ram if has_gpus else predicted.ram + predicted.gpu
        return _Figure(NeedSource.PREDICTED, {RAM: Bytes(size)})
    return None if declared is None else _Figure(NeedSource.DECLARED, {})


def _on_gpus(
    declared: Declared,
    learned: LearnedNeed | None,
    predicted: Estimate | None,
    named: Sequence[DeviceId],
) -> _Figure | None:
    if isinstance(declared, int):
        return _placed(NeedSource.DECLARED, Bytes(declared), named)
    if declared is not None and any(device != RAM for device in declared):
        fixed = {device: size for device, size in declared.items() if device not in (RAM, GPU)}
        rest = _placed(NeedSource.DECLARED, declared.get(GPU, Bytes(0)), named)
        return rest._replace(fixed={**rest.fixed, **fixed})
    if learned is not None and learned.is_measured_on_gpus:
        if named:
            fixed = {device: learned.on(device) for device in named}
            return _Figure(NeedSource.LEARNED, fixed)
        return _Figure(NeedSource.LEARNED, {}, learned.gpu)
    if predicted is not None:
        return _placed(NeedSource.PREDICTED, predicted.gpu, named)
    return None if declared is None else _Figure(NeedSource.DECLARED, {})


def _placed(source: NeedSource, size: Bytes, named: Sequence[DeviceId]) -> _Figure:
    """Spread a size evenly over the GPUs that are named; movable where none is."""
    if not named:
        return _Figure(source, {}, size)
    part = -(-size // len(named))
    return _Figure(source, dict.fromkeys(named, Bytes(part)) if size else {})


def _at_least(need: Need, measured: Mapping[DeviceId, Bytes]) -> Need:
    fixed = {
        device: Bytes(max(size, measured.get(device, 0))) for device, size in need.fixed.items()
    }
    if all(device == RAM for device in fixed):  # it may be on any GPU
        moved = Bytes(sum(size for device, size in measured.items() if device != RAM))
        return Need(fixed=fixed, movable=max(need.movable, moved), source=need.source)
    return Need(fixed=fixed, movable=need.movable, source=need.source)


class Comparison(NamedTuple):
    """Predicted against measured, of `ram` or of all GPUs together; bytes."""

    where: DeviceId
    predicted: Bytes
    measured: Bytes

    @property
    def error(self) -> float | None:
        """How far the prediction is off, as a share of what was measured: 0.1 is 10 % too much."""
        return self.predicted / self.measured - 1 if self.measured else None


def compared(
    predicted: Estimate | None, learned: LearnedNeed | None, *, has_gpus: bool
) -> tuple[Comparison, ...]:
    """Set a prediction beside what was measured; empty where one of them is missing."""
    if predicted is None or learned is None or RAM not in learned.peaks:
        return ()
    ram = learned.peaks[RAM]
    if not has_gpus:
        return (Comparison(RAM, Bytes(predicted.ram + predicted.gpu), Bytes(ram)),)
    found = [Comparison(RAM, predicted.ram, Bytes(ram))]
    on_gpus = [size for device, size in learned.peaks.items() if device != RAM]
    if on_gpus:
        found.append(Comparison(GPU, predicted.gpu, Bytes(sum(on_gpus))))
    return tuple(found)
