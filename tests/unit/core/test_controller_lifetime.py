"""How long a model stays loaded when requests have a say in it; and the model that is loaded when none is used."""

from __future__ import annotations

from dataclasses import replace
from math import inf

import pytest

from modelswap.core.commands import ClearTimer, SetTimer, TimerKey
from modelswap.core.models.lifecycle import Phase, Timer
from modelswap.core.placement.groups import groups_policy
from modelswap.core.spec import ModelId, TtlBounds
from modelswap.units import Seconds
from support.controller_simulator import (
    ControllerSimulator,
    FakeProcess,
    FakeServer,
    spec,
    specs,
    swapping,
)

A, B = ModelId("a"), ModelId("b")
FREE = TtlBounds(Seconds(0), Seconds(inf))
START, WORK = 0.5, 0.2


def lifetimes(
    ttl: float | None = None, bounds: TtlBounds | None = FREE, **settings: object
) -> ControllerSimulator:
    a = spec(A, ttl=ttl, request_ttl=bounds)
    return swapping(specs=specs(a=a), **settings)


def stays_for(sim: ControllerSimulator, seconds: float) -> None:
    """Assert that `a` is ready until then, and stopping just after it."""
    sim.run(seconds - 0.01)
    assert sim.controller.phase(A) is Phase.READY
    sim.run(0.02)
    assert sim.controller.phase(A) is not Phase.READY


def served(sim: ControllerSimulator, ttl: float | None = None) -> None:
    """Let one request be served by `a`, to its end."""
    sim.arrive("a", ttl=ttl)
    sim.run(WORK if sim.controller.phase(A) is Phase.READY else START + WORK)


def test_a_request_sets_the_time_that_counts_from_its_end() -> None:
    """Without a ttl the model is never unloaded; here the request asks for 5 s."""
    sim = lifetimes()
    served(sim, 5)
    stays_for(sim, 5)
    assert sim.phase_changes[-1].why == "not used for 5 s"


def test_the_latest_time_counts() -> None:
    """A later request that asks for less takes nothing from what an earlier one asked for."""
    sim = lifetimes()
    served(sim, 60)
    sim.run(10)
    served(sim, 5)
    stays_for(sim, 60 - 10 - WORK)


def test_a_request_that_says_nothing_asks_for_the_ttl() -> None:
    """It counts beside the others, whichever comes last."""
    sim = lifetimes(ttl=Seconds(30))
    served(sim, 5)
    served(sim)
    served(sim, 5)
    stays_for(sim, 30 - WORK)


def test_without_a_ttl_a_request_that_says_nothing_keeps_the_model() -> None:
    """What the configuration promises to one client, another one cannot take away with a short time."""
    sim = lifetimes()
    served(sim)
    served(sim, 5)
    sim.run(10_000)
    assert sim.controller.phase(A) is Phase.READY


def test_for_ever() -> None:
    """An infinite time keeps the model, whatever its ttl; nothing is due any more."""
    sim = lifetimes(ttl=Seconds(30))
    served(sim, inf)
    served(sim, 5)
    sim.run(10_000)
    assert sim.controller.phase(A) is Phase.READY
    assert sim.controller.state(A).expires_in(sim.clock()) is None


def test_zero_unloads_after_the_request() -> None:
    """It takes back what earlier requests asked for."""
    sim = lifetimes(ttl=Seconds(30))
    served(sim, inf)
    served(sim, 0)
    assert sim.controller.phase(A) is Phase.STOPPING
    assert sim.phase_changes[-1].why == "as its last request asked (ttl 0)"
    assert sim.controller.has_idled(A)


def test_zero_waits_for_the_others() -> None:
    """A request that still runs keeps the model by its own time; the one with 0 has ended."""
    sim = lifetimes(ttl=Seconds(30), seconds_of_work=iter((1.0, 5.0)).__next__)
    sim.arrive("a", ttl=0)
    sim.arrive("a")
    sim.run(START + 5)
    stays_for(sim, 30)


def test_zero_beside_a_waiting_request() -> None:
    """A request that waits is served before the model is unloaded."""
    sim = swapping(specs=specs(a=spec(A, request_ttl=FREE, concurrency=1)))
    sim.arrive("a", ttl=0)
    waiting = sim.arrive("a", ttl=5)
    sim.run(START + 2 * WORK)
    assert waiting in sim.granted
    stays_for(sim, 5)


