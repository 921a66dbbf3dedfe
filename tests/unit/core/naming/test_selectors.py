"""One name, several targets."""

from __future__ import annotations

import pytest

from modelswap.core.naming.selectors import SelectorFacts, Selectors, TargetState

READY, STARTING, STOPPING, STOPPED, PEER = (
    TargetState.READY,
    TargetState.STARTING,
    TargetState.STOPPING,
    TargetState.STOPPED,
    TargetState.PEER,
)


class ControllerSimulator:
    """Local targets become live when they are chosen."""

    def __init__(self, **states: TargetState) -> None:
        self.states = dict(states)

    def __call__(self, target: str) -> TargetState:
        return self.states[target]


def take(selectors: Selectors, sim: ControllerSimulator, times: int) -> str:
    chosen = ""
    for _ in range(times):
        target = selectors.take("s", sim)
        if target is None:
            chosen += "-"
            continue
        chosen += target
        if sim.states[target] is STOPPED:
            sim.states[target] = STARTING
    return chosen


def spill(limit: int, *targets: str) -> Selectors:
    return Selectors([SelectorFacts("s", "spillover", targets, limit)])


def test_pin_is_always_the_first() -> None:
    """`pin` takes the first target, even one that stops."""
    selectors = Selectors([SelectorFacts("s", "pin", ("a", "b"))])
    assert take(selectors, ControllerSimulator(a=STOPPING, b=READY), 3) == "aaa"
    selectors.decrement("s", "a")


@pytest.mark.parametrize(
    ("states", "expected"),
    [
        ((STOPPED, STARTING, READY), "c"),
        ((STOPPED, STARTING, STARTING), "b"),
        ((STOPPED, STOPPING, STOPPED), "a"),
        ((READY, READY, READY), "a"),
    ],
)
def test_warm(states: tuple[TargetState, ...], expected: str) -> None:
    """`warm`: the first ready target, else the first starting one, else the first."""
    selectors = Selectors([SelectorFacts("s", "warm", ("a", "b", "c"))])
    assert (
        take(selectors, ControllerSimulator(**dict(zip("abc", states, strict=True))), 1) == expected
    )


def test_the_observed_spillover() -> None:
    """With a limit of two, six overlapping requests on two cold targets go a a b b a b."""
    assert take(spill(2, "a", "b"), ControllerSimulator(a=STOPPED, b=STOPPED), 6) == "aabbab"


def test_spillover_returns_to_the_least_busy() -> None:
    """A finished request makes its target the least busy one."""
    selectors = spill(1, "a", "b")
    sim = ControllerSimulator(a=READY, b=READY)
    assert take(selectors, sim, 2) == "ab"
    selectors.decrement("s", "b")
    assert take(selectors, sim, 1) == "b"


def test_stopping_targets_are_passed_over() -> None:
    """A target that stops is neither active nor cold; without others there is none."""
    assert take(spill(1, "a", "b"), ControllerSimulator(a=STOPPING, b=STOPPED), 1) == "b"
    assert take(spill(1, "a"), ControllerSimulator(a=STOPPING), 1) == "-"


def test_peers_are_active_while_they_are_used() -> None:
    """A peer is cold until this selector has something outstanding there."""
    assert take(spill(1, "p", "a"), ControllerSimulator(p=PEER, a=STOPPED), 4) == "papa"


def test_a_busy_cold_target_counts_as_active() -> None:
    """A target whose requests still wait for its start is active."""
    selectors = spill(2, "a", "b")
    stopped = ControllerSimulator(a=STOPPED, b=STOPPED)
    assert [selectors.take("s", stopped) for _ in range(3)] == ["a", "a", "b"]
