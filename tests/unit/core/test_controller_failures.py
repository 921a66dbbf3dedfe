"""Servers that fail, die, stall or do not die: what the others get."""

from __future__ import annotations

from modelswap.core.commands import Fail, Reason
from modelswap.core.failure import Cause, failure
from modelswap.core.models.lifecycle import Event, Phase
from modelswap.core.spec import ModelId
from modelswap.units import Seconds
from support.controller_simulator import FakeGroup, Server, group, reasons, spec, specs, swapping

A, B, C = ModelId("a"), ModelId("b"), ModelId("c")
ALL_TOGETHER = (group("abc", swap=False),)


def test_a_failed_start_tells_everybody_and_backs_off() -> None:
    """All who waited hear why; the next are refused at once, for longer each time, up to 30 s."""
    world = swapping(server_of=lambda _: Server(fails=True, starts_in=0.1))
    rests = []
    for _ in range(8):
        ids = [world.arrive("a"), world.arrive("a")]
        world.run(0.1)
        assert reasons(world, *ids) == [Reason.LOAD_FAILED] * 2
        refused = world.answers[world.arrive("a")]
        assert isinstance(refused, Fail)
        assert (refused.reason, refused.detail) == (Reason.BACKING_OFF, "exit code 1")
        assert refused.retry_after is not None
        rests.append(round(refused.retry_after))
        world.run(refused.retry_after)
    assert rests == [1, 2, 4, 8, 16, 30, 30, 30]
    assert world.controller.failure(A) == failure(Cause.EXITED, "exit code 1", brief="exit code 1")


def test_a_good_start_ends_the_failure() -> None:
    """A model that became ready has no failure to show, and its next failed start rests 1 s."""
    servers = iter([Server(fails=True), Server(), Server(fails=True)])
    world = swapping(server_of=lambda _: next(servers))
    for _ in range(2):
        world.arrive("a")
        world.run(3)
    assert world.controller.failure(A) is None
    world.exit("a")
    world.arrive("a")
    world.run(0.5)
    refused = world.answers[world.arrive("a")]
    assert isinstance(refused, Fail)
    assert refused.retry_after == Seconds(1)


def test_unload_forgives() -> None:
    """Who unloads a model that backs off may start it again at once."""
    world = swapping(server_of=lambda _: Server(fails=True))
    world.arrive("a")
    world.run(1)
    world.obey(world.controller.unload(A, world.clock()))
    world.arrive("a")
    assert world.spawned == [A, A]


def test_a_spawn_that_fails_is_a_failed_start() -> None:
    """No process at all is a failure with the launcher's reason."""
    world = swapping()
    id_ = world.arrive("a")
    del world.processes[A]
    world.event("a", Event.SPAWN_FAILED, "no such file: llama")
    answer = world.answers[id_]
    assert isinstance(answer, Fail)
    assert answer.detail == "no such file: llama"


def test_a_start_has_a_deadline() -> None:
    """A server that never becomes ready is stopped, then killed; who waited was told at the deadline."""
    world = swapping(
        specs=specs(a=spec(A, start_timeout=Seconds(10))),
        server_of=lambda _: Server(starts_in=1000, leaves_in=None),
    )
    id_ = world.arrive("a")
    world.run(10)
    answer = world.answers[id_]
    assert isinstance(answer, Fail)
    assert (answer.reason, answer.detail) == (Reason.LOAD_FAILED, "not ready within 10 s")
    assert (world.terminated, world.killed) == ([A], [])
    world.run(5)
    assert world.killed == [A]


def test_killed_servers_start_again_at_once() -> None:
    """A ready server that died is started for the next request, three times in a row without a rest."""
    world = swapping()
    for _ in range(4):
        world.arrive("a")
        world.run(1)
        world.exit("a", "killed")
    refused = world.answers[world.arrive("a")]
    assert isinstance(refused, Fail)
    assert (refused.reason, refused.detail) == (Reason.BACKING_OFF, "killed")
    assert len(world.spawned) == 4


def test_a_long_life_forgives() -> None:
    """A server that lived for a while before it died is not in a crash loop."""
    world = swapping()
    for _ in range(10):
        world.arrive("a")
        world.run(15)
        world.exit("a", "killed")
    world.arrive("a")
    assert len(world.spawned) == 11


