"""The one entry to all decisions: events go in with the time, commands come out.

The owner executes the commands in order before it feeds the next event. Times are points of its
monotonic clock.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final, assert_never

from .commands import Fail, Grant, LeaseRequest, Position, Reason, SwapDecided
from .lifecycle_driver import LifecycleDriver
from .models.lifecycle import UP, Event, Phase
from .models.state import ModelState
from .scheduling.decisions import NOTHING, Start, Stop
from .scheduling.scheduler import Scheduler
from .spec import ClientId, ModelId, ModelSpec

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from collections.abc import Set as AbstractSet

    from modelswap.units import Seconds

    from .commands import Command, TimerKey
    from .failure import Failure, ProbeObservation
    from .placement.policy import Facts, Policy
    from .scheduling.decisions import Decision
    from .scheduling.explanation import Explanation
    from .spec import IdleModel, RequestId


_READER: Final = ClientId("")
"""The client of a request that is only imagined."""
_UNKNOWN: Final = ModelState(ModelSpec(id=ModelId("")))
"""Stands for a model that is not configured."""
_CHANGED: Final = "the configuration changed"


class AccountingError(Exception):
    """The owner ended more requests than were granted: a bug, never a user error."""


class Controller:
    def __init__(
        self,
        specs: Mapping[ModelId, ModelSpec],
        policy: Policy,
        *,
        max_wait: Seconds | None,
        queue_limit: int,
    ) -> None:
        self._states = {m: ModelState(spec) for m, spec in specs.items()}
        self._scheduler = Scheduler(
            self._states, policy, max_wait=max_wait, queue_limit=queue_limit
        )
        self._queue = self._scheduler.queue
        self._driver = LifecycleDriver(self._states, self._scheduler)
        self._preload: deque[ModelId] = deque()
        self._preloading: RequestId | None = None
        self._reported = 0, 0
        """The queue's changes and the scheduler's epoch when positions were reported."""

    # Requests

    def serve_now(self, model: ModelId) -> bool:
        """Count a foreground request as running if its model is ready and no request goes first.

        `False` decides nothing: call `on_arrived`, as for every background request.
        """
        state = self._states.get(model)
        if (
            state is None
            or state.clear_in != self._scheduler.epoch
            or state.in_flight >= state.limit
        ):
            return False
        state.in_flight += 1
        return True

    def on_arrived(
        self, id_: RequestId, request: LeaseRequest, now: Seconds, *, is_new: bool = True
    ) -> Sequence[Command]:
        """Decide about a request; its answer may be among the commands already.

        Ids are not negative and not used twice. A request that is not *is_new* waited in another
        process: it is not refused because the queue is full.
        """
        self._driver.hold_idle_load(is_held=False)
        return self._execute_all(self._scheduler.on_arrived(id_, request, now, is_new=is_new), now)

    def on_cancelled(self, request: RequestId, now: Seconds) -> Sequence[Command]:
        """Forget a queued request; does nothing for one that was answered."""
        return self._execute_all(self._scheduler.on_cancelled(request, now), now)

    def on_finished(
        self, model: ModelId, now: Seconds, ttl: Seconds | None = None
    ) -> Sequence[Command]:
        """End one granted request; *ttl*: what it asked for instead of the model's."""
        state = self._states[model]
        if state.in_flight < 1:
            raise AccountingError(f"more requests ended than ran on {model}")
        state.in_flight -= 1
        state.served += 1
        state.used = now
        if ttl is None:
            state.ttl_from = now
        else:
            self._driver.end_with_ttl(model, ttl, now)
        if not self._queue.waiting and (state.in_flight or model not in self._scheduler.draining):
            if state.is_removed:
                self._forget_removed(model, state)
            return NOTHING if ttl is None else self._driver.flush()
        out = self._execute_all(self._scheduler.on_finished(model, now), now)
        self._forget_removed(model, state)
        return out

    # Models

    def on_event(
        self, model: ModelId, event: Event, now: Seconds, detail: str | Failure = ""
    ) -> Sequence[Command]:
        """Take an event of the launcher. `STALLED` stops the server, so that it can start anew."""
        state = self._states.get(model)
        if state is None:
            return NOTHING
        out = self._execute_all(self._driver.feed(model, event, now, detail or str(event)), now)
        self._forget_removed(model, state)
        return out

    def on_timer(
        self, key: TimerKey, now: Seconds, seen: ProbeObservation | None = None
    ) -> Sequence[Command]:
        """Act on a timer; one that was cleared meanwhile, or fires early, changes nothing.

        *seen* is the last result of the probe: why a server is not ready in time.
        """
        return self._execute_all(self._driver.on_timer(key, now, seen), now)

    def adopt(
        self,
        model: ModelId,
        now: Seconds,
        *,
        in_flight: int = 0,
        is_ready: bool = False,
        is_leaving: bool = False,
        kept_for: Seconds | None = None,
    ) -> Sequence[Command]:
        """Count a server found running; `PROBE_PASSED` makes it ready.

        One that may not run beside those already adopted is drained. *in_flight* requests of another
        process use it; *is_ready*: its probe has passed. *is_leaving*: it is not as configured, or
        not configured any more, so it only finishes those requests. *kept_for*: how long that process
        would have kept it loaded.
        """
        if is_leaving:
            self.add_in_flight(model, 0)
        state = self._states.get(model)
        if state is None or state.phase is not Phase.STOPPED:
            return NOTHING
        may_stay = not is_leaving and self._scheduler.adopt(model, now)
        decisions = list(self._driver.feed(model, Event.ADOPTED, now, "found running"))
        state.in_flight += in_flight
        if is_ready:
            decisions += self._driver.feed(model, Event.PROBE_PASSED, now, "found ready")
            if kept_for is not None:
                self._driver.keep_on(model, kept_for, now)
        if not may_stay:
            why = "it is not as configured" if is_leaving else "it may not run beside the others"
            decisions += self._driver.drain(model, now, why)
        return self._execute_all(decisions, now)

    def add_in_flight(self, model: ModelId, count: int) -> None:
        """Count requests of another process on a model whose server is gone."""
        unknown = ModelState(ModelSpec(id=model), is_removed=True)
        self._states.setdefault(model, unknown).in_flight += count

    def unload(
        self, models: Iterable[ModelId], now: Seconds, *, force: bool = False
    ) -> Sequence[Command]:
        """Stop models together: none of them is started because another one leaves.

        Queued requests are refused, running ones get the grace period. *force* stops the server at
        once; one that is stopping already is killed.
        """
        known = [m for m in models if m in self._states]
        self._preload = deque(m for m in self._preload if m not in known)
        self._driver.hold_idle_load(known, is_held=True)
        decisions: list[Decision] = []
        for model in known:
            self._states[model].reset_backoff()
            decisions += self._driver.unload(model, now, force=force)
        decisions += self._scheduler.fail_waiting(known, Reason.UNLOADED, now)
        return self._execute_all(decisions, now)

    def preload(self, models: Iterable[ModelId], now: Seconds) -> Sequence[Command]:
        """Load these one after another."""
        self._preload.extend(models)
        return self._execute_all((), now)

    def load_when_idle(self, wanted: IdleModel | None, now: Seconds) -> Sequence[Command]:
        """Load this model whenever none was used for a while; `None`: no model."""
        self._driver.load_when_idle(wanted, now)
        return self._driver.flush()

    def on_facts(self, facts: Facts, now: Seconds) -> Sequence[Command]:
        """Decide anew by other facts about devices; a known epoch changes nothing."""
        return self._execute_all(self._scheduler.on_facts(facts, now), now)

    # Configuration and end

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

        *changed* models finish what runs, and start anew for queued requests; *removed* ones finish
        and stop, and their queued requests are refused. All others go on untouched.
        """
        decisions: list[Decision] = []
        for model, spec in specs.items():
            decisions += self._configure(model, spec, now, is_changed=model in changed)
        for model in sorted(removed & self._states.keys()):
            self._states[model].is_removed = True
            decisions += self._driver.drain(model, now, _CHANGED)
        decisions += self._scheduler.fail_waiting(removed, Reason.REMOVED, now)
        decisions += self._scheduler.replace(
            policy, max_wait=max_wait, queue_limit=queue_limit, now=now
        )
        out = self._execute_all(decisions, now)
        for model in sorted(removed & self._states.keys()):
            self._forget_removed(model, self._states[model])
        return out

    def drain(self, now: Seconds) -> Sequence[Command]:
        """Refuse queued and new requests; running ones may finish."""
        self._preload.clear()
        return self._execute_all(self._scheduler.close(), now)

    def stop_all(self, now: Seconds, *, force: bool = False) -> Sequence[Command]:
        """Stop every server now; *force* kills. Drains first."""
        self._preload.clear()
        decisions: list[Decision] = [*self._scheduler.close()]
        event = Event.KILL_WANTED if force else Event.STOP_WANTED
        for model in self.alive():
            self._scheduler.forget_swap(model)
            decisions += self._driver.feed(model, event, now, "shutting down")
        return self._execute_all(decisions, now)

    # Questions

    def explain(self, model: ModelId, now: Seconds) -> Explanation:
        """Say what a request that came now would lead to, and why; nothing changes.

        What is overdue is decided by its timer, not here.
        """
        from .scheduling.explanation import explain  # noqa: PLC0415 - few ask for it

        return explain(LeaseRequest(model, _READER), self._scheduler, now)

    def is_pending(self, model: ModelId) -> bool:
        """Say whether a swap for the model is decided and not done."""
        return model in self._scheduler.pending

    def phase(self, model: ModelId) -> Phase:
        return self.state(model).phase

    def listed_phase(self, model: ModelId) -> Phase:
        """Return the phase; a model counts as starting as soon as a request waits for its load."""
        phase = self.phase(model)
        is_wanted = model in self._scheduler.pending or self.waiting(model)
        return Phase.STARTING if is_wanted and phase is not Phase.READY else phase

    def has_idled(self, model: ModelId) -> bool:
        """Say whether its time to live stopped it."""
        return self.state(model).has_idled

    def in_flight(self, model: ModelId) -> int:
        return self.state(model).in_flight

    def waiting(self, model: ModelId) -> int:
        return self._queue.count(model)

    @property
    def is_room_waited_for(self) -> bool:
        """Whether a queued request waits for room: its model neither runs nor starts."""
        return any(self.phase(model) not in UP for model in self._queue.models)

    def requests(self) -> list[tuple[RequestId, LeaseRequest]]:
        """Return every queued request, in order."""
        return [(queued.id, queued.request) for queued in self._queue if queued.id >= 0]

    def state(self, model: ModelId) -> ModelState:
        """Return what is known of the model; only to be read."""
        return self._states.get(model, _UNKNOWN)

    def alive(self) -> list[ModelId]:
        """Return every model that may have a process, removed ones too."""
        return sorted(self._scheduler.alive, key=lambda model: self._states[model].serial)

    def positions(self) -> dict[RequestId, int]:
        """Return the position of each queued request; 1 is the next.

        A request whose model is loading has no position: its turn has come.
        """
        pending = self._scheduler.pending
        ids = (q.id for q in self._queue if q.id >= 0 and q.request.model not in pending)
        return {id_: position for position, id_ in enumerate(ids, 1)}

    def _configure(
        self, model: ModelId, spec: ModelSpec, now: Seconds, *, is_changed: bool
    ) -> Sequence[Decision]:
        state = self._states.get(model)
        if state is None:
            self._states[model] = ModelState(spec)
            return NOTHING
        state.configure(spec)
        state.is_removed = False
        if not is_changed:
            self._driver.watch_idle(model, now)
            return NOTHING
        state.reset_backoff()
        if state.phase is Phase.STOPPED:
            return NOTHING
        return self._driver.drain(model, now, _CHANGED)

    def _forget_removed(self, model: ModelId, state: ModelState) -> None:
        """Drop a removed model once its process and its requests have ended."""
        if state.is_removed and state.phase is Phase.STOPPED and not state.in_flight:
            self._states.pop(model, None)

    def _execute_all(self, decisions: Sequence[Decision], now: Seconds) -> Sequence[Command]:
        todo = deque(decisions)
        while todo or self._preload:
            if todo:
                todo.extend(self._execute(todo.popleft(), now))
            elif self._preloading is None:
                self._preloading, more = self._scheduler.background_load(
                    self._preload.popleft(), now
                )
                todo.extend(more)
            else:
                break
        self._driver.watch_queue()
        self._report_positions()
        return self._driver.flush()

    def _execute(self, decision: Decision, now: Seconds) -> Sequence[Decision]:
        match decision:
            case Grant() | Fail():
                if decision.id >= 0:
                    self._driver.out.append(decision)
                elif decision.id == self._preloading:
                    self._preloading = None
                return NOTHING
            case SwapDecided():
                self._driver.out.append(decision)
                return NOTHING
            case Start(model, why, placement):
                self._states[model].placement = placement
                return self._driver.feed(model, Event.START_WANTED, now, why)
            case Stop(model, why):
                # No launcher can put a server to sleep yet, so each eviction is a stop.
                return self._driver.feed(model, Event.STOP_WANTED, now, why)
            case _ as never:
                assert_never(never)

    def _report_positions(self) -> None:
        known = self._queue.changes, self._scheduler.epoch
        if not self._queue.watched or known == self._reported:
            return
        self._reported = known
        for id_, position in self.positions().items():
            queued = self._queue.find(id_)
            if queued is not None and queued.request.watched and queued.position != position:
                queued.position = position
                self._driver.out.append(Position(id_, position))
