"""Requests for a model whose files are still to be pulled, in the fleet."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from modelswap.config.load import load
from modelswap.core.commands import LeaseRequest, Reason
from modelswap.core.failure import Cause, failure
from modelswap.core.models.lifecycle import Phase
from modelswap.core.spec import ClientId, ModelId, ServerId
from modelswap.fleet import Fleet
from modelswap.fleet.pulls.gate import BACKOFF, Pulls
from modelswap.launch.protocol import Exit
from modelswap.pull.progress import PullFailure, PullPhase
from support.hand_launcher import Asker, HandLauncher, Notes
from support.hand_puller import HandPuller, with_source

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from modelswap.config.plan import Plan
    from modelswap.fleet import Ticket
    from modelswap.launch.protocol import Listener

A, B, C = ModelId("a"), ModelId("b"), ModelId("c")
SOURCE = "hf:o/r"
START = f"start {SOURCE}"


class PullingFleet:
    """A fleet with the models a, b and c; a is to be pulled."""

    def __init__(self, tmp_path: Path, more: str = "") -> None:
        rows = "".join(f"  {m}: {{cmd: server --port ${{PORT}}}}\n" for m in "abc")
        file = tmp_path / "config.yaml"
        file.write_text(f"startPort: 28750\n{more}\nmodels:\n{rows}")
        plan = load(file, None).plan
        assert plan is not None
        self.whole = plan
        self.plan = with_source(plan, "a")
        self.puller = HandPuller()
        self.arrived: list[str] = []
        launchers: list[HandLauncher] = []

        def make(listener: Listener) -> HandLauncher:
            launchers.append(HandLauncher(listener))
            return launchers[-1]

        pulls = Pulls(self.puller, self.arrived.append)
        self.fleet = Fleet(self.plan, self.plan.policy, make, Notes(), pulls=pulls)
        self.launcher = launchers[0]
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1))

    def ask(self, model: ModelId = A) -> tuple[Asker, Ticket]:
        asker = Asker()
        return asker, self.fleet.ask(LeaseRequest(model, ClientId("c")), asker)

    async def until(self, true: Callable[[], object]) -> None:
        async with asyncio.timeout(30):
            while not true():  # noqa: ASYNC110 - the loop's turn
                await asyncio.sleep(0)

    async def pulling(self) -> None:
        """Wait until the pull has begun."""
        await self.until(lambda: self.puller.orders)

    async def settle(self) -> None:
        """Let every look at the disk, and what follows from it, come to its end: one thread does them in turn."""
        await asyncio.get_running_loop().run_in_executor(None, int)
        await asyncio.sleep(0)

    def replace(self, plan: Plan, *changed: ModelId, removed: ModelId | None = None) -> None:
        gone = set() if removed is None else {removed}
        self.plan = plan
        self.fleet.replace(plan, plan.policy, changed=set(changed), removed=gone)

    def complete(self) -> None:
        """Do what the program does when files have come."""
        self.replace(with_source(self.plan, "a", is_missing=False), A)
        self.fleet.gate.pulled(SOURCE)

    def fail(self, failure: PullFailure = PullFailure.NETWORK, **more: object) -> None:
        self.puller.tell(SOURCE, PullPhase.FAILED, failure=failure, text="no route", **more)


@pytest.fixture
async def one(tmp_path: Path) -> PullingFleet:
    return PullingFleet(tmp_path)


async def test_a_request_waits_for_the_pull_and_is_served(one: PullingFleet) -> None:
    """No server starts before the files are here; then the request is granted as any other."""
    asker, _ = one.ask()
    await one.pulling()
    one.puller.tell(SOURCE, PullPhase.FINISHED)
    assert (one.arrived, one.launcher.orders, asker.answers) == ([SOURCE], [], [])
    one.complete()
    assert one.launcher.orders == ["start a"]
    await one.until(lambda: asker.answers)
    assert asker.answers == ["granted a"]


async def test_a_pull_is_no_load(one: PullingFleet) -> None:
    """While a model is pulled nothing is evicted for it, and it does not count as loading."""
    ready, _ = one.ask(B)
    await one.until(lambda: ready.answers)
    one.ask()
    await one.pulling()
    assert one.launcher.orders == ["start b"]
    assert one.fleet.listed_phase(A) is Phase.STOPPED
    assert one.fleet.waiting(A) == 1
    pull = one.fleet.pull_of(A)
    assert pull is not None
    assert pull.phase is PullPhase.RESOLVING


async def test_requests_and_models_share_a_pull(one: PullingFleet) -> None:
    """Many requests, and models with one source, pull once, and all go on together."""
    one.replace(with_source(one.whole, "a", "b"))
    first, _ = one.ask()
    await one.pulling()
    second, third = one.ask()[0], one.ask(B)[0]
    await one.settle()
    one.puller.tell(SOURCE, PullPhase.DOWNLOADING)
    one.puller.tell(SOURCE, PullPhase.FINISHED)
    fourth, _ = one.ask()  # between the pull and the plan that knows of it
    await one.settle()
    one.replace(with_source(one.whole, "a", "b", is_missing=False), A, B)
    one.fleet.gate.pulled(SOURCE)
    await one.until(lambda: first.answers and second.answers and fourth.answers)
    assert one.puller.orders == [START]
    assert first.answers == second.answers == fourth.answers == ["granted a"]
    assert third.answers == []  # it waits for its turn
    assert one.fleet.waiting(B) == 1


async def test_files_that_came_in_another_way(one: PullingFleet) -> None:
    """What another program has pulled meanwhile is used without asking a hub."""
    one.puller.here.add(SOURCE)
    one.ask()
    await one.until(lambda: one.arrived)
    assert (one.arrived, one.puller.orders) == ([SOURCE], [])


async def test_a_failure_and_its_back_off(
    one: PullingFleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A failed pull is told to all that wait; requests right after it are refused, later ones try again."""
    asker, _ = one.ask()
    await one.pulling()
    one.fail()
    assert asker.refused is not None
    assert (asker.refused.reason, asker.refused.retry_after) == (Reason.PULL_FAILED, BACKOFF)
    failed = one.fleet.failure(A)
    assert failed is not None
    assert (failed.why.cause, failed.why.text) == (Cause.PULL_FAILED, "no route (network)")
    assert not failed.why.is_lasting
    assert failed.retry_at is not None
    again, _ = one.ask()
    assert again.answers == ["pull failed"]
    assert one.puller.orders == [START]
    loop = asyncio.get_running_loop()
    later = loop.time() + BACKOFF
    monkeypatch.setattr(loop, "time", lambda: later)
    failed = one.fleet.failure(A)
    assert failed is not None
    assert failed.retry_at is None
    one.ask()
    await one.until(lambda: one.puller.orders == [START, START])
    assert one.fleet.pull_of(A) is not None


