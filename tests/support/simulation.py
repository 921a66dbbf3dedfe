"""Random traffic for the controller on virtual time, as long as wanted.

`PYTHONPATH=src:tests python -m support.simulation --steps 2000000` runs it by hand (`make deep`).
"""

from __future__ import annotations

import argparse
import itertools
import random
import time
from collections import Counter
from dataclasses import dataclass, field, replace

from modelswap.core.models.lifecycle import Event
from modelswap.core.spec import ModelId, ModelSpec
from modelswap.units import Seconds
from support.controller_simulator import MAX_WAIT, MODELS, ControllerSimulator, FakeServer


@dataclass
class RandomTraffic:
    """Random events, all from one seed."""

    seed: int
    max_wait: Seconds | None = MAX_WAIT
    counts: Counter[str] = field(default_factory=Counter)
    simulator: type[ControllerSimulator] = ControllerSimulator

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)  # noqa: S311 - repeatable, not secret
        r = self.random
        specs = {
            m: ModelSpec(
                id=m,
                start_timeout=Seconds(5.0),
                stop_grace=Seconds(2.0),
                ttl=Seconds(20.0) if m in "cdg" else None,
                concurrency=2 if m in "bd" else None,
                priority=3 if m == "g" else 0,
                restore_on_failure=m in "ah",
            )
            for m in MODELS
        }
        self.sim = self.simulator(
            specs,
            max_wait=self.max_wait,
            queue_limit=40,
            server_of=lambda _: self.server(),
            seconds_of_work=lambda: r.expovariate(1.0),
        )

    def server(self) -> FakeServer:
        r = self.random
        return FakeServer(
            starts_in=r.choice([0.05, 0.5, 3.0, 8.0]),
            fails=r.random() < 0.1,
            exits_in=r.expovariate(0.05) if r.random() < 0.2 else None,
            stops_in=None if r.random() < 0.1 else r.choice([0.01, 1.0, 4.0]),
            killed_in=r.choice([0.01, 0.01, 0.01, 14.0]),
        )

    def do_one_thing(self) -> None:
        """Cause one random event."""
        what = self.random.choices(
            ["arrive", "flood", "leave", "unload", "stall", "crash", "leap", "reload", "preload"],
            [60, 2, 12, 2, 1, 2, 1, 1, 1],
        )[0]
        self.counts[what] += 1
        getattr(self, what)()
        self.sim.check()

    def arrive(self) -> None:
        r = self.random
        self.sim.arrive(
            r.choice(MODELS),
            f"client {r.randrange(6)}",
            background=r.random() < 0.15,
            watched=r.random() < 0.2,
            no_swap=r.random() < 0.15,
        )

    def flood(self) -> None:
        model = self.random.choice(MODELS)
        for _ in range(30):
            self.sim.arrive(model, "flooder")

    def leave(self) -> None:
        w = self.sim
        ids = sorted([*w.open, *w.running])
        if ids:
            w.leave(self.random.choice(ids))

    def unload(self) -> None:
        w = self.sim
        models = self.random.choice([MODELS, *([model] for model in MODELS)])
        w.execute(w.controller.unload(models, w.clock(), force=self.random.random() < 0.3))

    def stall(self) -> None:
        self.sim.event(self.random.choice(MODELS), Event.STALLED)

    def crash(self) -> None:
        if self.sim.processes:
            self.sim.exit(self.random.choice(sorted(self.sim.processes)))

    def leap(self) -> None:
        self.sim.now += self.random.choice([1.0, 60.0, 5000.0])

    def preload(self) -> None:
        w = self.sim
        w.execute(w.controller.preload(self.random.sample(MODELS, 2), w.clock()))

    def reload(self) -> None:
        w = self.sim
        model = self.random.choice(MODELS)
        specs = dict(w.specs)
        is_removed = self.random.random() < 0.5
        if is_removed:
            del specs[model]
        else:
            specs[model] = replace(specs[model], priority=self.random.randrange(4))
        self._replace(specs, model, is_removed=is_removed)
        if is_removed:  # and comes back later, as an editor's undo does
            self._replace(w.specs, model, is_removed=False)

    def _replace(
        self, specs: dict[ModelId, ModelSpec], model: ModelId, *, is_removed: bool
    ) -> None:
        w = self.sim
        w.execute(
            w.controller.replace(
                specs,
                w.policy(),
                changed=frozenset() if is_removed else frozenset({model}),
                removed=frozenset({model}) if is_removed else frozenset(),
                max_wait=self.max_wait,
                queue_limit=40,
                now=w.clock(),
            )
        )

    def run(self, steps: int) -> None:
        r = self.random
        busy = True
        for n in range(steps):
            if n % 500 == 0:
                busy = r.random() < 0.7  # quiet times too, in which the servers idle
            if r.random() < (0.3 if busy else 0.03) or not self.sim.step():
                self.do_one_thing()

    def run_to_end(self) -> None:
        """Run without new events: every request is answered, and every process ends."""
        w = self.sim
        for _ in range(200_000):
            if not w.open and not w.running:
                break
            assert w.step(), f"nothing happens any more, and these wait: {w.open}"
        assert not w.open, f"never answered: {w.open}"
        assert len(w.granted) == len(set(w.granted))
        for command in (w.controller.drain(w.clock()), w.controller.stop_all(w.clock())):
            w.execute(command)
        while w.processes:
            assert w.step(), f"never stopped: {w.processes}"


def main() -> None:
    parser = argparse.ArgumentParser(description="Run the decisions for long, on virtual time.")
    parser.add_argument("--steps", type=int, default=2_000_000)
    parser.add_argument("--seed", type=int, default=1)
    chosen = parser.parse_args()
    done, begun, run_length = 0, time.monotonic(), 50_000
    for seed in itertools.count(chosen.seed):
        traffic = RandomTraffic(seed, MAX_WAIT if seed % 2 else None)
        traffic.run(min(run_length, chosen.steps - done))
        traffic.run_to_end()
        done += run_length
        sim = traffic.sim
        print(  # noqa: T201 - the entry of a command
            f"seed {seed}: {len(sim.answers)} answers, {len(sim.spawned)} starts,"
            f" {len(sim.killed)} kills, {sim.now:.0f} virtual s, {time.monotonic() - begun:.1f} s"
        )
        if done >= chosen.steps:
            break


if __name__ == "__main__":
    main()
