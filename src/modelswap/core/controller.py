"""The whole decision side behind one door: lives, line, timers. Events in, commands out.

The owner feeds it one event at a time, with the monotonic time, and carries out what it returns, in
order, before it feeds the next. `Controller` joins the two halves that know nothing of each other: the
table of a server's life (`lifecycle`) and the order of requests (`scheduler`). It refuses to do
anything itself: no process, no clock, no log.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, assert_never

from .commands import (
    ClearTimer,
    Command,
    Fail,
    Grant,
    Kill,
    LeaseRequest,
    PhaseChanged,
    Position,
    Reason,
    SetTimer,
    Spawn,
    Terminate,
    TimerKey,
)
from .models.lifecycle import ALIVE, LEAVING, Event, Phase
from .models.lifecycle_driver import LifecycleDriver
from .models.state import ModelState
from .scheduling.scheduler import NOTHING, Scheduler, Start, Stop
from .spec import ModelSpec

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from collections.abc import Set as AbstractSet

    from modelswap.units import Seconds

    from .failure import Failure, ProbeObservation
    from .placement.policy import Facts, Policy
    from .scheduling.scheduler import Decision
    from .spec import ModelId, RequestId

__all__ = [
    "ClearTimer",
    "Command",
    "Controller",
    "Fail",
    "Grant",
    "Kill",
    "LeaseRequest",
    "PhaseChanged",
    "Position",
    "Reason",
    "SetTimer",
    "Spawn",
    "Terminate",
    "TimerKey",
]


class AccountingError(Exception):
    """The owner ended more uses than it was granted: a bug, never a user error."""


class Controller:
    def __init__(
        self,
        specs: Mapping[ModelId, ModelSpec],
        policy: Policy,
        *,
        max_wait: Seconds | None,
        queue_limit: int,
    ) -> None:
        self._seats = {m: ModelState(spec) for m, spec in specs.items()}
        self._scheduler = Scheduler(self._seats, policy, max_wait=max_wait, queue_limit=queue_limit)
        self._line = self._scheduler.line
        self._lives = LifecycleDriver(self._seats, self._scheduler)
        self._preload: deque[ModelId] = deque()
        self._preloading: RequestId | None = None

    # Requests

    def serve_now(self, model: ModelId) -> bool:
        """Count a foreground request as running if its model is ready and nothing stands in the way.

        `False` decides nothing: ask again by `on_arrived`. Background requests always go there.
        """
        seat = self._seats.get(model)
        if seat is None or seat.clear_in != self._scheduler.epoch or seat.in_flight >= seat.limit:
            return False
        seat.in_flight += 1
        return True

    def on_arrived(
        self, request: LeaseRequest, now: Seconds, *, is_new: bool = True
    ) -> Sequence[Command]:
        """Decide about a request; its answer may be among the commands already.

        One that is not *is_new* waits elsewhere already: it is not refused for lack of places.
        """
        return self._answer(self._scheduler.on_arrived(request, now, is_new=is_new), now)

    def on_cancelled(self, request: RequestId, now: Seconds) -> Sequence[Command]:
        """Forget a request that still waits; does nothing for one that was answered."""
        return self._answer(self._scheduler.on_cancelled(request, now), now)

    def on_finished(self, model: ModelId, now: Seconds) -> Sequence[Command]:
        """End the use by one granted request, however it ended."""
        seat = self._seats[model]
        if seat.in_flight < 1:
            raise AccountingError(f"more requests ended than ran on {model}")
        seat.in_flight -= 1
        seat.used = now
        if not self._line.waiters and (seat.in_flight or model not in self._scheduler.leaving):
            if seat.is_removed:
                self._forget(model, seat)
            return NOTHING
        out = self._answer(self._scheduler.on_finished(model, now), now)
        self._forget(model, seat)
        return out

    # Models

    def on_event(
        self, model: ModelId, event: Event, now: Seconds, detail: str | Failure = ""
    ) -> Sequence[Command]:
        """Take the launcher's news. `STALLED` means: end it, so that it can begin anew."""
        seat = self._seats.get(model)
        if seat is None:
            return NOTHING
        out = self._answer(self._lives.feed(model, event, now, detail or str(event)), now)
        self._forget(model, seat)
        return out

    def on_timer(
        self, key: TimerKey, now: Seconds, seen: ProbeObservation | None = None
    ) -> Sequence[Command]:
        """Let time pass. A timer that was cleared meanwhile, or came too early, does no harm.

        *seen* is what the probe last saw; it says why a server is not ready in time.
        """
        return self._answer(self._lives.on_timer(key, now, seen), now)

    def adopt(
        self,
        model: ModelId,
        now: Seconds,
        *,
        in_flight: int = 0,
        is_ready: bool = False,
        is_leaving: bool = False,
    ) -> Sequence[Command]:
        """Count on a server found running; `PROBE_PASSED` makes it ready.

        One that may not run beside those already adopted is asked to leave. *in_flight* requests of
        another process use it already; *is_ready*: its probe has passed. *is_leaving*: it is not as
        configured, or not configured any more, so it only finishes those requests.
        """
        if model not in self._seats and is_leaving:
            self._seats[model] = ModelState(ModelSpec(id=model), is_removed=True)
        seat = self._seats.get(model)
        if seat is None or seat.phase is not Phase.STOPPED:
            return NOTHING
        may_stay = not is_leaving and self._scheduler.adopt(model, now)
        decisions = list(self._lives.feed(model, Event.ADOPTED, now, "found running"))
        seat.in_flight += in_flight
        if is_ready:
            decisions += self._lives.feed(model, Event.PROBE_PASSED, now, "found ready")
        if not may_stay:
            why = "it is not as configured" if is_leaving else "it may not run beside the others"
            decisions += self._retire(model, now, why)
        return self._answer(decisions, now)

    def add_in_flight(self, model: ModelId, count: int) -> None:
        """Count requests of another process on a model whose server has left them."""
        if model not in self._seats:
            self._seats[model] = ModelState(ModelSpec(id=model), is_removed=True)
        self._seats[model].in_flight += count

    def unload(
        self, model: ModelId | None, now: Seconds, *, force: bool = False
    ) -> Sequence[Command]:
        """Stop one model, or all: who waits for it is refused, who runs may finish within its grace.

        *force* asks the server to leave at once; on one that is leaving already, kills it.
        """
        models = [*self._seats] if model is None else [m for m in (model,) if m in self._seats]
        decisions: list[Decision] = []
        for name in models:
            while name in self._preload:
                self._preload.remove(name)
            self._seats[name].forgive()
            decisions += self._dismiss(name, now, force=force)
        decisions += self._scheduler.fail_waiting(models, Reason.UNLOADED, now)
        return self._answer(decisions, now)

    def preload(self, models: Iterable[ModelId], now: Seconds) -> Sequence[Command]:
        """Load these one after another, as if somebody asked for each and left."""
        self._preload.extend(models)
        return self._answer((), now)

    def on_facts(self, facts: Facts, now: Seconds) -> Sequence[Command]:
        """Decide anew by what is known of devices and needs; nothing follows from a known epoch."""
        return self._answer(self._scheduler.on_facts(facts, now), now)

    # Life of the program

    def replace(
        self,
        specs: Mapping[ModelId, ModelSpec],
        policy: Policy,
        *,
        changed: AbstractSet[ModelId],
        removed: AbstractSet[ModelId],
        max_wait: Seconds | None,
        queue_limit: int,
        now: Seconds,
    ) -> Sequence[Command]:
        """Go on with another configuration.

        *changed* models finish what runs and begin anew for who waits; *removed* ones finish and
        leave, and refuse who waits. All others go on untouched.
        """
        decisions: list[Decision] = []
        for model, spec in specs.items():
            decisions += self._configure(model, spec, now, is_changed=model in changed)
        for model in sorted(removed & self._seats.keys()):
            self._seats[model].is_removed = True
            decisions += self._retire(model, now)
        decisions += self._scheduler.fail_waiting(removed, Reason.REMOVED, now)
        decisions += self._scheduler.replace(
            policy, max_wait=max_wait, queue_limit=queue_limit, now=now
        )
        out = self._answer(decisions, now)
        for model in sorted(removed & self._seats.keys()):
            self._forget(model, self._seats[model])
        return out

    def drain(self, now: Seconds) -> Sequence[Command]:
        """Refuse who waits and who comes; who runs may finish."""
        self._preload.clear()
        return self._answer(self._scheduler.close(), now)

    def stop_all(self, now: Seconds, *, force: bool = False) -> Sequence[Command]:
        """Stop every server now; *force* kills. Drains first."""
        self._preload.clear()
        decisions: list[Decision] = [*self._scheduler.close()]
        event = Event.KILL_WANTED if force else Event.STOP_WANTED
        for model in self.alive():
            self._scheduler.forget_swap(model)
            decisions += self._lives.feed(model, event, now, "shutting down")
        return self._answer(decisions, now)

    # Questions

    def phase(self, model: ModelId) -> Phase:
        seat = self._seats.get(model)
        return Phase.STOPPED if seat is None else seat.phase

    def listed_phase(self, model: ModelId) -> Phase:
        """Return the phase; a model counts as starting as soon as a request waits for its load."""
        phase = self.phase(model)
        is_wanted = model in self._scheduler.coming or self.waiting(model)
        return Phase.STARTING if is_wanted and phase is not Phase.READY else phase

    def has_idled(self, model: ModelId) -> bool:
        """Say whether its time to live is what stopped it."""
        seat = self._seats.get(model)
        return seat is not None and seat.has_idled

    def in_flight(self, model: ModelId) -> int:
        seat = self._seats.get(model)
        return 0 if seat is None else seat.in_flight

    def waiting(self, model: ModelId) -> int:
        return self._scheduler.line.count(model)

    def requests(self) -> list[LeaseRequest]:
        """Return every request that waits, in order."""
        return [waiter.request for waiter in self._line if waiter.request.id >= 0]

    def failure(self, model: ModelId) -> Failure | None:
        """Return why the last life ended badly, until another begins."""
        seat = self._seats.get(model)
        return None if seat is None else seat.failure

    def failed_at(self, model: ModelId) -> Seconds:
        """Return when the last life ended badly; means something beside a failure only."""
        return self._seats[model].failed_at

    def retry_at(self, model: ModelId, now: Seconds) -> Seconds | None:
        """Return until when the model backs off; `None`: another try is allowed at once."""
        seat = self._seats.get(model)
        return None if seat is None or seat.rest_left(now) <= 0 else seat.rest_until

    def alive(self) -> list[ModelId]:
        """Return every model that may have a process, removed ones too."""
        return [m for m, seat in self._seats.items() if seat.phase in ALIVE]

    def positions(self) -> dict[RequestId, int]:
        """Return the place of everybody who waits for a turn; 1 is the next.

        Who waits for a load in progress has had the turn already.
        """
        coming = self._scheduler.coming
        waiters = (w.request for w in self._scheduler.line if w.request.id >= 0)
        return {r.id: n for n, r in enumerate((r for r in waiters if r.model not in coming), 1)}

    # Inside: who has to leave, and how

    def _dismiss(self, model: ModelId, now: Seconds, *, force: bool) -> Sequence[Decision]:
        """Unload: nothing decided earlier starts it, and running requests get their grace."""
        self._scheduler.forget_swap(model)
        phase = self._seats[model].phase
        if force and phase in LEAVING:
            return self._lives.feed(model, Event.KILL_WANTED, now, "unloaded by force")
        if phase is Phase.READY and not self._scheduler.release(model) and not force:
            self._lives.watch_drain(model, now)
            return NOTHING
        return self._lives.feed(model, Event.STOP_WANTED, now, "unloaded")

    def _retire(
        self, model: ModelId, now: Seconds, why: str = "the configuration changed"
    ) -> Sequence[Decision]:
        """Let the server finish its requests, however long they take, and leave."""
        self._scheduler.forget_swap(model)
        if self._seats[model].phase is Phase.READY and not self._scheduler.release(model):
            return NOTHING
        return self._lives.feed(model, Event.STOP_WANTED, now, why)

    def _configure(
        self, model: ModelId, spec: ModelSpec, now: Seconds, *, is_changed: bool
    ) -> Sequence[Decision]:
        seat = self._seats.get(model)
        if seat is None:
            self._seats[model] = ModelState(spec)
            return NOTHING
        seat.configure(spec)
        seat.is_removed = False
        if not is_changed:
            self._lives.watch_idle(model, now)
            return NOTHING
        seat.forgive()
        # A swap to it that still waits for others' exit will start it as it is configured now.
        return NOTHING if seat.phase is Phase.STOPPED else self._retire(model, now)

    def _forget(self, model: ModelId, seat: ModelState) -> None:
        """Drop a removed model once nothing of it is left."""
        if seat.is_removed and seat.phase is Phase.STOPPED and not seat.in_flight:
            self._seats.pop(model, None)

    # Inside: decisions become commands

    def _answer(self, decisions: Sequence[Decision], now: Seconds) -> Sequence[Command]:
        todo = deque(decisions)
        while todo or self._preload:
            if todo:
                todo.extend(self._obey(todo.popleft(), now))
            elif self._preloading is None:
                self._preloading, more = self._scheduler.wish(self._preload.popleft(), now)
                todo.extend(more)
            else:
                break
        self._lives.watch_line()
        self._tell_positions()
        return self._lives.flush()

    def _obey(self, decision: Decision, now: Seconds) -> Sequence[Decision]:
        match decision:
            case Grant() | Fail():
                if decision.id >= 0:
                    self._lives.out.append(decision)
                elif decision.id == self._preloading:
                    self._preloading = None
                return NOTHING
            case Start(model, why, placement):
                self._seats[model].placement = placement
                return self._lives.feed(model, Event.START_WANTED, now, why)
            case Stop(model, why):
                # No launcher can put a server to sleep yet, so each eviction is a stop.
                return self._lives.feed(model, Event.STOP_WANTED, now, why)
            case _ as never:
                assert_never(never)

    def _tell_positions(self) -> None:
        if not self._line.watched:
            return
        for request, position in self.positions().items():
            waiter = self._line.find(request)
            if waiter is not None and waiter.request.watched and waiter.position != position:
                waiter.position = position
                self._lives.out.append(Position(request, position))
