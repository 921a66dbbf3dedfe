"""The decisions of this process: those that are not done, and the newest that have ended.

Guarantees: each decision is told when it is made and again when it has ended. A model has at most one that
is open; another one for the same model ends it. Loop thread.
"""

from __future__ import annotations

import time
from collections import deque
from typing import TYPE_CHECKING, Final

from modelswap.core.models.lifecycle import Phase
from modelswap.core.scheduling.explanation import held_by_device

from .decision import Asker, Decision, Ending, Evicted, devices_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from modelswap.core.commands import SwapDecided
    from modelswap.core.placement.policy import Facts
    from modelswap.core.spec import ModelId
    from modelswap.units import Seconds

RING: Final = 500
"""Decisions that are kept in memory: a day of a household, about half a megabyte."""
_NOT_WANTED: Final = "no request waits for it any more"
_REPLACED: Final = "it was decided anew"
_MICROSECOND: Final = 1000
"""Nanoseconds."""


class DecisionLog:
    def __init__(
        self,
        tell: Callable[[Decision], None],
        *,
        facts: Callable[[], Facts],
        now: Callable[[], float],
        is_pending: Callable[[ModelId], bool],
        phase: Callable[[ModelId], Phase],
        wall_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        """`tell` gets each decision when it is made and when it has ended; `now` is the fleet's clock."""
        self._tell = tell
        self._facts = facts
        self._now = now
        self._is_pending = is_pending
        self._phase = phase
        self._wall_ns = wall_ns
        self._ended: deque[Decision] = deque(maxlen=RING)
        self._open: dict[ModelId, tuple[Decision, Seconds]] = {}
        self._leaving: set[ModelId] = set()
        """Those of `_open` whose server is told to exit before it is ready."""
        self._last_id = 0

    @property
    def open(self) -> list[Decision]:
        """Those that are not done, the newest first."""
        return [decision for decision, _ in reversed(self._open.values())]

    def newest(self, limit: int, model: str = "") -> list[Decision]:
        """Return the newest ones, those that are not done first; of one model where one is named."""
        known = (*self.open, *reversed(self._ended))
        return [one for one in known if not model or one.model == model][:limit]

    def on_swap(self, decided: SwapDecided) -> None:
        self._end(decided.model, Ending.GIVEN_UP, _REPLACED)
        facts, request = decided.facts, decided.request
        decision = Decision(
            id=self._next_id(decided.at),
            model=decided.model,
            asker=_asker(decided),
            client="" if decided.is_own else request.client,
            request=request.number or 0,
            evicted=[
                Evicted(
                    model=evict.model,
                    how=evict.how.value,
                    frees={d: int(size) for d, size in facts.held.get(evict.model, {}).items()},
                    reload_seconds=facts.reload.get(evict.model),
                )
                for evict in sorted(decided.evictions, key=lambda evict: evict.model)
            ],
            why=decided.why,
            node=decided.placement.node or "",
            devices=list(decided.placement.devices),
            memory=devices_of(facts, held_by_device(facts.held)),
            waited=decided.waited,
        )
        self._open[decided.model] = decision, decided.at
        self._tell(decision)

    def on_phase(self, model: ModelId, phase: Phase, why: str, *, failed: bool) -> None:
        """Take a change of a model's phase; *failed*: it is down because its server failed."""
        if not self._open:
            return
        if model in self._open:
            self._on_own_phase(model, phase, why, failed=failed)
        if phase is Phase.STOPPED or phase is Phase.STUCK:
            self._on_gone(
                model, _NOT_WANTED if phase is Phase.STOPPED else f"{model} does not exit"
            )

    def _on_own_phase(self, model: ModelId, phase: Phase, why: str, *, failed: bool) -> None:
        decision, at = self._open[model]
        match phase:
            case Phase.STARTING:
                decision.started = self._now() - at
            case Phase.READY:
                self._end(model, Ending.READY)
            case Phase.STOPPING | Phase.KILLING:
                self._leaving.add(model)
            case Phase.STOPPED if decision.started is not None:
                # A start that has failed but is tried again leaves no failure; it ended by itself.
                was_stopped = model in self._leaving and not failed
                self._end(model, Ending.STOPPED if was_stopped else Ending.FAILED, why)
            case _:
                pass

    def _on_gone(self, gone: ModelId, otherwise: str) -> None:
        """Look at the decisions for which a model had to leave; *otherwise*: why one goes no further."""
        for model, (decision, at) in list(self._open.items()):
            if all(evicted.model != gone for evicted in decision.evicted):
                continue
            decision.stopped = self._now() - at
            if self._is_pending(model) or self._phase(model) is Phase.STARTING:
                continue
            if self._phase(model) is Phase.READY:  # it ran already beside what had to leave
                self._end(model, Ending.READY)
            else:
                self._end(model, Ending.GIVEN_UP, otherwise)

    def _end(self, model: ModelId, ending: Ending, reason: str = "") -> None:
        decision, at = self._open.pop(model, (None, None))
        if decision is None or at is None:
            return
        self._leaving.discard(model)
        decision.ending, decision.reason = ending, reason
        decision.ended = self._now() - at
        facts = self._facts()
        is_gone = ending in {Ending.FAILED, Ending.STOPPED}  # what was promised to it is free again
        held = held_by_device({m: h for m, h in facts.held.items() if m != model or not is_gone})
        known = {pool.id for pool in facts.pools}
        for device in decision.memory:
            if device.id in known:
                device.after = held.get(device.id, 0)
        self._ended.append(decision)
        self._tell(decision)

    def _next_id(self, at: Seconds) -> int:
        ago = max(0.0, self._now() - at)
        wanted = self._wall_ns() // _MICROSECOND - int(ago * 1e6)
        self._last_id = max(self._last_id + 1, wanted)
        return self._last_id


def _asker(decided: SwapDecided) -> Asker:
    if decided.is_own:
        return Asker.PROGRAM
    if decided.request.background:
        return Asker.BACKGROUND
    return Asker.ORDER if decided.request.number is None else Asker.REQUEST
