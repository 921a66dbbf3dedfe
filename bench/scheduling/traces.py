"""What clients do, made from a seed.

Guarantees: a trace is the same for every scheduler, and for every run of one seed. Nothing in it was
chosen by looking at a result.

Units: seconds, bytes.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Final

from bench.scheduling.machine import Model, Step, Trace

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

GB: Final = 10**9
HOUR: Final = 3600.0
READ: Final = 2.0
"""GB/s from disk and page cache to the device: between NVMe (1) and memory (9), `field.md` §9."""
PROCESS: Final = 1.0
"""Seconds of a start that do not depend on the size: the process, its first probe, the warm-up."""


def _model(name: str, gigabytes: float) -> Model:
    return Model(name, int(gigabytes * GB), start=PROCESS + gigabytes / READ)


MODELS: Final = {
    m.name: m
    for m in (
        _model("embed", 0.5),
        _model("tiny-1b", 1),
        _model("small-4b", 3),
        _model("mid-8b", 6),
        _model("vision-12b", 9),
        _model("coder-14b", 10),
        _model("chat-27b", 18),
        _model("moe-30b", 20),
    )
}
"""As they are found in one home: a quantized model takes about 0.6 bytes a parameter, and its context."""
ANSWER: Final = {
    "embed": 0.2,
    "tiny-1b": 1.5,
    "small-4b": 3.0,
    "mid-8b": 6.0,
    "vision-12b": 8.0,
    "coder-14b": 9.0,
    "chat-27b": 14.0,
    "moe-30b": 5.0,
}
"""Median seconds of one answer: 300 tokens at the speed of a consumer GPU; one batch of embeddings."""
SPREAD: Final = 0.6
"""Sigma of the logarithm of an answer's length: a third is below 0.7 or above 1.6 times the median."""

LONGEST: Final = 4.0
"""Times the median; then the limit of tokens ends an answer."""

EXCLUSIVE: Final = ("moe-30b", "coder-14b")
"""Two models that 24 GB do not hold together."""
TOGETHER: Final = ("small-4b", "coder-14b")
"""Two that they hold, beside some others."""


class Maker:
    """Draws steps from one seed."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)  # noqa: S311 - repeatable, not secret

    def work(self, model: str, share: float = 1.0) -> float:
        return share * ANSWER[model] * min(LONGEST, self.random.lognormvariate(0.0, SPREAD))

    def think(self, median: float, spread: float = 0.8) -> float:
        return median * self.random.lognormvariate(0.0, spread)

    def times(self, every: float, seconds: float) -> list[float]:
        """Return the times of a Poisson process."""
        found: list[float] = []
        now = self.random.expovariate(1 / every)
        while now < seconds:
            found.append(now)
            now += self.random.expovariate(1 / every)
        return found


def chain(steps: Sequence[Step]) -> Step:
    """Send each step after the one before it, and what that one leads to beside it."""
    last = steps[-1]
    for step in reversed(steps[:-1]):
        last = replace(step, then=(*step.then, last))
    return last


def zipf(seed: int, *, every: float, memory: float, hours: float) -> Trace:
    """Independent requests (Poisson); the popularity of models follows Zipf's law, in an order by chance."""
    make = Maker(seed)
    names = sorted(MODELS)
    make.random.shuffle(names)
    weights = [1 / rank for rank in range(1, len(names) + 1)]
    steps: list[Step] = []
    for at in make.times(every, hours * HOUR):
        model = make.random.choices(names, weights)[0]
        client = f"user {make.random.randrange(8)}"
        steps.append(Step(model, make.work(model), at, client))
    return _trace(f"Poisson, Zipf, one per {every:g} s", memory, steps)


def bursts(seed: int, *, every: float, memory: float, hours: float) -> Trace:
    """Scripts that send a handful of requests for one model at once, each script every few minutes."""
    make = Maker(seed)
    steps: list[Step] = []
    for model in ("mid-8b", "vision-12b", "coder-14b", "chat-27b", "moe-30b"):
        for at in make.times(every, hours * HOUR):
            for _ in range(make.random.randint(4, 16)):
                sent = at + make.random.uniform(0.0, 5.0)
                steps.append(Step(model, make.work(model, 0.3), sent, f"script for {model}"))
    return _trace(f"bursts every {every:g} s", memory, steps)


def agents(
    seed: int,
    *,
    count: int,
    pair: tuple[str, str],
    people: float | None,
    memory: float,
    hours: float,
) -> Trace:
    """Agents that plan with one model and write with another; people use other models beside them.

    A task is one to three rounds: one or two requests to the planner, then three to twelve to the writer. Between two
    requests a tool runs (half of them less than 0.4 s). A pause of a minute or so parts two tasks. *people* is the
    mean time between two requests of people; None: there are none.
    """
    make = Maker(seed)
    steps: list[Step] = []
    for agent in range(count):
        run: list[Step] = []
        passed = 0.0
        while passed < hours * HOUR:
            pause = make.random.expovariate(1 / 60.0)
            for _ in range(make.random.randint(1, 3)):
                for model, least, most in zip(pair, (1, 3), (2, 12), strict=True):
                    for _ in range(make.random.randint(least, most)):
                        think, pause = pause or make.think(0.4), 0.0
                        work = make.work(model, 0.4)
                        run.append(Step(model, work, think, f"agent {agent}"))
                        passed += think + work
        steps.append(chain(run))
    for at in make.times(people, hours * HOUR) if people else ():
        model = make.random.choice(("mid-8b", "vision-12b", "chat-27b"))
        steps.append(Step(model, make.work(model), at, f"user {make.random.randrange(5)}"))
    beside = f", people each {people:g} s" if people else ""
    names = " and ".join(pair)
    return _trace(f"{count} agents of {names}{beside}", memory, steps)


