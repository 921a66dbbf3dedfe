"""The lives of all models, and every timer: one step of the table at a time.

The only place where a phase changes. A step puts its commands into `out`, and hands what it means
for the requests to the scheduler, whose decisions it returns. A phase's timers end with it, and no
timer makes the owner busy while requests come and go: one that fires early is set again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, assert_never

from modelswap.core.commands import (
    ClearTimer,
    Kill,
    PhaseChanged,
    SetTimer,
    Spawn,
    Terminate,
    TimerKey,
)
from modelswap.core.failure import Cause, failure, unready
from modelswap.core.scheduling.scheduler import NOTHING
from modelswap.units import Seconds

from .lifecycle import Act, Event, Phase, Timer, step

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from modelswap.core.commands import Command
    from modelswap.core.failure import Failure, ProbeObservation
    from modelswap.core.scheduling.scheduler import Decision, Scheduler
    from modelswap.core.spec import ModelId

    from .state import ModelState

_OF_A_PHASE = (Timer.START, Timer.GRACE, Timer.IDLE, Timer.DRAIN)
_HOLD = TimerKey(Timer.HOLD)


class LifecycleDriver:
    def __init__(self, seats: Mapping[ModelId, ModelState], scheduler: Scheduler) -> None:
        self.out: list[Command] = []
        self._seats = seats
        self._scheduler = scheduler
        self._timers: dict[TimerKey, Seconds] = {}

    def flush(self) -> Sequence[Command]:
        """Hand over the commands collected so far."""
        if not self.out:
            return NOTHING
        out, self.out = self.out, []
        return out

    # Steps

    def feed(
        self, model: ModelId, event: Event, now: Seconds, why: str | Failure
    ) -> Sequence[Decision]:
        """Take one step of a model's life, if *event* means one."""
        seat = self._seats[model]
        before = seat.phase
        transition = step(before, event)
        if transition is None:
            return NOTHING
        seat.phase = transition.target
        for timer in _OF_A_PHASE:
            self._clear(TimerKey(timer, model))
        if transition.alarm is not None:
            alarm = transition.alarm(seat.spec)
            self._set(TimerKey(alarm.timer, model), Seconds(now + alarm.delay))
        self._act(model, transition.act)
        said = why if isinstance(why, str) else why.text
        self.out.append(PhaseChanged(model, seat.phase, said))
        return self._on_phase(model, seat, before, why, now)

    def _act(self, model: ModelId, act: Act | None) -> None:
        match act:
            case Act.SPAWN:
                self.out.append(Spawn(model, self._seats[model].placement))
            case Act.TERMINATE:
                self.out.append(Terminate(model))
            case Act.KILL:
                self.out.append(Kill(model))
            case None:
                pass
            case _ as never:
                assert_never(never)

    def _on_phase(
        self, model: ModelId, seat: ModelState, before: Phase, why: str | Failure, now: Seconds
    ) -> Sequence[Decision]:
        match seat.phase:
            case Phase.STARTING:
                seat.note_start()
                return NOTHING
            case Phase.READY:
                seat.note_ready(now)
                self.watch_idle(model, now)
                return self._scheduler.on_ready(model, now)
            case Phase.STOPPING | Phase.KILLING:
                if before is Phase.READY:
                    seat.forgive()
                self._scheduler.on_stopping(model)
                return NOTHING
            case Phase.STUCK:
                return NOTHING if before is Phase.STUCK else self._scheduler.on_stuck(model, now)
            case Phase.STOPPED:
                return self._on_stopped(model, seat, before, why, now)
            case _ as never:
                assert_never(never)

    def _on_stopped(
        self, model: ModelId, seat: ModelState, before: Phase, said: str | Failure, now: Seconds
    ) -> Sequence[Decision]:
        failed: Sequence[Decision] = NOTHING
        why = failure(Cause.EXITED, said, brief=said) if isinstance(said, str) else said
        if before is Phase.STARTING:
            failed = self._on_start_failed(model, seat, why, now)
        elif before is Phase.READY:
            seat.note_death(why, now)
        return [*failed, *self._scheduler.on_stopped(model, now)]

    def _on_start_failed(
        self, model: ModelId, seat: ModelState, why: Failure, now: Seconds
    ) -> Sequence[Decision]:
        seat.note_failed_start(why, now)
        return self._scheduler.on_start_failed(model, why, now)

    # Timers

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
        return self._on_time(key.timer, key.model, now, seen)

    def _on_time(
        self, timer: Timer, model: ModelId | None, now: Seconds, seen: ProbeObservation | None
    ) -> Sequence[Decision]:
        if timer is Timer.HOLD or model is None:
            return self._scheduler.on_time(now)
        seat = self._seats[model]
        match timer:
            case Timer.START:
                late = unready(seat.spec.start_timeout, seen)
                decisions = self.feed(model, Event.START_TIMED_OUT, now, late)
                return [*decisions, *self._on_start_failed(model, seat, late, now)]
            case Timer.GRACE:
                return self.feed(model, Event.GRACE_EXPIRED, now, "it did not leave in time")
            case Timer.DRAIN:
                why = "its requests did not end in time"
                return self.feed(model, Event.STOP_WANTED, now, why)
            case Timer.IDLE:
                return self._on_idle(model, seat, now)
            case _ as never:
                assert_never(never)

    def _on_idle(self, model: ModelId, seat: ModelState, now: Seconds) -> Sequence[Decision]:
        ttl = seat.spec.ttl
        assert ttl is not None  # the timer is set with a ttl and cleared with it
        if seat.in_flight or self._scheduler.line.count(model):
            self._set(TimerKey(Timer.IDLE, model), Seconds(now + ttl))
            return NOTHING
        if now < seat.used + ttl:
            self._set(TimerKey(Timer.IDLE, model), Seconds(seat.used + ttl))
            return NOTHING
        seat.has_idled = True
        return self.feed(model, Event.STOP_WANTED, now, f"not used for {ttl:g} s")

    def watch_idle(self, model: ModelId, now: Seconds) -> None:
        """Begin to count the time to live, by the present configuration."""
        seat = self._seats[model]
        key = TimerKey(Timer.IDLE, model)
        self._clear(key)
        if seat.phase is Phase.READY and seat.spec.ttl is not None:
            self._set(key, Seconds(max(now, seat.used + seat.spec.ttl)))

    def watch_drain(self, model: ModelId, now: Seconds) -> None:
        """Give running requests their grace; asking twice gives no more of it."""
        key = TimerKey(Timer.DRAIN, model)
        if key not in self._timers:
            self._set(key, Seconds(now + self._seats[model].spec.stop_grace))

    def watch_line(self) -> None:
        """Wake up when the next waiting request becomes overdue, or earlier."""
        due = self._scheduler.line.next_due()
        armed = self._timers.get(_HOLD)
        if due is None:
            self._clear(_HOLD)
        elif armed is None or due < armed:
            self._set(_HOLD, due)

    def _set(self, key: TimerKey, at: Seconds) -> None:
        self._timers[key] = at
        self.out.append(SetTimer(key, at))

    def _clear(self, key: TimerKey) -> None:
        if self._timers.pop(key, None) is not None:
            self.out.append(ClearTimer(key))
