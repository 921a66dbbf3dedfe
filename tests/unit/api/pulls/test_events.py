"""The news of pulls: log, event streams, counters."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest

from modelswap.api.llama_router.events import RouterReader
from modelswap.api.pulls.events import names_of, router_name
from modelswap.config.plan import Plan
from modelswap.pull.progress import FileProgress, PullFailure, PullPhase, PullProgress
from modelswap.units import Bytes, Seconds
from support.config import load_text
from support.event_stream import parsed_events
from support.hand_puller import HandPuller, with_source
from support.services import close, make_services

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from modelswap.api.services import Services

SOURCE = "hf:o/r"
FILES = (
    FileProgress(name="a.gguf", done=Bytes(5), total=Bytes(10)),
    FileProgress(name="b", done=Bytes(0)),
)


def plan_of_one() -> Plan:
    plan = load_text("models: {a: {cmd: srv --port 1}, b: {cmd: srv --port 2}}").plan
    assert plan is not None
    return with_source(plan, "a")


@pytest.fixture
def puller() -> HandPuller:
    return HandPuller()


@pytest.fixture
async def services(puller: HandPuller) -> AsyncIterator[Services]:
    made = make_services(plan_of_one(), puller=puller)
    yield made
    close(made)


def logged(services: Services) -> str:
    return services.logs.history("proxy").decode()


async def read_all(reader: RouterReader) -> list[dict[str, Any]]:
    """Everything that the router's stream has told so far."""
    data = await reader.stream.take(Seconds(1)) or b""
    return [json.loads(line[6:]) for line in data.decode().split("\n") if line.startswith("data: ")]


async def test_a_pull_that_ends_well(services: Services, puller: HandPuller) -> None:
    """Each reader hears of its begin, its steps and its end, in its own words."""
    reader = RouterReader(lambda _: True, shows_details=True)
    services.fleet_events.router.subscribe(reader)
    client = services.bus.subscribe(list)
    puller.start(SOURCE)
    puller.tell(SOURCE, PullPhase.DOWNLOADING, done=5, total=10, files=FILES, received=5)
    puller.tell(SOURCE, PullPhase.FINISHED, done=10, total=10, received=10)
    events = await read_all(reader)
    assert [(one["event"], one.get("data")) for one in events] == [
        ("model_status", {"status": "downloading"}),
        (
            "download_progress",
            {"progress": {"a.gguf": {"done": 5, "total": 10}, "b": {"done": 0, "total": 0}}},
        ),
        ("download_finished", None),
        ("model_status", {"status": "downloaded"}),
    ]
    assert {one["model"] for one in events} == {"a"}
    frames = parsed_events(await client.stream.take(Seconds(1)) or b"")
    [first, second, third] = [payload for kind, payload in frames if kind == "pulls"]
    assert first[0] | {"source": SOURCE, "models": ["a"], "phase": "resolving"} == first[0]
    assert (second[0]["done"], second[0]["total"], second[0]["seconds_left"]) == (5, 10, None)
    assert second[0]["files"][1] == {"name": "b", "done": 0, "total": None}
    assert third[0]["phase"] == "finished"
    assert services.metrics.counters.pulled_bytes == 10
    assert services.metrics.counters.pulls == {"finished": 1}
    assert f"pulled {SOURCE}, 10 B" in logged(services)
    client.close()


@pytest.mark.parametrize(
    ("phase", "more", "data", "line", "result"),
    [
        (
            PullPhase.FAILED,
            {"failure": PullFailure.NETWORK, "text": "no route"},
            {"failure": "network", "reason": "no route"},
            "was not pulled: no route (network)",
            "network",
        ),
        (PullPhase.FAILED, {"text": "?"}, {"failure": None, "reason": "?"}, "not pulled", "failed"),
        (PullPhase.CANCELLED, {}, {"reason": "it was cancelled"}, "was cancelled", "cancelled"),
    ],
)
async def test_a_pull_that_does_not(  # noqa: PLR0917 - a table
    services: Services,
    puller: HandPuller,
    phase: PullPhase,
    more: Any,
    data: Any,
    line: str,
    result: str,
) -> None:
    """The reason is in the events, in the log and in the counters."""
    reader = RouterReader(lambda _: True, shows_details=True)
    services.fleet_events.router.subscribe(reader)
    puller.start("hf:o/other:Q8_0")
    puller.tell("hf:o/other:Q8_0", PullPhase.STALLED, text="nothing has come for 10 s")
    puller.tell("hf:o/other:Q8_0", phase, **more)
    events = await read_all(reader)
    assert (events[-1]["model"], events[-1]["event"]) == ("o/other:Q8_0", "download_failed")
    assert events[-1]["data"] == data
    assert "has stalled: nothing has come" in logged(services)
    assert line in logged(services)
    assert services.metrics.counters.pulls == {result: 1}
    await asyncio.sleep(0)  # the statuses are published after the fleet has heard


async def test_who_waits_for_the_hub_s_answer(services: Services, puller: HandPuller) -> None:
    """An order is answered when it is known what there is, or after its time."""
    puller.start(SOURCE)
    assert await services.pull_events.resolved(SOURCE, Seconds(0)) is None
    async with asyncio.TaskGroup() as tasks:
        asked = tasks.create_task(services.pull_events.resolved(SOURCE, Seconds(30)))
        await asyncio.sleep(0)
        puller.tell(SOURCE, PullPhase.RESOLVING, text="waits")
        puller.tell(SOURCE, PullPhase.DOWNLOADING)
        puller.tell(SOURCE, PullPhase.FINISHED)
    found = asked.result()
    assert found is not None
    assert found.phase is PullPhase.DOWNLOADING


def test_names() -> None:
    """A pull goes by its models, or by the name in the hub."""
    one = PullProgress(source=SOURCE, phase=PullPhase.RESOLVING)
    assert names_of(one, plan_of_one()) == ["a"]
    assert names_of(one, Plan()) == ["o/r"]
    assert router_name("https://h/a.gguf") == "https://h/a.gguf"
