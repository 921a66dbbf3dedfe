"""The need of each model: declared, else learned, else predicted, else unknown.

Guarantees: a mapping that was given out does not change. What is declared is raised only while a start
that ran out of memory is the last that is known of the model.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING

import msgspec

from modelswap.core.placement.memory.declared import ANY_DEVICE, ANY_GPU
from modelswap.core.placement.policy import RAM, UNKNOWN_NEED, Need, NeedSource
from modelswap.memory.learned import LearnedNeed
from modelswap.memory.needs import need_of
from modelswap.units import Bytes, Seconds

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from modelswap.config.plan import Model, Plan
    from modelswap.core.placement.policy import DeviceId, DevicePool
    from modelswap.core.spec import ModelId
    from modelswap.memory.estimate import Estimate
    from modelswap.memory.need_store import NeedStore

    Predict = Callable[[Model, Mapping[DeviceId, Bytes]], Estimate | None]


class ModelNeeds:
    def __init__(self, plan: Plan, store: NeedStore, predict: Predict) -> None:
        """*predict* gets a model and the sizes of the GPUs. It blocks; `prediction` returns a call of it."""
        self._store = store
        self._predict = predict
        self._models = plan.models
        self._gpus: Mapping[DeviceId, Bytes] = {}
        """Sizes."""
        self._alone: Mapping[DeviceId, Bytes] = {}
        """What a model could have of each device if it ran alone."""
        self._predicted: dict[str, Estimate | None] = {}
        """By identity; `None`: nothing can be said."""
        self._measured: dict[ModelId, Mapping[DeviceId, Bytes]] = {}
        """The peaks of servers that run and were measured."""
        self._measured_once: dict[str, Mapping[DeviceId, Bytes]] = {}
        """By identity: the peaks of the last server, for a model that is not learned yet."""
        self.known: Mapping[ModelId, Need] = {}
        """The needs that are not unknown."""
        self.reload: Mapping[ModelId, Seconds] = {}
        """How long a stop and a start take, of each model that was ever started."""

    def replace(self, plan: Plan) -> None:
        """Go on with another configuration."""
        self._models = plan.models
        self.update()

    def on_pools(self, pools: Sequence[DevicePool]) -> None:
        """Learn which devices there are, and what a model could have of each if it ran alone."""
        gpus = {pool.id: pool.total for pool in pools if pool.id != RAM}
        alone = {pool.id: Bytes(max(0, pool.total - pool.reserve)) for pool in pools}
        if (gpus, alone) == (self._gpus, self._alone):
            return
        if gpus != self._gpus:
            self._predicted.clear()
        self._gpus, self._alone = gpus, alone
        self.update()

    def update(self) -> None:
        """Join all anew: the configuration, the store or the devices are others."""
        kept = {m: n for m, n in self.known.items() if m in self._measured}  # a removed one may run
        needs = {model: self._need(model) for model in self._models}
        known = {m: n for m, n in needs.items() if n.source is not NeedSource.UNKNOWN}
        self.known = {**kept, **known}
        self.reload = {m: time for m in self._models if (time := self._reload(m)) is not None}

    def missing_devices(self) -> set[tuple[ModelId, DeviceId]]:
        """Return the devices that models declare a need on, and of which nothing is known."""
        known = {ANY_DEVICE, ANY_GPU, *self._alone}
        return {(one.id, d) for one in self._models.values() for d in one.memory if d not in known}

    def of(self, model: ModelId) -> Need:
        return self.known.get(model, UNKNOWN_NEED)

    def learned(self, model: ModelId) -> LearnedNeed | None:
        found = self._models.get(model)
        return None if found is None else self._store.get(found.identity)

    def _reload(self, model: ModelId) -> Seconds | None:
        learned = self.learned(model)
        return None if learned is None else learned.reload

    # Predictions

    def predicted(self, model: ModelId) -> Estimate | None:
        found = self._models.get(model)
        return None if found is None else self._predicted.get(found.identity)

    def reclaimable(self, model: ModelId) -> Bytes:
        """Return what the model holds of `ram` at most that is no need: pages whose content was copied."""
        estimate = self.predicted(model)
        return Bytes(0) if estimate is None else estimate.reclaimable

    def is_settled(self, model: ModelId) -> bool:
        """Say whether a prediction would not change the need."""
        found = self._models.get(model)
        if found is None or self.is_predicted(model):
            return True
        return ANY_DEVICE in found.memory and not self._gpus  # which GPU it takes is in the command

    def is_predicted(self, model: ModelId) -> bool:
        """Say whether a prediction was tried."""
        found = self._models.get(model)
        return found is None or found.identity in self._predicted

    def identity(self, model: ModelId) -> str:
        """Return what its command is known by; empty: it is not configured."""
        found = self._models.get(model)
        return "" if found is None else found.identity

    def prediction(self, model: ModelId) -> Callable[[], Estimate | None]:
        """Return what predicts, for a thread; *model* is configured."""
        return partial(self._predict, self._models[model], self._gpus)

    def on_predicted(self, identity: str, estimate: Estimate | None) -> None:
        self._predicted[identity] = estimate
        for model in self._models.values():
            if model.identity == identity:
                self._set(model.id)

    # Learning

    def on_measured(self, model: ModelId, peaks: Mapping[DeviceId, Bytes]) -> None:
        """Take what a server that is ready has held at most so far."""
        self._measured[model] = peaks
        self._measured_once[self.identity(model)] = peaks
        self._set(model)

    def on_exited(self, model: ModelId) -> None:
        self._measured.pop(model, None)
        self._set(model)

    def learn(self, model: ModelId, peaks: Mapping[DeviceId, Bytes], *, is_new_run: bool) -> None:
        """Keep the peaks of a server that has served."""
        self._put(model, lambda old, now: old.with_peaks(peaks, now, is_new_run=is_new_run))

    def learn_load(self, model: ModelId, seconds: Seconds) -> None:
        self._put(model, lambda old, now: old.with_load(seconds, now))
        self._set_reload(model)

    def learn_stop(self, model: ModelId, seconds: Seconds) -> None:
        self._put(model, lambda old, now: old.with_stop(seconds, now))
        self._set_reload(model)

    def _set_reload(self, model: ModelId) -> None:
        took = self._reload(model)
        if took is not None:
            self.reload = {**self.reload, model: took}

    def correct(self, model: ModelId, sizes: Mapping[DeviceId, Bytes]) -> None:
        """Keep what a model needs at least that ran out of memory."""
        for device, size in sizes.items():
            self._put(model, partial(_corrected, device, size))

    def _put(self, model: ModelId, change: Callable[[LearnedNeed, float], LearnedNeed]) -> None:
        found = self._models.get(model)
        if found is not None:
            old = self._store.get(found.identity) or LearnedNeed()
            self._store.put(found.identity, change(old, datetime.now(UTC).timestamp()))
            self._set(model)

    def _set(self, model: ModelId) -> None:
        need = self._need(model)
        if need != self.of(model):
            known = {**self.known, model: need}
            if need.source is NeedSource.UNKNOWN:
                del known[model]
            self.known = known

    def _need(self, model: ModelId) -> Need:
        found = self._models.get(model)
        if found is None:
            return self.known.get(model, UNKNOWN_NEED) if model in self._measured else UNKNOWN_NEED
        learned = self._store.get(found.identity)
        predicted = self._predicted.get(found.identity)
        measured = self._measured.get(model)
        once = self._measured_once.get(found.identity)
        if once and predicted is None and (learned is None or not learned.peaks):
            peaks = {str(device): int(size) for device, size in once.items()}
            learned = msgspec.structs.replace(learned or LearnedNeed(), runs=(peaks,))
        need = need_of(
            declared=found.memory,
            learned=learned,
            predicted=predicted,
            gpus=tuple(self._gpus),
            measured=measured,
        )
        if learned is not None and learned.corrected and need.source is NeedSource.DECLARED:
            return _raised(need, learned)
        if need.source in {NeedSource.DECLARED, NeedSource.UNKNOWN}:
            return need
        if predicted is not None and predicted.is_fitted:
            least = predicted.least_ram(has_gpus=bool(self._gpus))
            need = _bounded(need, UNKNOWN_NEED, self._alone)
            return replace(need, is_fitted=True, least_ram=min(least, need.fixed[RAM]))
        first = None if learned is None else LearnedNeed(runs=(learned.first,))
        least_need = need_of(learned=first, predicted=predicted, gpus=tuple(self._gpus))
        return _bounded(need, least_need, self._alone)


def _corrected(device: DeviceId, size: Bytes, old: LearnedNeed, now: float) -> LearnedNeed:
    return old.with_correction(device, size, now)


def _bounded(need: Need, least: Need, alone: Mapping[DeviceId, Bytes]) -> Need:
    """Return a need that is no more than what there is, or *least*, where that is more.

    A server that grew while it ran, or was corrected, may start again: alone. One of which *least* is too
    large can never fit; a server that fits itself needs nothing at the least.
    """
    fixed = {
        device: min(size, max(least.fixed.get(device, Bytes(0)), alone.get(device, size)))
        for device, size in need.fixed.items()
    }
    movable = need.movable
    if alone:
        on_gpus = Bytes(sum(size for device, size in alone.items() if device != RAM))
        movable = min(movable, max(least.movable, on_gpus))
    return replace(need, fixed=fixed, movable=movable)


def _raised(need: Need, learned: LearnedNeed) -> Need:
    """Return a declared need that was too small for its last start."""
    corrected = {device: Bytes(size) for device, size in learned.corrected.items()}
    fixed = {d: Bytes(max(size, corrected.get(d, 0))) for d, size in need.fixed.items()}
    on_gpus = sum(size for d, size in corrected.items() if d != RAM and d not in fixed)
    movable = Bytes(max(need.movable, on_gpus)) if need.movable else need.movable
    return Need(fixed=fixed, movable=movable, source=NeedSource.LEARNED)
