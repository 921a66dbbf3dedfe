"""Servers that fail, crash, stall or do not exit."""

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
    """All queued requests are refused with the reason; the back-off doubles up to 30 s."""
    sim = swapping(server_of=lambda _: FakeServer(fails=True, starts_in=0.1))
    delays = []
    for _ in range(8):
        ids = [sim.arrive("a"), sim.arrive("a")]
        sim.run(0.1)
        assert reasons(sim, *ids) == [Reason.LOAD_FAILED] * 2
        refused = sim.answers[sim.arrive("a")]
        assert isinstance(refused, Fail)
        assert (refused.reason, refused.detail) == (Reason.BACKING_OFF, "exit code 1")
        assert refused.retry_after is not None
        delays.append(round(refused.retry_after))
        sim.run(refused.retry_after)
    assert delays == [1, 2, 4, 8, 16, 30, 30, 30]
    assert sim.controller.state(A).failure == failure(
        Cause.EXITED, "exit code 1", brief="exit code 1"
    )


def test_a_good_start_ends_the_failure() -> None:
    """A model that became ready has no failure to show, and its next failed start backs off 1 s."""
    servers = iter([FakeServer(fails=True), FakeServer(), FakeServer(fails=True)])
    sim = swapping(server_of=lambda _: next(servers))
    for _ in range(2):
        sim.arrive("a")
        sim.run(3)
    assert sim.controller.state(A).failure is None
    sim.exit("a")
    sim.arrive("a")
    sim.run(0.5)
    refused = sim.answers[sim.arrive("a")]
    assert isinstance(refused, Fail)
    assert refused.retry_after == Seconds(1)


def test_unload_resets_the_backoff() -> None:
    """A model that backs off may start at once after an unload."""
    sim = swapping(server_of=lambda _: FakeServer(fails=True))
    sim.arrive("a")
    sim.run(1)
    sim.execute(sim.controller.unload([A], sim.clock()))
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
    """A server that never becomes ready is stopped, then killed; queued requests are refused at the deadline."""
    sim = swapping(
        specs=specs(a=spec(A, start_timeout=Seconds(10))),
        server_of=lambda _: FakeServer(starts_in=1000, stops_in=None),
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
    """A ready server that crashed is started for the next request, three times without back-off."""
    sim = swapping()
    for _ in range(4):
        sim.arrive("a")
        sim.run(1)
        sim.exit("a", "killed")
    refused = sim.answers[sim.arrive("a")]
    assert isinstance(refused, Fail)
    assert (refused.reason, refused.detail) == (Reason.BACKING_OFF, "killed")
    assert len(sim.spawned) == 4


def test_a_late_crash_resets_the_count() -> None:
    """A server that ran for a while before it crashed is not in a crash loop."""
    sim = swapping()
    for _ in range(10):
        sim.arrive("a")
        sim.run(15)
        sim.exit("a", "killed")
    sim.arrive("a")
    assert len(sim.spawned) == 11


def test_queued_requests_survive_a_crash() -> None:
    """Requests that had not begun when the server crashed run on the next one."""
    sim = swapping(specs=specs(a=spec(A, concurrency=1)), seconds_of_work=lambda: 5.0)
    sim.arrive("a")
    later = sim.arrive("a")
    sim.run(1)
    sim.exit("a")
    sim.run(1)
    assert sim.granted[-1] == later


def test_a_server_that_does_not_exit_is_killed_and_reported() -> None:
    """A request that waits for a process that survives its kill is refused in bounded time."""
    sim = swapping(server_of=lambda _: FakeServer(stops_in=None, killed_in=60))
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


def test_a_stuck_process_blocks_no_other_swap() -> None:
    """A swap that does not evict the stuck model goes on."""
    sim = swapping(
        groups=(group("ab"), group("c", exclusive=False)),
        server_of=lambda _: FakeServer(stops_in=None, killed_in=60),
    )
    sim.arrive("a")
    sim.run(1)
    sim.arrive("b")
    sim.arrive("c")
    sim.run(10)
    assert sim.controller.phase(A) is Phase.STUCK
    assert sim.controller.phase(C) is Phase.READY


def test_a_stalled_server_restarts_for_queued_requests() -> None:
    """A stall stops the server in spite of running requests; queued ones get the next."""
    sim = swapping(specs=specs(a=spec(A, concurrency=1)), seconds_of_work=lambda: 1000)
    sim.arrive("a")
    waiting = sim.arrive("a")
    sim.run(1)
    sim.event("a", Event.STALLED, "no answer in 60 s")
    assert sim.phase_changes[-1].why == "no answer in 60 s"
    sim.run(2)
    assert sim.granted[-1] == waiting


def test_a_failed_start_brings_the_old_model_back() -> None:
    """With `restoreOnFailure` the evicted model runs again."""
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
    """A model that was unloaded after its eviction is not brought back."""
    sim = swapping(
        specs=specs(b=spec(B, restore_on_failure=True)),
        server_of=lambda m: FakeServer(fails=m == B),
    )
    sim.arrive("a")
    sim.run(2)
    sim.arrive("b")
    sim.run(0.2)
    sim.execute(sim.controller.unload([A], sim.clock()))
    sim.run(5)
    assert sim.spawned == [A, B]


def test_a_stall_during_an_eviction_restarts_the_model() -> None:
    """A ready model that stalls while it waits for an exit starts anew."""
    groups = (FakeGroup("one", (A,)), FakeGroup("two", (B,), exclusive=False))
    sim = swapping(groups=groups, server_of=lambda m: FakeServer(stops_in=1.0 if m == B else 3.0))
    sim.arrive("a")
    sim.run(1)
    sim.arrive("b")
    sim.run(2)
    again = sim.arrive("a")
    sim.event("a", Event.STALLED)
    sim.run(10)
    assert again in sim.granted
    assert sim.spawned == [A, B, A]


def test_a_crashing_model_without_requests_is_not_started() -> None:
    """A swap whose requests were refused because the model backs off is dropped."""
    groups = (FakeGroup("one", (A,)), FakeGroup("two", (B,), exclusive=False))
    sim = swapping(groups=groups, server_of=lambda _: FakeServer(stops_in=1.0))
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
