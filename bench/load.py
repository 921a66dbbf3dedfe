"""Load generators: requests in a closed loop, and many event streams at once.

Guarantees: every response is read to its end and checked. One without the expected
status, and a stream with an event lost or foreign, is counted, never skipped.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import shutil
import statistics
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httptools
import uvloop

TAG = re.compile(rb'"content": ?"([^:"]+):(\d+) "')


@dataclass(frozen=True, slots=True)
class Load:
    """The result of a closed loop."""

    requests: int
    seconds: float
    p50_ms: float
    p99_ms: float
    failed: int


@dataclass(frozen=True, slots=True)
class Streams:
    """The result of a set of streams: events that arrived, were missing, were another stream's."""

    events: int
    lost: int
    foreign: int
    seconds: float


def request(port: int, body: bytes, path: str = "/v1/chat/completions") -> bytes:
    """A POST on a keep-alive connection."""
    head = (
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


class Call(asyncio.Protocol):
    """One connection: sends a request, reads the response, sets `ended`; any number of times."""

    def __init__(self, loop: asyncio.AbstractEventLoop, *, keep: bool = False) -> None:
        self.loop = loop
        self.keep = keep
        self.transport: Any = None
        self.body = bytearray()
        self.status = 0
        self.began = False
        self.garbled = False
        self.ended: asyncio.Future[None] | None = None
        self.parser = httptools.HttpResponseParser(self)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.began = True
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserError:
            self.garbled = True
            self.transport.abort()

    def on_body(self, data: bytes) -> None:
        if self.keep:
            self.body += data

    def on_message_complete(self) -> None:
        self.status = self.parser.get_status_code()
        if self.ended is not None and not self.ended.done():
            self.ended.set_result(None)

    def connection_lost(self, problem: Exception | None) -> None:
        if self.ended is not None and not self.ended.done():
            self.ended.set_exception(problem or ConnectionResetError("closed early"))

    async def ask(self, data: bytes) -> None:
        """Send one request and wait for the end of its response."""
        self.ended = self.loop.create_future()
        self.status = 0
        self.transport.write(data)
        await self.ended


async def _connect(port: int, *, keep: bool = False) -> Call:
    loop = asyncio.get_running_loop()
    _, call = await loop.create_connection(lambda: Call(loop, keep=keep), "127.0.0.1", port)
    return call


async def _loop(port: int, data: bytes, connections: int, count: int) -> Load:
    times: list[float] = []
    failed = 0
    left = iter(range(count))

    async def one() -> None:
        nonlocal failed
        call = await _connect(port)
        for _ in left:
            began = time.perf_counter()
            try:
                await call.ask(data)
            except OSError:
                failed += 1
                call = await _connect(port)
                continue
            times.append(time.perf_counter() - began)
            failed += call.status != 200
        call.transport.close()

    began = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for _ in range(connections):
            group.create_task(one())
    seconds = time.perf_counter() - began
    cuts = statistics.quantiles(times, n=100) if len(times) > 1 else [0.0] * 99
    return Load(count, seconds, cuts[49] * 1e3, cuts[98] * 1e3, failed)


def closed_loop(port: int, body: bytes, *, connections: int, count: int) -> Load:
    """Send `count` requests over keep-alive connections, each when the last has its response."""
    return uvloop.run(_loop(port, request(port, body), connections, count))


def hammer(port: int, body: bytes, *, connections: int, seconds: float) -> Load:
    """As many requests as possible in the time: by `wrk` where it is installed, else in Python."""
    if shutil.which("wrk") is None:
        return closed_loop(port, body, connections=connections, count=int(6000 * seconds))
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        script.write(f"wrk.method='POST'\nwrk.body=[==[{body.decode()}]==]\n")
        script.write("wrk.headers['Content-Type']='application/json'\n")
        script.write(REPORT)
        script.flush()
        url = f"http://127.0.0.1:{port}/v1/chat/completions"
        command = [
            "wrk",
            "-t1",
            f"-c{connections}",
            f"-d{max(1, round(seconds))}s",
            "-s",
            script.name,
            url,
        ]
        text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    found = re.search(r"RESULT (\d+) (\d+) (\d+) (\d+) (\d+)", text)
    if found is None:
        raise ValueError(f"wrk said: {text}")
    requests, micros, p50, p99, failed = (int(n) for n in found.groups())
    return Load(requests, micros / 1e6, p50 / 1e3, p99 / 1e3, failed)


REPORT = """
function done(summary, latency)
  local e = summary.errors
  io.write(string.format("RESULT %d %d %d %d %d\\n", summary.requests, summary.duration,
    latency:percentile(50), latency:percentile(99), e.connect + e.read + e.write + e.status + e.timeout))
end
"""


def judge(tag: str, body: bytes, count: int) -> tuple[int, int]:
    """Return how many own events are missing or out of order, and how many are of other streams."""
    found = TAG.findall(body)
    own = [int(number) for name, number in found if name.decode() == tag]
    missing = count - len(own) if own == sorted(set(own)) else count
    return missing, len(found) - len(own)


async def _streams(
    port: int, model: str, streams: int, count: int, delay_ms: float, *, alone: bool
) -> Streams:
    calls = [await _connect(port, keep=True) for _ in range(streams)]
    lost = foreign = 0

    async def one(number: int, call: Call) -> None:
        nonlocal lost, foreign
        tag = f"s{number}"
        body = (
            f'{{"model":"{model}","stream":true,"n":{count},"delay_ms":{delay_ms},"tag":"{tag}",'
            f'"alone":{str(alone).lower()},'
            '"messages":[{"role":"user","content":"hi"}]}'
        )
        with contextlib.suppress(OSError):  # what did not arrive is counted below
            await call.ask(request(port, body.encode()))
        missing, others = judge(tag, bytes(call.body), count)
        lost += missing
        foreign += others
        call.transport.close()

    began = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for number, call in enumerate(calls):
            group.create_task(one(number, call))
    return Streams(streams * count, lost, foreign, time.perf_counter() - began)


def streams(
    port: int, model: str, *, streams: int, count: int, delay_ms: float, alone: bool = False
) -> Streams:
    """So many event streams at once, each read to its end and checked."""
    return uvloop.run(_streams(port, model, streams, count, delay_ms, alone=alone))


def nginx_path() -> Path | None:
    """Return the path of nginx; on Debian it is outside a user's PATH."""
    found = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")
    return Path(found) if found else None
