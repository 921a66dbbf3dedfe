"""Load from many clients while engines are killed and the configuration changes.

    python -m bench.soak [--seconds 60] [--clients 200] [--seed N] [--account FILE]

Engines are killed, the configuration is reloaded, models are unloaded, clients
disconnect, upstreams misbehave.
Guarantees: every request is entered into the account when it is sent, and closed exactly
once. An ending that is neither a success, nor an error with its reason, nor the client's
own disconnect fails the run.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import random
import signal
import statistics
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import uvloop

from bench.load import Call, judge, request
from bench.proc import open_files, resident_mb
from support.server import Modelswap, stub_command

MODELS = tuple(f"m{number}" for number in range(8))
HUNG_AFTER = 90.0
"""Seconds after which a request without an ending counts as hung."""
PART = 0.25
"""Part of the run: the medians of its second and its last such part are compared."""
BAD = ("HUNG", "LOST", "WRONG", "NO ANSWER", "MALFORMED")


@dataclass(frozen=True, slots=True)
class PlannedRequest:
    """One request that a client is about to make."""

    number: int
    model: str
    stream: bool
    events: int
    delay_ms: int
    fault: str | None
    leaves_after: float | None

    @property
    def tag(self) -> str:
        return f"r{self.number}r"

    def body(self) -> bytes:
        fields: dict[str, object] = {"model": self.model, "stream": self.stream, "n": self.events}
        fields |= {"delay_ms": self.delay_ms, "tag": self.tag, "messages": []}
        if self.fault is not None:
            fields["fault"] = self.fault
        return json.dumps(fields).encode()


@dataclass(slots=True)
class Account:
    """Every request by its number, with its ending once it has one."""

    endings: dict[int, str | None] = field(default_factory=dict)
    twice: int = 0

    def enter(self, number: int) -> None:
        self.endings[number] = None

    def close(self, number: int, ending: str) -> None:
        self.twice += self.endings[number] is not None
        self.endings[number] = ending

    def counts(self) -> Counter[str]:
        return Counter(ending or "HUNG" for ending in self.endings.values())


def random_request(rng: random.Random, number: int) -> PlannedRequest:
    """Return a random request: mostly ordinary, some broken off, some to a faulty upstream."""
    faults = ("truncate", "reset", "bad_chunk", "no_answer", "500", "garbage")
    return PlannedRequest(
        number=number,
        model=rng.choice(MODELS),
        stream=rng.random() < 0.5,
        events=rng.randrange(1, 40),
        delay_ms=rng.randrange(0, 15),
        fault=rng.choice(faults) if rng.random() < 0.05 else None,
        leaves_after=rng.uniform(0, 0.5) if rng.random() < 0.1 else None,
    )


def result_of(planned: PlannedRequest, call: Call) -> str:
    """The ending of a request whose answer arrived whole."""
    body = bytes(call.body)
    if call.status == 200:
        if planned.stream and b"event: error" not in body and b'"error"' not in body:
            missing, foreign = judge(planned.tag, body, planned.events)
            return "WRONG" if foreign else "LOST" if missing else "ok"
        if planned.stream:
            return "error event in the stream"
        return "ok" if body.count(planned.tag.encode()) == planned.events else "WRONG"
    try:
        error = json.loads(body)["error"]
        return f"{call.status} {error['code'] if isinstance(error, dict) else error}"
    except (ValueError, KeyError, TypeError):
        return f"MALFORMED {call.status}"


def result_of_broken(call: Call) -> str:
    """The ending of a request whose connection ended before the response did."""
    if call.garbled:
        return "MALFORMED: not HTTP"
    return "aborted visibly" if call.began else "NO ANSWER"


@dataclass(slots=True)
class Soak:
    """One run: its clients, its disturbances and what was measured."""

    server: Modelswap
    seconds: float
    clients: int
    rng: random.Random
    account: Account = field(default_factory=Account)
    kills: int = 0
    reloads: int = 0
    unloads: int = 0
    memory: list[float] = field(default_factory=list)
    files: list[int] = field(default_factory=list)

    @property
    def is_over(self) -> bool:
        return time.monotonic() > self.ends

    ends: float = 0.0

    async def run(self) -> None:
        self.ends = time.monotonic() + self.seconds
        async with asyncio.TaskGroup() as group:
            for _ in range(self.clients):
                group.create_task(self.client())
            group.create_task(self.every(0.7, self.kill_an_engine))
            group.create_task(self.every(5.0, self.reload))
            group.create_task(self.every(3.0, self.unload))
            group.create_task(self.every(0.5, self.watch))

    async def client(self) -> None:
        """Ask for one thing after another, sometimes on the same connection."""
        call: Call | None = None
        while not self.is_over:
            planned = random_request(self.rng, len(self.account.endings))
            self.account.enter(planned.number)
            try:
                call = call or await self.connect()
            except OSError:
                self.account.close(planned.number, "NO ANSWER")
                await asyncio.sleep(0.1)
                continue
            ending = await self.ask(call, planned)
            self.account.close(planned.number, ending)
            if ending != "ok" or self.rng.random() < 0.7:
                call.transport.abort()
                call = None
            await asyncio.sleep(self.rng.uniform(0, 0.1))
        if call is not None:
            call.transport.abort()

    async def connect(self) -> Call:
        loop = asyncio.get_running_loop()
        port = self.server.port
        _, call = await loop.create_connection(lambda: Call(loop, keep=True), "127.0.0.1", port)
        return call

    async def ask(self, call: Call, planned: PlannedRequest) -> str:
        call.body.clear()
        call.began = False
        limit = HUNG_AFTER if planned.leaves_after is None else planned.leaves_after
        try:
            async with asyncio.timeout(limit):
                await call.ask(request(self.server.port, planned.body()))
        except TimeoutError:
            return "HUNG" if planned.leaves_after is None else "left by the client"
        except OSError:
            return result_of_broken(call)
        return result_of(planned, call)

    async def every(self, seconds: float, do: object) -> None:
        """Do something again and again, off the loop, until the end."""
        assert callable(do)
        while not self.is_over:
            await asyncio.sleep(seconds * self.rng.uniform(0.5, 1.5))
            with contextlib.suppress(OSError):  # the victim was quicker
                await asyncio.to_thread(do)

    def kill_an_engine(self) -> None:
        pids = list(self.server.model_pids())
        if pids:
            os.kill(self.rng.choice(pids), signal.SIGKILL)
            self.kills += 1

    def reload(self) -> None:
        self.server.write_config(config(changed=self.rng.choice(MODELS), reload=self.reloads))
        os.kill(self.server.pid, signal.SIGHUP)
        self.reloads += 1

    def unload(self) -> None:
        self.server.ask("POST", f"/api/models/unload/{self.rng.choice(MODELS)}", seconds=60)
        self.unloads += 1

    def watch(self) -> None:
        pids = (self.server.pid, self.server.keeper_pid())
        self.memory.append(sum(map(resident_mb, pids)))
        self.files.append(sum(map(open_files, pids)))


def config(changed: str | None = None, reload: int = 0) -> str:
    """Two swapping groups and one whose members run together; one model may differ per turn."""
    rows = []
    for model in MODELS:
        flags = ["--ready-after", "0.02"]
        if model == changed:
            flags += [
                "--exit-code",
                str(2 + reload % 100),
            ]  # no effect, but another command
        rows.append(f"  {model}:\n    cmd: {stub_command(model, *flags)}\n    unloadTimeout: 5\n")
    return f"""
