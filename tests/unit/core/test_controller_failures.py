"""Servers that fail, die, stall or do not die: what the others get."""

from __future__ import annotations

from modelswap.core.commands import Fail, Reason
from modelswap.core.failure import Cause, failure
from modelswap.core.models.lifecycle import Event, Phase
from modelswap.core.spec import ModelId
from modelswap.units import Seconds
from support.controller_simulator import (
    FakeGroup,
    FakeServer,
    group,
    reasons,
    spec,
    specs,
    swapping,
)

A, B, C = ModelId("a"), ModelId("b"), ModelId("c")
ALL_TOGETHER = (group("abc", swap=False),)


def test_a_failed_start_tells_everybody_and_backs_off() -> None:
    """All who waited hear why; the next are refused at once, for longer each time, up to 30 s."""
    sim = swapping(server_of=lambda _: FakeServer(fails=True, starts_in=0.1))
    rests = []
    for _ in range(8):
        ids = [sim.arrive("a"), sim.arrive("a")]
        sim.run(0.1)
        assert reasons(sim, *ids) == [Reason.LOAD_FAILED] * 2
        refused = sim.answers[sim.arrive("a")]
        assert isinstance(refused, Fail)
        assert (refused.reason, refused.detail) == (Reason.BACKING_OFF, "exit code 1")
        assert refused.retry_after is not None
        rests.append(round(refused.retry_after))
        sim.run(refused.retry_after)
    assert rests == [1, 2, 4, 8, 16, 30, 30, 30]
    assert sim.controller.failure(A) == failure(Cause.EXITED, "exit code 1", brief="exit code 1")


def test_a_good_start_ends_the_failure() -> None:
    """A model that became ready has no failure to show, and its next failed start rests 1 s."""
    servers = iter([FakeServer(fails=True), FakeServer(), FakeServer(fails=True)])
    sim = swapping(server_of=lambda _: next(servers))
    for _ in range(2):
        sim.arrive("a")
        sim.run(3)
    assert sim.controller.failure(A) is None
    sim.exit("a")
    sim.arrive("a")
    sim.run(0.5)
    refused = sim.answers[sim.arrive("a")]
    assert isinstance(refused, Fail)
    assert refused.retry_after == Seconds(1)


def test_unload_forgives() -> None:
    """Who unloads a model that backs off may start it again at once."""
    sim = swapping(server_of=lambda _: FakeServer(fails=True))
    sim.arrive("a")
    sim.run(1)
    sim.execute(sim.controller.unload(A, sim.clock()))
    sim.arrive("a")
    assert sim.spawned == [A, A]


def test_a_spawn_that_fails_is_a_failed_start() -> None:
    """No process at all is a failure with the launcher's reason."""
    sim = swapping()
    id_ = sim.arrive("a")
    del sim.processes[A]
    sim.event("a", Event.SPAWN_FAILED, "no such file: llama")
    answer = sim.answers[id_]
    assert isinstance(answer, Fail)
    assert answer.detail == "no such file: llama"


def test_a_start_has_a_deadline() -> None:
    """A server that never becomes ready is stopped, then killed; who waited was told at the deadline."""
    sim = swapping(
        specs=specs(a=spec(A, start_timeout=Seconds(10))),
        server_of=lambda _: FakeServer(starts_in=1000, leaves_in=None),
    )
    id_ = sim.arrive("a")
    sim.run(10)
    answer = sim.answers[id_]
    assert isinstance(answer, Fail)
    assert (answer.reason, answer.detail) == (Reason.LOAD_FAILED, "not ready within 10 s")
    assert (sim.terminated, sim.killed) == ([A], [])
    sim.run(5)
    assert sim.killed == [A]


def test_killed_servers_start_again_at_once() -> None:
    """A ready server that died is started for the next request, three times in a row without a rest."""
    sim = swapping()
    for _ in range(4):
        sim.arrive("a")
        sim.run(1)
        sim.exit("a", "killed")
    refused = sim.answers[sim.arrive("a")]
    assert isinstance(refused, Fail)
    assert (refused.reason, refused.detail) == (Reason.BACKING_OFF, "killed")
    assert len(sim.spawned) == 4


def test_a_long_life_forgives() -> None:
    """A server that lived for a while before it died is not in a crash loop."""
    sim = swapping()
    for _ in range(10):
        sim.arrive("a")
        sim.run(15)
        sim.exit("a", "killed")
    sim.arrive("a")
    assert len(sim.spawned) == 11


