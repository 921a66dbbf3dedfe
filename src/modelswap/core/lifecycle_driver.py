"""Moves each model through its life cycle, one step of the table at a time, and keeps all timers.

Guarantees: a phase changes only here. A phase's timers end with it. A timer that fires early is set
again, so busy models do not set timers for each request.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, assert_never

from modelswap.units import Seconds

from .commands import ClearTimer, Kill, PhaseChanged, SetTimer, Spawn, Terminate, TimerKey
from .failure import Cause, failure, not_ready
from .models.lifecycle import LEAVING, Action, Event, Phase, Timer, step
from .models.state import LONG_AGO, NEVER
from .scheduling.decisions import NOTHING

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from .commands import Command
    from .failure import Failure, ProbeObservation
    from .idle_load import IdleLoad
    from .models.state import ModelState
    from .scheduling.decisions import Decision
    from .scheduling.scheduler import Scheduler
    from .spec import IdleModel, ModelId

_OF_A_PHASE: Final = (Timer.START, Timer.GRACE, Timer.IDLE, Timer.DRAIN)
_OVERDUE: Final = TimerKey(Timer.OVERDUE)
_UNUSED: Final = TimerKey(Timer.UNUSED)
LOOK_AGAIN: Final = Seconds(60.0)
"""Until the next look at a model that was in use when its time had passed, where it has no `ttl`."""


class LifecycleDriver:
    def __init__(self, states: Mapping[ModelId, ModelState], scheduler: Scheduler) -> None:
        self.out: list[Command] = []
        self._states = states
        self._scheduler = scheduler
        self._timers: dict[TimerKey, Seconds] = {}
        self.idle_load: IdleLoad | None = None

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
                decisions = self._scheduler.on_ready(model, now)
                if not state.in_flight:
                    state.ttl_from = now
                self.watch_idle(model, now)
                return decisions
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
        if timer is Timer.UNUSED:
            return self._on_unused(now)
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
        if now < self._idle_due(model, state, now):
            self.watch_idle(model, now)
            return NOTHING
        state.has_idled = True
        expired = state.expires
        why = f"not used for {expired - state.used:g} s"
        if expired == LONG_AGO:
            why = "as its last request asked (ttl 0)"
        return self.feed(model, Event.STOP_WANTED, now, why)

    def watch_idle(self, model: ModelId, now: Seconds) -> None:
        """Begin to count the time to live, by the present configuration."""
        state = self._states[model]
        key = TimerKey(Timer.IDLE, model)
        self._clear(key)
        if state.phase is Phase.READY and (due := self._idle_due(model, state, now)) < NEVER:
            self._set(key, max(now, due))

    def _idle_due(self, model: ModelId, state: ModelState, now: Seconds) -> Seconds:
        """Return a time before which the model is not unloaded for want of use."""
        if not state.in_flight and not self._scheduler.queue.count(model):
            return state.expires
        ttl = state.spec.ttl
        if ttl is None:
            return NEVER if state.spec.request_ttl is None else Seconds(now + LOOK_AGAIN)
        return Seconds(now + ttl)

    def end_with_ttl(self, model: ModelId, ttl: Seconds, now: Seconds) -> None:
        """End a request that asked for this time to live; its model is unloaded at once for 0."""
        state = self._states[model]
        state.end_with_ttl(ttl, now)
        if state.spec.request_ttl is not None and not state.in_flight:
            armed = self._timers.get(TimerKey(Timer.IDLE, model))
            if armed is None or state.expires < armed:
                self.watch_idle(model, now)

    def keep_on(self, model: ModelId, time: Seconds, now: Seconds) -> None:
        """Go on with what requests asked for in another process: to keep the model loaded for this time."""
        state = self._states[model]
        state.ttl_from, state.kept_until = LONG_AGO, Seconds(now + time)
        self.watch_idle(model, now)

    def load_when_idle(self, wanted: IdleModel | None, now: Seconds) -> None:
        """Watch from now on whether no model is used; the same order again changes nothing."""
        known = None if self.idle_load is None else self.idle_load.wanted
        if wanted == known:
            return
        self._clear(_UNUSED)
        self.idle_load = None
        if wanted is not None:
            from .idle_load import IdleLoad  # noqa: PLC0415 - most configurations name no such model

            self.idle_load = IdleLoad(wanted, self._states, self._scheduler, now)
            self._set(_UNUSED, self.idle_load.next_look(now))

    def hold_idle_load(self, models: Collection[ModelId] | None = None, *, is_held: bool) -> None:
        """Load no model for want of use, if it is among these, until a request comes."""
        idle_load = self.idle_load
        if idle_load is not None and (models is None or idle_load.wanted.model in models):
            idle_load.is_held = is_held

    def _on_unused(self, now: Seconds) -> Sequence[Decision]:
        idle_load = self.idle_load
        assert idle_load is not None  # the timer is cleared with it
        decisions = idle_load.decide(now)
        self._set(_UNUSED, idle_load.next_look(now))
        return decisions

    def unload(self, model: ModelId, now: Seconds, *, force: bool) -> Sequence[Decision]:
        """Stop a model for good; running requests get their grace period."""
        self._scheduler.forget_swap(model)
        phase = self._states[model].phase
        if force and phase in LEAVING:
            return self.feed(model, Event.KILL_WANTED, now, "unloaded by force")
        if phase is Phase.READY and not self._scheduler.begin_drain(model) and not force:
            self.watch_drain(model, now)
            return NOTHING
        return self.feed(model, Event.STOP_WANTED, now, "unloaded")

    def drain(self, model: ModelId, now: Seconds, why: str) -> Sequence[Decision]:
        """Let the server finish its requests, however long they take, then stop it."""
        self._scheduler.forget_swap(model)
        if self._states[model].phase is Phase.READY and not self._scheduler.begin_drain(model):
            return NOTHING
        return self.feed(model, Event.STOP_WANTED, now, why)

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
