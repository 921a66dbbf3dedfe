"""The life-cycle table is total and legal, and its diagram is current."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import pytest

from modelswap.core.models.lifecycle import (
    ABORT_GRACE,
    ALIVE,
    IMPOSSIBLE,
    LEAVING,
    TRANSITIONS,
    Action,
    Event,
    ImpossibleTransitionError,
    Phase,
    step,
)
from modelswap.core.spec import ModelId, ModelSpec
from modelswap.units import Seconds

P, E = Phase, Event
IGNORED = {
    *((P.STOPPED, e) for e in (E.PROBE_PASSED, E.SPAWN_FAILED, E.STALLED)),
    *((P.STOPPED, e) for e in (E.STOP_WANTED, E.KILL_WANTED, E.EXITED)),
    (P.STARTING, E.STALLED),
    (P.READY, E.PROBE_PASSED),
    *((p, e) for p in LEAVING for e in (E.PROBE_PASSED, E.STALLED, E.STOP_WANTED)),
    *((p, E.KILL_WANTED) for p in (P.KILLING, P.STUCK)),
}
SPEC = ModelSpec(id=ModelId("m"), start_timeout=Seconds(60), stop_grace=Seconds(7))
PAGE = Path(__file__).parents[4] / "docs" / "lifecycle.md"


def test_every_pair_is_decided_exactly_once() -> None:
    """No (phase, event) pair is missing, and none is in two sets."""
    sets = [set(TRANSITIONS), IGNORED, set(IMPOSSIBLE)]
    assert set.union(*sets) == set(product(Phase, Event))
    assert sum(map(len, sets)) == len(Phase) * len(Event)


@pytest.mark.parametrize("pair", sorted(IMPOSSIBLE))
def test_an_impossible_event_raises(pair: tuple[Phase, Event]) -> None:
    """An impossible event raises with the phase and the event."""
    with pytest.raises(ImpossibleTransitionError, match=f"{pair[1]} while {pair[0]}"):
        step(*pair)


@pytest.mark.parametrize("pair", sorted(IGNORED))
def test_a_late_event_changes_nothing(pair: tuple[Phase, Event]) -> None:
    """A late or repeated event is no step."""
    assert step(*pair) is None


def test_a_process_begins_and_ends_only_with_its_phase() -> None:
    """`SPAWN` leads from stopped to alive, and only the end of a process leads back."""
    ends = {Event.EXITED, Event.SPAWN_FAILED}
    for (phase, event), transition in TRANSITIONS.items():
        begins = transition.action is Action.SPAWN or event is Event.ADOPTED
        assert begins == (phase not in ALIVE and transition.target in ALIVE)
        assert (event in ends) == (transition.target is Phase.STOPPED)


def test_every_alive_phase_can_end_and_every_wait_has_a_timer() -> None:
    """Every phase but ready has a deadline."""
    for phase in ALIVE:
        assert TRANSITIONS[phase, Event.EXITED].target is Phase.STOPPED
    for transition in TRANSITIONS.values():
        waits = transition.target in ALIVE - {Phase.READY}
        assert waits == (transition.limit is not None)


def test_graces_are_the_configured_ones() -> None:
    """A ready server gets its own grace, one that is still starting the short one."""

    def limit(phase: Phase, event: Event) -> Seconds | None:
        found = TRANSITIONS[phase, event].limit
        return found(SPEC) if callable(found) else found

    assert limit(Phase.STOPPED, Event.START_WANTED) == Seconds(60)
    assert limit(Phase.READY, Event.STOP_WANTED) == Seconds(7)
    assert limit(Phase.STARTING, Event.STOP_WANTED) == ABORT_GRACE
    assert limit(Phase.STARTING, Event.START_TIMED_OUT) == ABORT_GRACE


def test_clients_know_four_states() -> None:
    """Clients see stopped, starting, ready and stopping."""
    assert {p.shown for p in Phase} == {"stopped", "starting", "ready", "stopping"}


def diagram() -> str:
    edges = [f"    {p} --> {t.target}: {e}" for (p, e), t in TRANSITIONS.items()]
    return "\n".join(["stateDiagram-v2", "    [*] --> stopped", *edges])


def test_the_diagram_is_current() -> None:
    """The diagram in docs/lifecycle.md is the transition table, drawn."""
    assert diagram() in PAGE.read_text()
