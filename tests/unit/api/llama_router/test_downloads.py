"""Who may order pulls and removals, and what they are refused with; `test_pulled_models.py` has the real ones."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from modelswap.api.auth.identity import ANONYMOUS, Identity
from modelswap.api.control.control_request import ControlRequest
from modelswap.api.llama_router import downloads
from modelswap.api.llama_router.records import ordered_records
from modelswap.api.snapshot import ConfigSnapshot
from modelswap.config.plan import Discovered, Plan
from modelswap.core.spec import ModelId
from modelswap.errors import ForbiddenError, ReplyError, RouterError, UnavailableError
from modelswap.fleet import Fleet
from modelswap.pull.progress import FileProgress, PullFailure, PullPhase
from modelswap.units import Bytes, Seconds
from support.config import load_text
from support.hand_puller import HandPuller, with_source
from support.services import IdleFleet, close, make_services

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from modelswap.api.services import Services

SOURCE = "hf:o/r:Q4_K_M"
LIMITED = Identity("limited", models=("a",))


class OrderedFleet(Fleet):
    """Pulls by hand; nothing runs."""

    def __init__(self, puller: HandPuller) -> None:
        self.puller = puller
        self.unloaded: list[str] = []
        self.gate: Any = SimpleNamespace(cancel_pull=puller.cancel)

    def pull(self, source: str) -> None:
        self.puller.start(source)

    def running(self) -> list[Any]:
        return []

    async def unload(self, models: Any, *, force: bool = False) -> None:
        del force
        self.unloaded += models


def plan_of(*, is_missing: bool = True, sees_hub: bool = False) -> Plan:
    plan = load_text("models: {a: {cmd: srv --port 1}, b: {cmd: srv --port 2}}").plan
    assert plan is not None
    plan = with_source(plan, "a", is_missing=is_missing, source=SOURCE)
    return replace(plan, discovered=Discovered(sees_hub=True) if sees_hub else None)


@pytest.fixture
def puller() -> HandPuller:
    return HandPuller()


@pytest.fixture
async def make(puller: HandPuller) -> AsyncIterator[Callable[[Plan], Services]]:
    made: list[Services] = []

    def build(plan: Plan) -> Services:
        made.append(make_services(plan, fleet=OrderedFleet(puller), puller=puller))
        return made[-1]

    yield build
    for services in made:
        close(services)


def asked(services: Services, identity: Identity = ANONYMOUS) -> ControlRequest:
    request: Any = SimpleNamespace(query="", header=lambda _: None)
    return ControlRequest(http_request=request, services=services, identity=identity)


async def ordered(services: Services, name: str, identity: Identity = ANONYMOUS) -> None:
    """Order a pull; the hub says at once what there is."""
    puller: Any = services.puller
    async with asyncio.timeout(30), asyncio.TaskGroup() as tasks:
        task = tasks.create_task(downloads.pull(asked(services, identity), name))
        while not task.done() and not puller.orders:  # noqa: ASYNC110 - the loop's turn
            await asyncio.sleep(0)
        for source in list(puller.running):
            puller.tell(source, PullPhase.DOWNLOADING)


@pytest.mark.parametrize("name", ["a", "o/r:q4_k_m", "hf:o/r:Q4_K_M"])
async def test_a_configured_model_is_pulled(
    make: Callable[[Plan], Services], puller: HandPuller, name: str
) -> None:
    """By its own name, or by what it is pulled from; once it is here it exists already."""
    await ordered(make(plan_of()), name)
    assert puller.orders == [f"start {SOURCE}"]
    with pytest.raises(RouterError, match="already exists"):
        await downloads.pull(asked(make(plan_of(is_missing=False))), name)


async def test_what_would_be_found(make: Callable[[Plan], Services], puller: HandPuller) -> None:
    """A new repository is pulled where the cache is looked at, and else refused with what to do."""
    with pytest.raises(RouterError, match=r"discover\.stores"):
        await downloads.pull(asked(make(plan_of())), "o/new")
    await ordered(make(plan_of(sees_hub=True)), "o/new")
    assert puller.orders == ["start hf:o/new"]


@pytest.mark.parametrize(
    ("name", "identity", "error"),
    [
        ("", ANONYMOUS, "non-empty"),
        ("b", ANONYMOUS, "already exists"),
        ("nonsense", ANONYMOUS, "names no source"),
        ("b", LIMITED, "may not use"),
        ("o/new", LIMITED, "would be another one"),
    ],
)
async def test_refusals(
    make: Callable[[Plan], Services], name: str, identity: Identity, error: str
) -> None:
    """A mistake in the name, and a key that is limited to other models."""
    with pytest.raises(ReplyError, match=error):
        await downloads.pull(asked(make(plan_of(sees_hub=True)), identity), name)


@pytest.mark.parametrize(
    ("failure", "status"),
    [
        (PullFailure.NOT_FOUND, 404),
        (PullFailure.AMBIGUOUS, 400),
        (PullFailure.TOKEN_MISSING, 400),
        (PullFailure.NETWORK, 502),
        (None, 502),
    ],
)
async def test_what_the_hub_refuses(
    make: Callable[[Plan], Services], puller: HandPuller, failure: PullFailure | None, status: int
) -> None:
    """Its reason is the order's error."""
    services = make(plan_of())

    async def fail() -> None:
        while not puller.orders:  # noqa: ASYNC110 - the loop's turn
            await asyncio.sleep(0)
        puller.tell(SOURCE, PullPhase.FAILED, failure=failure, text="because")

    async with asyncio.timeout(30), asyncio.TaskGroup() as tasks:
        tasks.create_task(fail())
        with pytest.raises(RouterError, match="because") as raised:
            await downloads.pull(asked(services), "a")
    assert raised.value.status == status


