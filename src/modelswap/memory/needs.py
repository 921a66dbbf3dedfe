"""Joins what is known of a model's memory into its need: declared, else learned, else predicted, else unknown.

RAM and GPUs are looked at apart: what the configuration does not declare of one, was not measured there, or is not
predicted, comes from the next source.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from modelswap.core.placement.memory.declared import ANY_DEVICE, ANY_GPU
from modelswap.core.placement.policy import RAM, UNKNOWN_NEED, DeviceId, Need, NeedSource
from modelswap.units import Bytes

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from .estimate import Estimate
    from .learned import LearnedNeed


class _Figure(NamedTuple):
    """What one source says of RAM, or of the GPUs."""

    source: NeedSource
    fixed: Mapping[DeviceId, Bytes]
    movable: Bytes = Bytes(0)


_ORDER: Final = list(NeedSource)


def need_of(
    *,
    declared: Mapping[DeviceId, Bytes] | None = None,
    learned: LearnedNeed | None = None,
    predicted: Estimate | None = None,
    gpus: Sequence[DeviceId] = (),
    measured: Mapping[DeviceId, Bytes] | None = None,
) -> Need:
    """Return the need of one model.

    *gpus*: those of this machine; without any, all memory is in `ram`. *measured*: what it holds now; a need of
    which nothing is declared is at least that.
    """
    said = _by_device(declared or {}, has_gpus=bool(gpus))
    named = predicted.devices if gpus and predicted is not None else ()
    ram = _ram(said, learned, predicted, has_gpus=bool(gpus))
    on_gpus = _on_gpus(said, learned, predicted, named, has_gpus=bool(gpus))
    if said:
        nothing = _Figure(NeedSource.DECLARED, {})
        ram, on_gpus = ram or nothing, on_gpus or nothing
    if ram is None or on_gpus is None:
        return UNKNOWN_NEED
    source = max(ram.source, on_gpus.source, key=_ORDER.index)
    need = Need(
        fixed={**ram.fixed, **on_gpus.fixed},
        movable=on_gpus.movable,
        source=NeedSource.DECLARED if said else source,
    )
    return need if said or not measured else _at_least(need, measured)


def _by_device(said: Mapping[DeviceId, Bytes], *, has_gpus: bool) -> Mapping[DeviceId, Bytes]:
    """Return what is declared, with a device for the size that names none."""
    if ANY_DEVICE not in said:
        return said
    there = ANY_GPU if has_gpus else RAM
    rest = {device: size for device, size in said.items() if device != ANY_DEVICE}
    return {**rest, there: Bytes(rest.get(there, 0) + said[ANY_DEVICE])}


def _ram(
    said: Mapping[DeviceId, Bytes],
    learned: LearnedNeed | None,
    predicted: Estimate | None,
    *,
    has_gpus: bool,
) -> _Figure | None:
    if RAM in said:
        return _Figure(NeedSource.DECLARED, {RAM: said[RAM]})
    if learned is not None and learned.on(RAM):
        return _Figure(NeedSource.LEARNED, {RAM: learned.on(RAM)})
    if predicted is not None:
        size = predicted.ram if has_gpus else predicted.ram + predicted.gpu
        return _Figure(NeedSource.PREDICTED, {RAM: Bytes(size)})
    return None


def _on_gpus(
    said: Mapping[DeviceId, Bytes],
    learned: LearnedNeed | None,
    predicted: Estimate | None,
    named: Sequence[DeviceId],
    *,
    has_gpus: bool,
) -> _Figure | None:
    settled = {device: size for device, size in said.items() if device not in (RAM, ANY_GPU)}
    if (
        settled or ANY_GPU in said
    ):  # also where no GPU is: the policy counts what is movable in `ram`
        rest = _placed(NeedSource.DECLARED, said.get(ANY_GPU, Bytes(0)), named)
        return rest._replace(fixed={**rest.fixed, **settled})
    if not has_gpus:
        return _Figure(NeedSource.DECLARED, {})
    if learned is not None and learned.is_measured_on_gpus:
        if named:
            return _Figure(NeedSource.LEARNED, {device: learned.on(device) for device in named})
        return _Figure(NeedSource.LEARNED, {}, learned.gpu)
    return None if predicted is None else _placed(NeedSource.PREDICTED, predicted.gpu, named)


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