def test_who_waits_for_a_slot_survives_a_crash() -> None:
    """Requests that had not begun when the server died run on its successor."""
    sim = swapping(specs=specs(a=spec(A, concurrency=1)), seconds_of_work=lambda: 5.0)
    sim.arrive("a")
    later = sim.arrive("a")
    sim.run(1)
    sim.exit("a")
    sim.run(1)
    assert sim.granted[-1] == later


def test_a_deaf_server_is_killed_and_a_stuck_one_reported() -> None:
    """Whoever waits for the room of a process that survives its kill is told, in bounded time."""
    sim = swapping(server_of=lambda _: FakeServer(leaves_in=None, dies_after_kill_in=60))
    sim.arrive("a")
    sim.run(1)
    for_b = sim.arrive("b")
    sim.run(2)
    assert sim.killed == [A]
    sim.run(5)
    assert sim.controller.phase(A) is Phase.STUCK
    assert reasons(sim, for_b, sim.arrive("a"), sim.arrive("b")) == [Reason.LOAD_FAILED] * 3
    sim.run(60)
    assert sim.killed.count(A) > 3
    sim.arrive("b")
    sim.run(1)
    assert sim.controller.phase(B) is Phase.READY


def test_others_do_not_care_for_a_stuck_process() -> None:
    """A swap that does not need the stuck one's room goes on."""
    sim = swapping(
        groups=(group("ab"), group("c", exclusive=False)),
        server_of=lambda _: FakeServer(leaves_in=None, dies_after_kill_in=60),
    )
    sim.arrive("a")
    sim.run(1)
    sim.arrive("b")
    sim.arrive("c")
    sim.run(10)
    assert sim.controller.phase(A) is Phase.STUCK
    assert sim.controller.phase(C) is Phase.READY


def test_a_stalled_server_begins_anew_for_who_waits() -> None:
    """A stall ends the server, though requests hang on it, and the waiting ones get the next."""
    sim = swapping(specs=specs(a=spec(A, concurrency=1)), seconds_of_work=lambda: 1000)
    sim.arrive("a")
    waiting = sim.arrive("a")
    sim.run(1)
    sim.event("a", Event.STALLED, "no answer in 60 s")
    assert sim.phase_changes[-1].why == "no answer in 60 s"
    sim.run(2)
    assert sim.granted[-1] == waiting


def test_a_failed_start_brings_the_old_model_back() -> None:
    """With `restoreOnFailure` the model that had to leave runs again."""
    sim = swapping(
        specs=specs(b=spec(B, restore_on_failure=True)),
        server_of=lambda m: FakeServer(fails=m == B),
    )
    sim.arrive("a")
    sim.run(2)
    sim.arrive("b")
    sim.run(5)
    assert sim.spawned == [A, B, A]
    assert sim.controller.phase(A) is Phase.READY


def test_unload_is_not_undone_by_a_restore() -> None:
    """A model that was unloaded after it had to leave is not brought back."""
    sim = swapping(
        specs=specs(b=spec(B, restore_on_failure=True)),
        server_of=lambda m: FakeServer(fails=m == B),
    )
    sim.arrive("a")
    sim.run(2)
    sim.arrive("b")
    sim.run(0.2)
    sim.execute(sim.controller.unload(A, sim.clock()))
    sim.run(5)
    assert sim.spawned == [A, B]


def test_a_stall_in_that_moment_is_survived() -> None:
    """When that ready model stalls while it waits for the neighbour's exit, it starts anew."""
    groups = (FakeGroup("one", (A,)), FakeGroup("two", (B,), exclusive=False))
    sim = swapping(groups=groups, server_of=lambda m: FakeServer(leaves_in=1.0 if m == B else 3.0))
    sim.arrive("a")
    sim.run(1)
    sim.arrive("b")
    sim.run(2)
    again = sim.arrive("a")
    sim.event("a", Event.STALLED)
    sim.run(10)
    assert again in sim.granted
    assert sim.spawned == [A, B, A]


def test_nobody_starts_a_crashing_model_that_nobody_wants() -> None:
    """A swap whose requests were refused because the model backs off is dropped."""
    groups = (FakeGroup("one", (A,)), FakeGroup("two", (B,), exclusive=False))
    sim = swapping(groups=groups, server_of=lambda _: FakeServer(leaves_in=1.0))
    for _ in range(3):
        sim.arrive("a")
        sim.run(1)
        sim.exit("a")
    sim.arrive("a")
    sim.run(1)
    sim.arrive("b")
    sim.run(1)
    waiting = sim.arrive("a")
    sim.exit("a")
    sim.run(5)
    assert reasons(sim, waiting) == [Reason.BACKING_OFF]
    assert sim.spawned.count(A) == 4
