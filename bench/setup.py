"""The sides that are compared: the upstreams, nginx, and modelswap in front of them.

Guarantees: all sides use the same two upstream processes. The small one is nginx
answering from memory (nothing is faster), the large one is `upstream.py`.
"""

from __future__ import annotations

import contextlib
import shlex
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bench.load import nginx_path
from bench.upstream import SMALL
from support.server import Modelswap, free_port, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

UPSTREAM = Path(__file__).with_name("upstream.py")
BASE = """
daemon off; master_process off; error_log stderr crit; pid {directory}/{name}.pid;
events {{ worker_connections 8192; }}
http {{
  access_log off; default_type application/json; keepalive_requests 1000000000;
  client_body_temp_path {directory}/{name}.b; proxy_temp_path {directory}/{name}.p;
  fastcgi_temp_path {directory}/{name}.f; uwsgi_temp_path {directory}/{name}.u; scgi_temp_path {directory}/{name}.s;
  client_max_body_size 0;
{rest}
}}
"""
ANSWERING = """
  server {{ listen 127.0.0.1:{port} backlog=4096; location / {{ return 200 '{answer}'; }} }}
"""
PROXYING = """
  upstream {name} {{ server 127.0.0.1:{upstream}; keepalive 1024; keepalive_requests 1000000000; }}
  server {{
    listen 127.0.0.1:{port} backlog=4096;
    location / {{
      proxy_pass http://{name}; proxy_http_version 1.1; proxy_set_header Connection "";
      proxy_request_buffering off; proxy_buffering {buffering}; proxy_max_temp_file_size 0;
      client_body_buffer_size 128k; proxy_buffers 16 64k; proxy_buffer_size 64k; proxy_busy_buffers_size 128k;
    }}
  }}
"""


@dataclass(frozen=True, slots=True)
class Side:
    """One way to the upstreams: ports for small, large and streamed answers, and its process."""

    name: str
    small: int
    large: int
    streamed: int
    pid: int | None


@dataclass(frozen=True, slots=True)
class Setup:
    """The sides and the server that the throughput cases need."""

    sides: tuple[Side, ...]
    modelswap: Modelswap


def _run_nginx(binary: Path, directory: Path, name: str, rest: str) -> subprocess.Popen[bytes]:
    conf = directory / f"{name}.conf"
    conf.write_text(BASE.format(directory=directory, name=name, rest=rest))
    return subprocess.Popen([str(binary), "-p", str(directory), "-c", str(conf)])


def small_upstream(binary: Path | None, directory: Path, port: int) -> str:
    """The command of the upstream for small answers."""
    if binary is None:
        return shlex.join([sys.executable, str(UPSTREAM), str(port)])
    conf = directory / "small.conf"
    rest = ANSWERING.format(port=port, answer=SMALL)
    conf.write_text(BASE.format(directory=directory, name="small", rest=rest))
    return shlex.join([str(binary), "-p", str(directory), "-c", str(conf)])


def _config(small: str, small_port: int, large_port: int) -> str:
    large = shlex.join([sys.executable, str(UPSTREAM), str(large_port)])
    return f"""
groups:
  bench: {{swap: false, exclusive: false, members: [small, large]}}
models:
  small:
    cmd: {small}
    proxy: http://127.0.0.1:{small_port}
  large:
    cmd: {large}
    proxy: http://127.0.0.1:{large_port}
"""


@contextlib.contextmanager
def setup() -> Iterator[Setup]:
    """Start everything; stop it again."""
    binary = nginx_path()
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as stack:
        directory = Path(name)
        small, large = free_port(), free_port()
        command = small_upstream(binary, directory, small)
        server = Modelswap(directory / "m", _config(command, small, large))
        stack.callback(server.finish)
        server.start()
        for model in ("small", "large"):
            wait_until(
                lambda model=model: server.chat(model).status == 200, what=f"{model} answers"
            )
        sides = [Side("direct", small, large, large, None)]
        if binary is not None:
            sides.append(_nginx_side(stack, binary, directory, small, large))
        sides.append(Side("modelswap", server.port, server.port, server.port, server.pid))
        yield Setup(tuple(sides), server)


def _nginx_side(
    stack: contextlib.ExitStack, binary: Path, directory: Path, small: int, large: int
) -> Side:
    ports = (free_port(), free_port(), free_port())
    rest = "".join(
        PROXYING.format(name=f"u{port}", upstream=upstream, port=port, buffering=buffering)
        for port, upstream, buffering in zip(
            ports, (small, large, large), ("on", "on", "off"), strict=True
        )
    )
    process = _run_nginx(binary, directory, "proxy", rest)
    stack.callback(process.wait)
    stack.callback(process.terminate)
    time.sleep(0.3)  # seconds: nginx needs a few milliseconds to listen
    return Side("nginx", ports[0], ports[1], ports[2], process.pid)
