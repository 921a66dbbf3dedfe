"""The servers that the curves are measured at, and what their process spends."""

from __future__ import annotations

import contextlib
import http.client
from typing import TYPE_CHECKING

from bench import load
from bench.proc import spent_seconds
from bench.setup import small_upstream
from support.server import Modelswap, free_port, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

BODY = b'{"model":"small","messages":[{"role":"user","content":"Say something short."}]}'
WARM = 300
"""Requests before the first measured one: caches are filled, connections are open."""


def small_model(directory: Path) -> str:
    """The configuration of `small`: nginx, which answers from memory."""
    port = free_port()
    directory.mkdir(parents=True, exist_ok=True)
    command = small_upstream(load.nginx_path(), directory, port)
    return f"  small:\n    cmd: {command}\n    proxy: http://127.0.0.1:{port}\n"


@contextlib.contextmanager
def running(directory: Path, text: str) -> Iterator[Modelswap]:
    """The program with this configuration, and `small` ready."""
    server = Modelswap(directory, text)
    try:
        server.start()
        wait_until(lambda: server.chat("small").status == 200, what="small answers")
        yield server
    finally:
        server.finish()


def small_requests(server: Modelswap, count: int) -> float:
    """CPU microseconds of one small request."""

    def work() -> None:
        done = load.closed_loop(server.port, BODY, connections=8, count=count)
        if done.failed:
            raise RuntimeError(f"{done.failed} of {count} requests failed")

    load.closed_loop(server.port, BODY, connections=8, count=WARM)
    return spent_seconds(server.pid, work) / count * 1e6


def asked(server: Modelswap, paths: list[str], *, method: str = "GET") -> float:
    """CPU milliseconds of a request for one of these paths."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)

    def work() -> None:
        for path in paths:
            connection.request(method, path)
            reply = connection.getresponse()
            reply.read()
            if reply.status != 200:
                raise RuntimeError(f"{path} answered {reply.status}")

    try:
        return spent_seconds(server.pid, work) / len(paths) * 1e3
    finally:
        connection.close()