async def test_a_hub_that_takes_its_time(
    make: Callable[[Plan], Services], puller: HandPuller, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The order is accepted before the hub has answered; the events tell the rest."""
    monkeypatch.setattr(downloads, "ANSWER_WITHIN", Seconds(0))
    await downloads.pull(asked(make(plan_of())), "a")
    assert puller.orders == [f"start {SOURCE}"]


async def test_after_a_hand_over(make: Callable[[Plan], Services]) -> None:
    """Only the new process pulls and removes."""
    services = make(plan_of())
    services.fleet = IdleFleet()  # type: ignore[assignment]  # no `Fleet`, as a `RemoteFleet` is none
    with pytest.raises(UnavailableError):
        await downloads.pull(asked(services), "a")
    with pytest.raises(UnavailableError):
        await downloads.remove(asked(services), "a")


async def test_an_order_is_cancelled(make: Callable[[Plan], Services], puller: HandPuller) -> None:
    """By the name that it was ordered by, and by keys that may use it."""
    services = make(plan_of(sees_hub=True))
    assert not downloads.cancel_order(asked(services), "o/new")
    puller.start("hf:o/new")
    with pytest.raises(ForbiddenError):
        downloads.cancel_order(asked(services, LIMITED), "o/new")
    assert downloads.cancel_order(asked(services), "o/new")
    assert not downloads.cancel_order(asked(services), "o/new")
    puller.start("hf:o/new")
    await downloads.remove(asked(services), "o/new")
    assert puller.orders[-1] == "cancel hf:o/new"


@pytest.mark.parametrize(
    ("name", "status", "error"),
    [("", 400, "non-empty"), ("unknown", 404, "is not found"), ("b", 400, "not removable")],
)
async def test_what_is_not_removed(
    make: Callable[[Plan], Services], name: str, status: int, error: str
) -> None:
    """No name, no such model, and a model of another place."""
    with pytest.raises(RouterError, match=error) as raised:
        await downloads.remove(asked(make(plan_of(is_missing=False))), name)
    assert raised.value.status == status


async def test_files_that_lie_elsewhere(
    make: Callable[[Plan], Services], puller: HandPuller
) -> None:
    """What is no part of the cache is not removed, although the source is the hub's."""
    puller.here.add(SOURCE)
    services = make(plan_of(is_missing=False))
    with pytest.raises(RouterError, match="not removable"):
        await downloads.remove(asked(services), "a")
    fleet: Any = services.fleet
    assert fleet.unloaded == ["a"]


async def test_files_that_cannot_be_removed(
    make: Callable[[Plan], Services], puller: HandPuller, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is said why."""

    def refuse(_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("modelswap.pull.removal.remove", refuse)
    puller.here.add(SOURCE)
    with pytest.raises(RouterError, match="Permission denied") as raised:
        await downloads.remove(asked(make(plan_of(is_missing=False))), "a")
    assert raised.value.status == 500


async def test_models_without_files(make: Callable[[Plan], Services]) -> None:
    """A model whose files are still to come is removed by its pull's end."""
    services = make(plan_of())
    await downloads.remove(asked(services), "a")
    fleet: Any = services.fleet
    assert fleet.unloaded == ["a"]


async def test_what_is_listed_before_it_is_a_model(
    make: Callable[[Plan], Services], puller: HandPuller
) -> None:
    """A pull by its name in the hub: while it runs, and until it is found."""
    plan = plan_of()
    make(plan)
    snapshot = ConfigSnapshot(plan, listening=[])
    puller.start(SOURCE)  # a model of the configuration
    puller.start("hf:o/failed")
    puller.tell("hf:o/failed", PullPhase.FAILED)
    file = FileProgress(name="x.gguf", done=Bytes(1), total=Bytes(2))
    puller.tell("hf:o/new", PullPhase.DOWNLOADING, files=(file,))
    [record] = ordered_records(puller, snapshot)
    assert (record["id"], record["source"], record["can_remove"]) == ("o/new", "cache", False)
    assert record["status"] == {
        "value": "downloading", "progress": {"x.gguf": {"done": 1, "total": 2}},
    }  # fmt: skip
    puller.tell("hf:o/new", PullPhase.FINISHED)
    [record] = ordered_records(puller, snapshot)
    assert record["status"] == {"value": "downloaded"}
    assert ModelId("o/new") not in plan.models