async def test_a_hub_that_says_when(one: PullingFleet) -> None:
    """The pause is the one that the hub asks for."""
    asker, _ = one.ask()
    await one.pulling()
    one.fail(PullFailure.RATE_LIMITED, retry_after=7.0)
    assert asker.refused is not None
    assert asker.refused.retry_after == 7.0


async def test_an_order_tries_at_once(one: PullingFleet) -> None:
    """What a user orders is no storm of requests: it ends the back-off."""
    one.ask()
    await one.pulling()
    one.fail(PullFailure.TOKEN_MISSING)
    failed = one.fleet.failure(A)
    assert failed is not None
    assert failed.why.is_lasting
    one.fleet.pull(SOURCE)
    assert one.fleet.failure(A) is None
    await one.until(lambda: one.puller.orders == [START, START])
    one.fail()
    one.fleet.gate.forget_failure(A)
    one.fleet.gate.forget_failure(ModelId("nobody"))
    asker, _ = one.ask()
    assert asker.answers == []


async def test_an_unload_cancels(one: PullingFleet) -> None:
    """The pull ends, what waits is refused, and a request may pull again at once."""
    one.fleet.preload([A])
    asker, _ = one.ask()
    await one.pulling()
    await one.fleet.unload([A, B])
    assert one.puller.orders == [START, f"cancel {SOURCE}"]
    assert asker.answers == ["pull cancelled"]
    assert one.fleet.pull_of(A) is None
    asker, _ = one.ask()
    await one.until(lambda: one.puller.orders[-1] == START)
    assert asker.answers == []


async def test_a_cancel_before_it_has_begun(one: PullingFleet) -> None:
    """While the disk is looked at nothing runs, and nothing begins afterwards."""
    asker, _ = one.ask()
    assert one.fleet.gate.cancel_pull(SOURCE)
    assert asker.answers == ["pull cancelled"]
    assert not one.fleet.gate.cancel_pull(SOURCE)
    await one.settle()
    assert one.puller.orders == []


async def test_one_who_leaves_ends_no_pull(one: PullingFleet) -> None:
    """Neither a client that is gone nor one that was told to ask again stops the pull."""
    (gone, first), (told, second) = one.ask(), one.ask()
    await one.pulling()
    one.fleet.cancel(first)
    one.fleet.leave(second)
    assert one.fleet.waiting(A) == 0
    one.puller.tell(SOURCE, PullPhase.FINISHED)
    one.complete()
    assert (gone.answers, told.answers, one.launcher.orders) == ([], [], [])


async def test_a_preload_waits_too(one: PullingFleet) -> None:
    """A preload pulls what it needs, and loads it then; the others do not wait for that."""
    one.fleet.preload([A, B])
    assert one.launcher.orders == ["start b"]
    await one.pulling()
    one.puller.tell(SOURCE, PullPhase.FINISHED)
    await one.until(lambda: one.fleet.phase(B) is Phase.READY)
    one.complete()
    assert one.launcher.orders == ["start b", "terminate b"]
    one.launcher.exit(ServerId("b"))
    assert one.launcher.orders[2:] == ["start a"]


async def test_a_model_that_is_removed_meanwhile(one: PullingFleet) -> None:
    """Its requests are refused, and the pull that no model needs any more is cancelled."""
    asker, _ = one.ask()
    one.fleet.preload([A])
    await one.pulling()
    rest = {name: model for name, model in one.whole.models.items() if name != A}
    one.replace(replace(one.whole, models=rest), removed=A)
    assert asker.answers == ["removed"]
    assert one.puller.orders == [START, f"cancel {SOURCE}"]
    assert one.fleet.pull_of(A) is None