def flood(seed: int, *, memory: float, hours: float) -> Trace:
    """A batch job keeps four requests running, marked as background; people use other models beside it."""
    make = Maker(seed)
    steps: list[Step] = []
    for _ in range(4):
        run: list[Step] = []
        passed = 0.0
        while passed < hours * HOUR:
            work = make.work("mid-8b", 0.5)
            passed += work
            run.append(Step("mid-8b", work, 0.0, "batch", background=True))
        steps.append(chain(run))
    for at in make.times(90.0, hours * HOUR):
        model = make.random.choices(("chat-27b", "moe-30b", "small-4b"), (3, 2, 5))[0]
        steps.append(Step(model, make.work(model), at, f"user {make.random.randrange(5)}"))
    return _trace("background flood", memory, steps)


def webui(seed: int, *, users: int, memory: float, hours: float) -> Trace:
    """A working day of Open WebUI.

    A user opens a chat every ten minutes or so, more in the middle of the day, mostly with a favourite model of his
    own. A chat has two to eight turns; between an answer and the next question half a minute
    passes. After the first answer Open WebUI asks the task model for a title and for tags, both at once,
    and after each answer for follow-up questions. One chat in eight searches documents first: each
    of its questions is embedded.
    """
    make = Maker(seed)
    chats = ("mid-8b", "vision-12b", "coder-14b", "chat-27b", "moe-30b")
    steps: list[Step] = []
    for user in range(users):
        favourite = make.random.choices(chats, (5, 1, 2, 4, 4))[0]
        for at in make.times(600.0, hours * HOUR):
            noon = math.sin(math.pi * at / (hours * HOUR))
            if make.random.random() > noon:
                continue
            model = favourite if make.random.random() < 0.7 else make.random.choice(chats)
            steps.append(_chat(make, model, at, f"user {user}"))
    return _trace(f"a day of Open WebUI, {users} users", memory, steps)


def _chat(make: Maker, model: str, at: float, client: str) -> Step:
    searches = make.random.random() < 1 / 8
    run: list[Step] = []
    for turn in range(make.random.randint(2, 8)):
        think = make.think(30.0) if turn else at
        if searches:
            run.append(Step("embed", make.work("embed"), think, client))
            think = 0.0
        tasks = ("follow-ups", "title", "tags") if not turn else ("follow-ups",)
        after = tuple(Step("small-4b", make.work("small-4b", 0.3), 0.0, client) for _ in tasks)
        run.append(Step(model, make.work(model), think, client, then=after))
    return chain(run)


def _trace(name: str, memory: float, steps: list[Step]) -> Trace:
    used: set[str] = set()
    todo = list(steps)
    while todo:
        step = todo.pop()
        used.add(step.model)
        todo += step.then
    models: Mapping[str, Model] = {name: m for name, m in MODELS.items() if name in used}
    return Trace(f"{name}, {memory:g} GB", models, int(memory * GB), tuple(steps))


@dataclass(frozen=True)
class Workload:
    """A trace to be made from several seeds."""

    make: Callable[[int], Trace]
    why: str = ""
    """Why a bound is missed."""


TRACES: Final = (
    Workload(
        partial(zipf, every=60.0, memory=24, hours=8),
        why="each request finds the machine idle: its wait is the load of its own model",
    ),
    Workload(partial(zipf, every=10.0, memory=24, hours=3)),
    Workload(partial(zipf, every=8.0, memory=32, hours=3)),
    Workload(partial(zipf, every=8.0, memory=40, hours=3)),
    Workload(partial(zipf, every=4.0, memory=40, hours=2)),
    Workload(
        partial(bursts, every=240.0, memory=24, hours=4),
        why="a burst waits for the load of its own model, which hardly ever is there from the last one; five models at once"
        " need more swaps than fit into the bound",
    ),
    Workload(
        partial(bursts, every=120.0, memory=24, hours=4),
        why="five models at once need more swaps than fit into the bound",
    ),
    Workload(partial(bursts, every=60.0, memory=40, hours=2)),
    Workload(
        partial(agents, count=2, pair=EXCLUSIVE, people=None, memory=24, hours=2),
        why="an agent that goes from one model to the other needs the swap, whoever decides",
    ),
    Workload(
        partial(agents, count=4, pair=EXCLUSIVE, people=None, memory=24, hours=2),
        why="without a bound a swap comes when most of the agents wait for it, which is a good moment",
    ),
    Workload(
        partial(agents, count=3, pair=TOGETHER, people=20.0, memory=24, hours=2),
        why="half of what is left waits for the agents' larger model, which has to come back after each use of a large one",
    ),
    Workload(partial(agents, count=3, pair=TOGETHER, people=10.0, memory=32, hours=2)),
    Workload(partial(flood, memory=24, hours=2)),
    Workload(partial(webui, users=6, memory=24, hours=9)),
    Workload(
        partial(webui, users=12, memory=24, hours=9),
        why="at noon more models are wanted at once than swaps fit into the bound",
    ),
    Workload(partial(webui, users=12, memory=40, hours=9)),
)