def test_who_waits_for_a_slot_survives_a_crash() -> None:
    """Requests that had not begun when the server died run on its successor."""
    world = swapping(specs=specs(a=spec(A, concurrency=1)), seconds_of_work=lambda: 5.0)
    world.arrive("a")
    later = world.arrive("a")
    world.run(1)
    world.exit("a")
    world.run(1)
    assert world.granted[-1] == later


def test_a_deaf_server_is_killed_and_a_stuck_one_reported() -> None:
    """Whoever waits for the room of a process that survives its kill is told, in bounded time."""
    world = swapping(server_of=lambda _: Server(leaves_in=None, dies_after_kill_in=60))
    world.arrive("a")
    world.run(1)
    for_b = world.arrive("b")
    world.run(2)
    assert world.killed == [A]
    world.run(5)
    assert world.controller.phase(A) is Phase.STUCK
    assert reasons(world, for_b, world.arrive("a"), world.arrive("b")) == [Reason.LOAD_FAILED] * 3
    world.run(60)
    assert world.killed.count(A) > 3
    world.arrive("b")
    world.run(1)
    assert world.controller.phase(B) is Phase.READY


def test_others_do_not_care_for_a_stuck_process() -> None:
    """A swap that does not need the stuck one's room goes on."""
    world = swapping(
        groups=(group("ab"), group("c", exclusive=False)),
        server_of=lambda _: Server(leaves_in=None, dies_after_kill_in=60),
    )
    world.arrive("a")
    world.run(1)
    world.arrive("b")
    world.arrive("c")
    world.run(10)
    assert world.controller.phase(A) is Phase.STUCK
    assert world.controller.phase(C) is Phase.READY


def test_a_stalled_server_begins_anew_for_who_waits() -> None:
    """A stall ends the server, though requests hang on it, and the waiting ones get the next."""
    world = swapping(specs=specs(a=spec(A, concurrency=1)), seconds_of_work=lambda: 1000)
    world.arrive("a")
    waiting = world.arrive("a")
    world.run(1)
    world.event("a", Event.STALLED, "no answer in 60 s")
    assert world.told[-1].why == "no answer in 60 s"
    world.run(2)
    assert world.granted[-1] == waiting


def test_a_failed_start_brings_the_old_model_back() -> None:
    """With `restoreOnFailure` the model that had to leave runs again."""
    world = swapping(
        specs=specs(b=spec(B, restore_on_failure=True)),
        server_of=lambda m: Server(fails=m == B),
    )
    world.arrive("a")
    world.run(2)
    world.arrive("b")
    world.run(5)
    assert world.spawned == [A, B, A]
    assert world.controller.phase(A) is Phase.READY


def test_unload_is_not_undone_by_a_restore() -> None:
    """A model that was unloaded after it had to leave is not brought back."""
    world = swapping(
        specs=specs(b=spec(B, restore_on_failure=True)),
        server_of=lambda m: Server(fails=m == B),
    )
    world.arrive("a")
    world.run(2)
    world.arrive("b")
    world.run(0.2)
    world.obey(world.controller.unload(A, world.clock()))
    world.run(5)
    assert world.spawned == [A, B]


def test_a_stall_in_that_moment_is_survived() -> None:
    """When that ready model stalls while it waits for the neighbour's exit, it starts anew."""
    groups = (FakeGroup("one", (A,)), FakeGroup("two", (B,), exclusive=False))
    world = swapping(groups=groups, server_of=lambda m: Server(leaves_in=1.0 if m == B else 3.0))
    world.arrive("a")
    world.run(1)
    world.arrive("b")
    world.run(2)
    again = world.arrive("a")
    world.event("a", Event.STALLED)
    world.run(10)
    assert again in world.granted
    assert world.spawned == [A, B, A]


def test_nobody_starts_a_crashing_model_that_nobody_wants() -> None:
    """A swap whose requests were refused because the model backs off is dropped."""
    groups = (FakeGroup("one", (A,)), FakeGroup("two", (B,), exclusive=False))
    world = swapping(groups=groups, server_of=lambda _: Server(leaves_in=1.0))
    for _ in range(3):
        world.arrive("a")
        world.run(1)
        world.exit("a")
    world.arrive("a")
    world.run(1)
    world.arrive("b")
    world.run(1)
    waiting = world.arrive("a")
    world.exit("a")
    world.run(5)
    assert reasons(world, waiting) == [Reason.BACKING_OFF]
    assert world.spawned.count(A) == 4