startPort: {START_PORT}
keeper: {{grace: 2}}
groups:
  four: {{swap: true, exclusive: false, members: [m0, m1, m2, m3]}}
  two: {{swap: true, exclusive: false, members: [m4, m5]}}
  both: {{swap: false, exclusive: false, members: [m6, m7]}}
models:
{"".join(rows)}"""


START_PORT = 32_000
"""First port of the models: below the ephemeral range of Linux, which begins at 32,768."""


def warm_and_last(samples: list[float]) -> tuple[float, float]:
    """Medians of the second part, when everything is warm, and of the last."""
    part = max(1, int(len(samples) * PART))
    return statistics.median(samples[part : 2 * part] or samples), statistics.median(
        samples[-part:]
    )


def is_flat(samples: list[float], slack: float) -> bool:
    """Whether the end of the run holds no more than its warm beginning, but for some slack."""
    warm, last = warm_and_last(samples)
    return last <= warm * 1.15 + slack


def report(
    soak: Soak, files_before: int, files_after: int, left: dict[int, str], code: int
) -> bool:
    """Print the account and the checks; return whether all passed."""
    counts = soak.account.counts()
    print(f"{soak.clients} clients, {len(MODELS)} models, {soak.seconds:.0f} s: ", end="")
    print(f"{soak.kills} engines killed, {soak.reloads} reloads, {soak.unloads} unloads\n")
    print("| ending | requests |\n| --- | ---: |")
    for ending, count in counts.most_common():
        print(f"| {ending} | {count:,} |")
    print(f"| **all** | **{sum(counts.values()):,}** |\n")
    bad = sum(count for ending, count in counts.items() if ending.startswith(BAD))
    memory, files = soak.memory or [0.0], soak.files or [0]
    (warm, last), (few, many) = (
        warm_and_last(memory),
        warm_and_last([float(count) for count in files]),
    )
    checks = [
        ("every request ends with a valid result", bad == 0, f"{bad} have not"),
        ("no request ended twice", soak.account.twice == 0, f"{soak.account.twice} did"),
        ("most requests were answered", counts["ok"] * 2 > sum(counts.values()), f"{counts['ok']:,} ok"),
        ("memory flat (front and keeper)", is_flat(memory, 8),
         f"{warm:.0f} MB when warm, {last:.0f} MB at the end"),
        ("files flat while it runs", is_flat([float(count) for count in files], 32),
         f"{few:.0f} when warm, {many:.0f} at the end"),
        ("files closed after the run", files_after <= files_before + 16,
         f"{files_before} before, {files_after} after"),
        ("no process left", not left, f"{len(left)} left"),
        ("clean exit", code == 0, f"exit code {code}"),
    ]  # fmt: skip
    print("| check | found | |\n| --- | --- | --- |")
    for name, good, found in checks:
        print(f"| {name} | {found} | {'ok' if good else '**FAILED**'} |")
    return all(good for _, good, _ in checks)


def idle_files(server: Modelswap) -> int:
    server.ask("POST", "/api/models/unload", seconds=60)
    time.sleep(1)
    return open_files(server.pid) + open_files(server.keeper_pid())


def main() -> int:
    parser = argparse.ArgumentParser(prog="bench.soak", description="Break things under load.")
    parser.add_argument(
        "--seconds", type=float, default=float(os.environ.get("SOAK_SECONDS", "60"))
    )
    parser.add_argument("--clients", type=int, default=200)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    parser.add_argument("--account", type=Path, help="write every request and its ending here")
    asked = parser.parse_args()
    print(f"seed {asked.seed}", file=sys.stderr)
    with tempfile.TemporaryDirectory() as name:
        server = Modelswap(Path(name), config())
        try:
            server.start()
            server.chat("m6")
            before = idle_files(server)
            soak = Soak(server, asked.seconds, asked.clients, random.Random(asked.seed))  # noqa: S311 - no secrets
            uvloop.run(soak.run())
            after = idle_files(server)
            code = server.stop()
        finally:
            left = server.finish()
            print("\n".join(server.log().splitlines()[-5:]), file=sys.stderr)
    if asked.account is not None:
        lines = (f"{number} {ending}\n" for number, ending in soak.account.endings.items())
        asked.account.write_text("".join(lines))
    return 0 if report(soak, before, after, left, code) else 1


if __name__ == "__main__":
    sys.exit(main())
