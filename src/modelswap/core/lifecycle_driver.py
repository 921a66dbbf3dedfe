"""Moves each model through its life cycle, one step of the table at a time, and keeps all timers.

Guarantees: a phase changes only here. A phase's timers end with it. A timer that fires early is set
again, so busy models do not set timers for each request.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, assert_never

from modelswap.units import Seconds

from .commands import ClearTimer, Kill, PhaseChanged, SetTimer, Spawn, Terminate, TimerKey
from .failure import Cause, failure, not_ready
from .models.lifecycle import Action, Event, Phase, Timer, step
from .scheduling.decisions import NOTHING
from .scheduling.queue import NEVER

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from .commands import Command
    from .failure import Failure, ProbeObservation
    from .models.state import ModelState
    from .scheduling.decisions import Decision
    from .scheduling.scheduler import Scheduler
    from .spec import ModelId

_OF_A_PHASE: Final = (Timer.START, Timer.GRACE, Timer.IDLE, Timer.DRAIN)
_OVERDUE: Final = TimerKey(Timer.OVERDUE)


class LifecycleDriver:
    def __init__(self, states: Mapping[ModelId, ModelState], scheduler: Scheduler) -> None:
        self.out: list[Command] = []
        self._states = states
        self._scheduler = scheduler
        self._timers: dict[TimerKey, Seconds] = {}

    def flush(self) -> Sequence[Command]:
        """Hand over the commands collected so far."""
        if not self.out:
            return NOTHING
        out, self.out = self.out, []
        return out

    def feed(
        self, model: ModelId, event: Event, now: Seconds, why: str | Failure
    ) -> Sequence[Decision]:
        """Take one step of a model's life cycle, if *event* causes one."""
        state = self._states[model]
        before = state.phase
        transition = step(before, event)
        if transition is None:
            return NOTHING
        state.phase = transition.target
        state.times.on_phase(state.phase, now, is_adopted=event is Event.ADOPTED)
        self._scheduler.on_phase(model, state)
        for timer in _OF_A_PHASE:
            self._clear(TimerKey(timer, model))
        limit = transition.limit
        if limit is not None:
            timer = Timer.START if state.phase is Phase.STARTING else Timer.GRACE
            delay = limit(state.spec) if callable(limit) else limit
            self._set(TimerKey(timer, model), Seconds(now + delay))
        self._command(model, state, transition.action)
        text = why if isinstance(why, str) else why.text
        self.out.append(PhaseChanged(model, state.phase, text))
        return self._on_phase(model, state, before, why, now)

    def _command(self, model: ModelId, state: ModelState, action: Action | None) -> None:
        match action:
            case Action.SPAWN:
                self.out.append(Spawn(model, state.placement))
            case Action.TERMINATE:
                self.out.append(Terminate(model))
            case Action.KILL:
                self.out.append(Kill(model))
            case None:
                pass
            case _ as never:
                assert_never(never)

    def _on_phase(
        self, model: ModelId, state: ModelState, before: Phase, why: str | Failure, now: Seconds
    ) -> Sequence[Decision]:
        match state.phase:
            case Phase.STARTING:
                state.failure = None
                return NOTHING
            case Phase.READY:
                state.on_ready(now)
                self.watch_idle(model, now)
                return self._scheduler.on_ready(model, now)
            case Phase.STOPPING | Phase.KILLING:
                if before is Phase.READY:
                    state.reset_backoff()
                self._scheduler.on_stopping(model)
                return NOTHING
            case Phase.STUCK:
                return NOTHING if before is Phase.STUCK else self._scheduler.on_stuck(model, now)
            case Phase.STOPPED:
                return self._on_stopped(model, state, before, why, now)
            case _ as never:
                assert_never(never)

    def _on_stopped(
        self, model: ModelId, state: ModelState, before: Phase, cause: str | Failure, now: Seconds
    ) -> Sequence[Decision]:
        failed: Sequence[Decision] = NOTHING
        why = failure(Cause.EXITED, cause, brief=cause) if isinstance(cause, str) else cause
        if before is Phase.STARTING:
            failed = self._on_start_failed(model, state, why, now)
        elif before is Phase.READY:
            state.on_exited(why, now)
        return [*failed, *self._scheduler.on_stopped(model, now)]

    def _on_start_failed(
        self, model: ModelId, state: ModelState, why: Failure, now: Seconds
    ) -> Sequence[Decision]:
        is_short = why.cause is Cause.OUT_OF_MEMORY and not state.is_second_try
        if is_short and self._scheduler.makes_room(model, now):
            state.is_second_try = True
            return NOTHING
        state.on_start_failed(why, now)
        return self._scheduler.on_start_failed(model, why, now)

    def on_timer(
        self, key: TimerKey, now: Seconds, seen: ProbeObservation | None = None
    ) -> Sequence[Decision]:
        """Do what a timer was set for, unless it was cleared meanwhile or came too early."""
        at = self._timers.pop(key, None)
        if at is None:
            return NOTHING
        if now < at:
            self._set(key, at)
            return NOTHING
        timer, model = key.timer, key.model
        if timer is Timer.OVERDUE or model is None:
            return self._scheduler.decide_queue(now)
        state = self._states[model]
        match timer:
            case Timer.START:
                late = not_ready(state.spec.start_timeout, seen)
                decisions = self.feed(model, Event.START_TIMED_OUT, now, late)
                return [*decisions, *self._on_start_failed(model, state, late, now)]
            case Timer.GRACE:
                return self.feed(model, Event.GRACE_EXPIRED, now, "it did not leave in time")
            case Timer.DRAIN:
                why = "its requests did not end in time"
                return self.feed(model, Event.STOP_WANTED, now, why)
            case Timer.IDLE:
                return self._on_idle(model, state, now)
            case _ as never:
                assert_never(never)

    def _on_idle(self, model: ModelId, state: ModelState, now: Seconds) -> Sequence[Decision]:
        ttl = state.spec.ttl
        assert ttl is not None  # the timer is set with a ttl and cleared with it
        is_used = state.in_flight or self._scheduler.queue.count(model)
        last_used = now if is_used else state.used
        if is_used or now < last_used + ttl:
            self._set(TimerKey(Timer.IDLE, model), Seconds(last_used + ttl))
            return NOTHING
        state.has_idled = True
        return self.feed(model, Event.STOP_WANTED, now, f"not used for {ttl:g} s")

    def watch_idle(self, model: ModelId, now: Seconds) -> None:
        """Begin to count the time to live, by the present configuration."""
        state = self._states[model]
        key = TimerKey(Timer.IDLE, model)
        self._clear(key)
        if state.phase is Phase.READY and state.spec.ttl is not None:
            self._set(key, Seconds(max(now, state.used + state.spec.ttl)))

    def watch_drain(self, model: ModelId, now: Seconds) -> None:
        """Give running requests their grace period; a second call does not extend it."""
        key = TimerKey(Timer.DRAIN, model)
        if key not in self._timers:
            self._set(key, Seconds(now + self._states[model].spec.stop_grace))

    def watch_queue(self) -> None:
        """Wake up when the next queued request becomes overdue, or another look is due; or earlier."""
        due = self._scheduler.next_look()
        armed = self._timers.get(_OVERDUE)
        if due == NEVER:
            self._clear(_OVERDUE)
        elif armed is None or due < armed:
            self._set(_OVERDUE, due)

    def _set(self, key: TimerKey, at: Seconds) -> None:
        self._timers[key] = at
        self.out.append(SetTimer(key, at))

    def _clear(self, key: TimerKey) -> None:
        if self._timers.pop(key, None) is not None:
            self.out.append(ClearTimer(key))
