"""The bench of schedulers: its machine, its rivals, its traces, and a comparison that can fail."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # `bench` lies beside `tests`

from bench.scheduling.comparison import OURS, Comparison, render_comparisons
from bench.scheduling.machine import Machine, Model, Step, Tally, Trace
from bench.scheduling.ours import Modelswap
from bench.scheduling.rivals import LlamaSwap, Ollama, Router
from bench.scheduling.traces import TRACES, chain

if TYPE_CHECKING:
    from collections.abc import Callable

    from bench.scheduling.machine import Request

A_AND_B = {name: Model(name, size=6, start=4.0) for name in "ab"}


def two_models(memory: int, *steps: Step) -> Trace:
    return Trace("two models", A_AND_B, memory, steps)


@pytest.mark.parametrize("decides", [LlamaSwap, Router, Ollama, Modelswap])
def test_schedulers_swap_and_serve(decides: Callable[[Machine], Any]) -> None:
    """With room for one of two models, each scheduler loads one, stops it when it is idle, loads the other."""
    trace = two_models(10, Step("a", work=3.0), Step("b", work=2.0, think=1.0))
    tally = Machine(trace, decides).replay()
    # The load; and the rest of that, 3 s of work, the stop and the load.
    assert tally.waits == [4.0, 10.5]
    assert (tally.loads, tally.swapping) == (2, 8.5)


@pytest.mark.parametrize("decides", [Ollama, Modelswap])
def test_schedulers_that_weigh_use_the_room(decides: Callable[[Machine], Any]) -> None:
    """With room for both, the second request waits for its own load alone."""
    trace = two_models(12, Step("a", work=9.0), Step("b", work=2.0, think=5.0))
    assert Machine(trace, decides).replay().waits == [4.0, 4.0]


def test_the_machine_refuses_what_cannot_be() -> None:
    """Too many models, a stop under a request, a request on a model that is not loaded."""
    machine = Machine(two_models(10), LlamaSwap)
    machine.load("a")
    with pytest.raises(AssertionError, match="out of memory"):
        machine.load("b")
    with pytest.raises(AssertionError, match="loaded twice"):
        machine.load("a")
    with pytest.raises(AssertionError, match="cannot be stopped"):
        machine.unload("a")


def test_a_request_that_nobody_serves_is_noticed() -> None:
    class Idle(LlamaSwap):
        def on_request(self, request: Request) -> None:
            del request

    with pytest.raises(AssertionError, match="1 requests are never served"):
        Machine(two_models(10, Step("a", work=1.0)), Idle).replay()


def all_of(trace: Trace) -> list[tuple[str, float, float, str]]:
    """Return every step, also those that others lead to."""
    found: list[tuple[str, float, float, str]] = []
    todo = list(trace.steps)
    while todo:
        step = todo.pop()
        found.append((step.model, step.work, step.think, step.client))
        todo += step.then
    return found


def test_traces_follow_from_their_seed() -> None:
    """The same seed is the same trace, another seed another one; a chain keeps what each step leads to."""
    for workload in TRACES:
        assert all_of(workload.make(3)) == all_of(workload.make(3))
        assert all_of(workload.make(3)) != all_of(workload.make(4))
    side = Step("b", work=1.0)
    assert chain([Step("a", work=1.0, then=(side,)), side]).then == (side, side)


def compared(ours: float, theirs: float, longest: float = 1.0) -> Comparison:
    found = Comparison("t", limit=40.0, why="a reason")
    ours_ = Tally(waits=[ours - longest, longest])
    found.add({"rival": Tally(waits=[theirs]), OURS: ours_})
    return found


def test_a_comparison_can_fail() -> None:
    """By the sum of all waits, and by the longest one."""
    assert compared(70.0, 100.0, 40.0).verdict == "ok"
    assert compared(71.0, 100.0, 40.0).verdict == "MISS"
    assert compared(50.0, 100.0, 41.0).verdict == "MISS"
    assert "- t: a reason." in render_comparisons([compared(1.0, 2.0)])
    assert "≤ 40 s (100 s)" in render_comparisons([compared(61.0, 100.0, 41.0)])


def test_requests_join_the_load_of_ollama() -> None:
    """A request for the model that loads is served when it is ready, before others of the queue."""
    trace = two_models(10, Step("a", 1.0), Step("b", 1.0, think=1.0), Step("a", 1.0, think=2.0))
    assert Machine(trace, Ollama).replay().waits == [4.0, 2.0, 8.5]