async def test_a_source_that_changes_meanwhile(one: PullingFleet) -> None:
    """Requests go on to wait, for the new source; the old pull is cancelled."""
    asker, _ = one.ask()
    await one.pulling()
    one.replace(with_source(one.whole, "a", source="hf:o/other"), A)
    await one.until(lambda: "start hf:o/other" in one.puller.orders)
    assert one.puller.orders == [START, f"cancel {SOURCE}", "start hf:o/other"]
    assert asker.answers == []


async def test_queued_requests_of_a_source_that_changes(one: PullingFleet) -> None:
    """A request that waits for its turn waits for the pull, when a reload gives its model a new source."""
    ready, _ = one.ask(B)
    await one.until(lambda: ready.answers)
    queued, _ = one.ask(C)
    one.replace(with_source(one.plan, "c", source="hf:o/other"), C)
    one.fleet.release(B)
    await one.until(lambda: "start hf:o/other" in one.puller.orders)
    assert queued.answers == []
    assert "start c" not in one.launcher.orders
    assert one.fleet.waiting(C) == 1


async def test_a_model_that_runs_needs_no_pull(one: PullingFleet) -> None:
    """As long as the server of the present configuration is up, missing files do not matter."""
    asker, _ = one.ask(B)
    await one.until(lambda: asker.answers)
    missing = with_source(one.plan, "b")
    same = replace(missing.models[B], identity=one.plan.models[B].identity)
    one.replace(replace(missing, models={**missing.models, B: same}))
    asker, _ = one.ask(B)
    assert asker.answers == ["granted b"]


async def test_what_was_pulled_cannot_be_used(one: PullingFleet) -> None:
    """Files that come and are gone again fail the requests; nothing waits for ever."""
    asker, _ = one.ask()
    await one.pulling()
    one.puller.tell(SOURCE, PullPhase.FINISHED)
    one.fleet.gate.pulled(SOURCE)
    assert asker.answers == ["pull failed"]
    failed = one.fleet.failure(A)
    assert failed is not None
    assert "cannot be used" in failed.why.brief


async def test_files_that_are_gone(one: PullingFleet) -> None:
    """When a server does not find its file the disk is looked at again; the next request pulls then."""
    one.complete()
    ready, _ = one.ask()
    await one.until(lambda: ready.answers)
    why = failure(Cause.FILE_NOT_FOUND, "no such file")
    one.launcher.listener.on_exited(ServerId("a"), Exit(reason="exited", failure=why))
    assert one.arrived == [SOURCE]
    one.replace(with_source(one.plan, "a"), A)
    one.fleet.gate.pulled(SOURCE)
    asker, _ = one.ask()
    assert asker.answers == []
    await one.pulling()


async def test_the_queue_has_its_bound(tmp_path: Path) -> None:
    """Requests that wait for pulls are bounded as those that wait for a load."""
    one = PullingFleet(tmp_path, "limits: {queue: 1}")
    one.ask()
    asker, _ = one.ask()
    assert asker.answers == ["queue full"]


async def test_a_shutdown(one: PullingFleet) -> None:
    """What waits is refused at once, and the pulls are cancelled."""
    asker, _ = one.ask()
    await one.pulling()
    one.fleet.drain()
    assert asker.answers == ["shutting down"]
    late, _ = one.ask()
    assert late.answers == ["shutting down"]
    one.fleet.gate.close()
    assert one.puller.orders == [START, f"cancel {SOURCE}"]


async def test_what_another_front_is_told(one: PullingFleet) -> None:
    """Tickets that are held and pulls that run move over; what is told of them here then changes nothing."""
    asker, ticket = one.ask()
    await one.pulling()
    inherited, waiting = one.fleet.estate()
    assert [held for _, held in waiting] == [ticket]
    assert inherited.pulls == (SOURCE,)
    assert inherited.pulling[A].source == SOURCE
    one.fleet.gate.close()
    assert asker.answers == []


async def test_a_start_without_files(one: PullingFleet) -> None:
    """A start that comes although the files are gone fails with that reason."""
    one.launcher.orders.clear()
    one.fleet._preload([A])
    assert one.launcher.orders == []
    failed = one.fleet.failure(A)
    assert failed is not None
    assert failed.why.cause is Cause.FILE_NOT_FOUND


async def test_without_a_puller(one: PullingFleet) -> None:
    """A fleet that pulls nothing says so to those who ask for a model without files."""
    launchers: list[HandLauncher] = []

    def make(listener: Listener) -> HandLauncher:
        launchers.append(HandLauncher(listener))
        return launchers[-1]

    fleet = Fleet(one.plan, one.plan.policy, make, Notes())
    assert fleet.gate.estate() == ([], ())
    assert not fleet.gate.cancel_pull(SOURCE)
    asker = Asker()
    fleet.ask(LeaseRequest(A, ClientId("c")), asker)
    await one.until(lambda: asker.answers)
    assert asker.answers == ["pull failed"]