@pytest.mark.parametrize(("asked", "stays"), [(0, 10), (5, 10), (15, 15), (100, 20), (inf, 20)])
def test_bounds(asked: float, stays: float) -> None:
    """What a request asks for is kept within the configured bounds."""
    sim = lifetimes(bounds=TtlBounds(Seconds(10), Seconds(20)))
    served(sim, asked)
    stays_for(sim, stays)


def test_without_bounds_a_request_has_no_say() -> None:
    """Its time is ignored where the configuration does not allow it, also after a reload."""
    sim = lifetimes(ttl=Seconds(30), bounds=None)
    served(sim, 5)
    stays_for(sim, 30)


def test_a_reload_changes_what_counts() -> None:
    """The ttl counts by the new configuration; what requests asked for before stays, while it may."""
    sim = lifetimes(ttl=Seconds(30))
    served(sim, 100)
    changed = specs(a=spec(A, ttl=Seconds(10)))
    sim.execute(
        sim.controller.replace(
            changed, groups_policy(sim.groups), changed=frozenset(), removed=frozenset(),
            max_wait=None, queue_limit=9, now=sim.clock(),
        )
    )  # fmt: skip
    sim.kept_until[A] = 0  # the simulator knows no change of the ttl
    stays_for(sim, 10)


def test_a_load_without_a_request_counts_with_the_ttl() -> None:
    """A preloaded model stays for its ttl; without one it stays for ever, whatever requests ask for."""
    sim = lifetimes()
    sim.execute(sim.controller.preload([A], sim.clock()))
    sim.run(START)
    served(sim, 5)
    sim.run(10_000)
    assert sim.controller.phase(A) is Phase.READY


def test_an_abandoned_request_with_a_time() -> None:
    """A model whose only client left before it was ready stays for its ttl."""
    sim = lifetimes(ttl=Seconds(10))
    sim.leave(sim.arrive("a", ttl=100))
    sim.run(START)
    stays_for(sim, 10)


def test_a_model_in_use_is_looked_at_again() -> None:
    """A request that runs when the time has passed keeps the model; without a ttl, too."""
    sim = lifetimes()
    served(sim, 5)
    sim.seconds_of_work = lambda: 200.0
    sim.run(1)
    sim.arrive("a", ttl=5)
    sim.run(200)
    stays_for(sim, 5)


def test_equal_times_cost_no_timers() -> None:
    """A request that asks for as much as the last one moves no timer: the set one looks again."""
    sim = lifetimes()
    served(sim, 60)
    sim.run(1)
    served(sim, 60)
    assert sim.controller.serve_now(A)
    assert sim.controller.on_finished(A, sim.clock(), Seconds(60)) == ()
    assert sim.controller.serve_now(A)
    changed = list(sim.controller.on_finished(A, sim.clock(), Seconds(0)))
    key = TimerKey(Timer.IDLE, A)
    assert changed == [ClearTimer(key), SetTimer(key, sim.clock())]


def test_a_request_that_outlives_its_server() -> None:
    """What it asks for is nothing to the model that has stopped."""
    sim = lifetimes(seconds_of_work=lambda: 50.0)
    sim.arrive("a", ttl=5)
    sim.run(1)
    sim.exit("a")
    assert TimerKey(Timer.IDLE, A) not in sim.timers


def test_another_process_goes_on_with_the_time() -> None:
    """An adopted server stays as long as the other front would have kept it."""
    sim = lifetimes()
    sim.processes[A] = FakeProcess(FakeServer())
    sim.execute(sim.controller.adopt(A, sim.clock(), is_ready=True, kept_for=Seconds(7)))
    sim.kept_until[A] = 7.0
    stays_for(sim, 7)


# What is shown


def test_when_a_model_expires() -> None:
    """Nothing while it is used or not ready; then the time that is left, never less than none."""
    sim = lifetimes(ttl=Seconds(30))
    state = sim.controller.state(A)
    assert state.expires_in(sim.clock()) is None
    sim.arrive("a", ttl=5)
    sim.run(START + WORK / 2)
    assert state.expires_in(sim.clock()) is None
    sim.run(WORK / 2 + 2)
    assert state.expires_in(sim.clock()) == pytest.approx(3)
    assert state.kept_for(sim.clock()) == pytest.approx(3)
    assert state.expires_in(Seconds(sim.now + 9)) == Seconds(0)
    assert replace(sim.controller.state(B)).kept_for(sim.clock()) is None
