"""A model server that costs almost nothing: the upstream of the measured proxies.

    python bench/upstream.py PORT

`{"response_bytes": N}` asks for a body of that size, `{"stream": true, "n": N,
"delay_ms": D, "tag": T}` for a paced event stream; anything else gets a small
completion. It runs in a process of its own, so that no figure includes it.
"""

from __future__ import annotations

import asyncio
import json
import sys
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
LONGEST_READ = 1 << 16
"""Longest body that is looked into; the large ones are only counted."""


def event(tag: str, number: int) -> bytes:
    """One chunk of a stream, as the servers really send it."""
    choice = {"index": 0, "delta": {"content": f"{tag}:{number} "}, "finish_reason": None}
    value = {"id": "c", "object": "chat.completion.chunk", "created": 1, "choices": [choice]}
    return b"data: " + json.dumps(value).encode() + b"\n\n"


def framed(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


class Server(asyncio.Protocol):
    """One connection."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
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
            self.send(str(fields["tag"]), 0, fields["n"], self.loop.time() + pause, pause)
            return
        wanted = fields.get("response_bytes")
        data = bytes(wanted) if wanted else SMALL.encode()
        self.transport.write((HEAD % len(data)).encode())
        self.transport.write(data)

    def send(self, tag: str, number: int, count: int, due: float, pause: float) -> None:
        """Send one event and arrange for the next, on a fixed schedule."""
        if number == count:
            self.transport.write(framed(b"data: [DONE]\n\n") + b"0\r\n\r\n")
            return
        self.transport.write(framed(event(tag, number)))
        self.timer = self.loop.call_at(due, self.send, tag, number + 1, count, due + pause, pause)


async def main(port: int) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Server(loop), "127.0.0.1", port, backlog=4096)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1])))
