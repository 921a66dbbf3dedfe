"""A model server that costs almost nothing: the upstream of the measured proxies.

    python bench/upstream.py PORT

`{"response_bytes": N}` asks for a body of that size, `{"stream": true, "n": N,
"delay_ms": D, "tag": T}` for an event stream; anything else gets a small completion.
With `"alone": true` the streams' events are spread over the delay, as those of
different conversations are: each event is sent, and read, alone. Without it, streams
that begin together go on in step. It runs in a process of its own, so that no figure
includes it.
"""

from __future__ import annotations

import asyncio
import ctypes
import heapq
import json
import os
import sys
import threading
import time
from typing import Any

import httptools
import uvloop

SMALL = json.dumps(
    {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": "bench",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "word " * 40},
                "finish_reason": "stop",
            }
        ],
        "usage": {"prompt_tokens": 12, "completion_tokens": 40, "total_tokens": 52},
        "timings": {"prompt_n": 12, "prompt_ms": 1.5, "predicted_n": 40, "predicted_ms": 80.0},
    }
)
HEAD = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
STREAM_HEAD = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
    b"Cache-Control: no-cache\r\nTransfer-Encoding: chunked\r\n\r\n"
)
DONE = b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n"
GOLDEN_RATIO = 0.618034
"""Multiples of it, modulo 1, are spread evenly, however many there are."""
LONGEST_READ = 1 << 16
"""Longest body that is looked into; the large ones are only counted."""


def event(tag: str, number: int) -> bytes:
    """One chunk of a stream, as the servers really send it."""
    choice = {"index": 0, "delta": {"content": f"{tag}:{number} "}, "finish_reason": None}
    value = {"id": "c", "object": "chat.completion.chunk", "created": 1, "choices": [choice]}
    return b"data: " + json.dumps(value).encode() + b"\n\n"


def framed(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


class Pacer:
    """Sends the events of many streams from a thread, each at its own time.

    A loop's timers are rounded to milliseconds, which brings the events of different
    streams together; a thread that sleeps keeps them apart.
    """

    def __init__(self) -> None:
        self.due: list[tuple[float, int, Stream]] = []
        self.number = 0
        self.changed = threading.Condition()
        threading.Thread(target=self.run, daemon=True).start()

    def add(self, descriptor: int, tag: str, count: int, pause: float) -> None:
        with self.changed:
            self.number += 1
            offset = self.number * GOLDEN_RATIO % 1 * pause
            stream = Stream(descriptor, tag, count, pause)
            heapq.heappush(self.due, (time.monotonic() + offset, self.number, stream))
            self.changed.notify()

    def run(self) -> None:
        sleep_precisely()
        while True:
            with self.changed:
                while not self.due:
                    self.changed.wait()
                at, number, stream = self.due[0]
                early = at - time.monotonic()
                if early <= 0:
                    if stream.send():
                        heapq.heapreplace(self.due, (at + stream.pause, number, stream))
                    else:
                        heapq.heappop(self.due)
            if early > 0:
                time.sleep(early)


class Stream:
    """One event stream of the pacer."""

    def __init__(self, descriptor: int, tag: str, count: int, pause: float) -> None:
        self.descriptor = descriptor
        self.tag = tag
        self.count = count
        self.pause = pause
        self.number = 0

    def send(self) -> bool:
        """Send the next event; False after the last. A client that does not read loses the stream."""
        ended = self.number == self.count
        data = DONE if ended else framed(event(self.tag, self.number))
        self.number += 1
        try:
            return os.write(self.descriptor, data) == len(data) and not ended
        except OSError:
            return False


def sleep_precisely() -> None:
    """Have this thread woken when it asked for it: Linux adds 50 µs to a sleep (prctl(2))."""
    if sys.platform == "linux":
        set_timer_slack = 29  # PR_SET_TIMERSLACK, nanoseconds
        ctypes.CDLL(None).prctl(set_timer_slack, 1, 0, 0, 0)


class Server(asyncio.Protocol):
    """One connection."""

    def __init__(self, loop: asyncio.AbstractEventLoop, pacer: Pacer) -> None:
        self.loop = loop
        self.pacer = pacer
        self.transport: Any = None
        self.body = bytearray()
        self.parser = httptools.HttpRequestParser(self)
        self.timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def connection_lost(self, _problem: Exception | None) -> None:
        if self.timer is not None:
            self.timer.cancel()

    def data_received(self, data: bytes) -> None:
        self.parser.feed_data(data)

    def on_message_begin(self) -> None:
        self.body.clear()

    def on_body(self, data: bytes) -> None:
        if len(self.body) < LONGEST_READ:
            self.body += data

    def on_message_complete(self) -> None:
        large = len(self.body) >= LONGEST_READ
        fields = json.loads(self.body) if self.body and not large else {}
        if fields.get("stream"):
            self.transport.write(STREAM_HEAD)
            pause = fields["delay_ms"] / 1000
            if fields.get("alone"):
                sock = self.transport.get_extra_info("socket")
                self.pacer.add(sock.fileno(), str(fields["tag"]), fields["n"], pause)
                return
            self.send(str(fields["tag"]), 0, fields["n"], self.loop.time() + pause, pause)
            return
        wanted = fields.get("response_bytes")
        data = bytes(wanted) if wanted else SMALL.encode()
        self.transport.write((HEAD % len(data)).encode())
        self.transport.write(data)

    def send(self, tag: str, number: int, count: int, due: float, pause: float) -> None:
        """Send one event and arrange for the next, on a fixed schedule."""
        if number == count:
            self.transport.write(DONE)
            return
        self.transport.write(framed(event(tag, number)))
        self.timer = self.loop.call_at(due, self.send, tag, number + 1, count, due + pause, pause)


async def main(port: int) -> None:
    loop = asyncio.get_running_loop()
    pacer = Pacer()
    server = await loop.create_server(lambda: Server(loop, pacer), "127.0.0.1", port, backlog=4096)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1])))
