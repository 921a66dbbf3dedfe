"""CPU time of the byte path alone, beside nginx, in one run.

    python bench/proxy_micro.py [small stream up1 up20 down10]

Starts a fixed upstream, nginx and a bare proxy made of `modelswap.http` (no
routing, no metering), sends the same load to both in turns, and prints medians
of CPU time per request from /proc. Needs nginx and, for `small`, wrk.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

UPSTREAM, OURS, NGINX = 18191, 18192, 18193
ROUNDS = 3
HEADERS = "Host: 127.0.0.1\r\nContent-Type: application/json\r\nAuthorization: Bearer x\r\nUser-Agent: bench\r\n"
SMALL = b'{"model":"m","messages":[{"role":"user","content":"' + b"x" * 200 + b'"}]}'
ANSWER = b'{"id":"c","choices":[{"message":{"role":"assistant","content":"' + b"y" * 300 + b'"}}]}'
EVENT = b'data: {"choices":[{"index":0,"delta":{"content":"tok"}}],"id":"c","object":"chat.completion.chunk"}\n\n'
STREAMS, EVENTS = 64, 100
BIG = b"z" * (10 << 20)


class Fixed(asyncio.Protocol):
    """Answers by the path: /small, /stream, /up, /down."""

    def connection_made(self, transport):  # noqa: ANN001, ANN201
        self.transport = transport
        self.left = 0
        self.path = b""

    def data_received(self, data):  # noqa: ANN001, ANN201
        if not self.left:
            head, _, rest = data.partition(b"\r\n\r\n")
            self.path = head.split(b" ", 2)[1]
            lower = head.lower()
            at = lower.find(b"content-length: ")
            length = int(lower[at + 16 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
            self.left = length - len(rest)
        else:
            self.left -= len(data)
        if self.left <= 0:
            self.left = 0
            self.answer()

    def answer(self):  # noqa: ANN201
        if self.path == b"/stream":
            self.transport.write(
                b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
            )
            self.event(0)
            return
        body = BIG if self.path == b"/down" else ANSWER
        head = (
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
            % len(body)
        )
        self.transport.write(head + body if body is ANSWER else head)
        if body is BIG:
            self.transport.write(body)

    def event(self, count):  # noqa: ANN001, ANN201
        if count == EVENTS:
            self.transport.write(b"0\r\n\r\n")
            return
        self.transport.write(b"%x\r\n%b\r\n" % (len(EVENT), EVENT))
        asyncio.get_running_loop().call_later(0.005, self.event, count + 1)


def serve_upstream() -> None:
    import uvloop  # noqa: PLC0415

    async def main() -> None:
        server = await asyncio.get_running_loop().create_server(
            Fixed, "127.0.0.1", UPSTREAM, backlog=1024
        )
        await server.serve_forever()

    uvloop.run(main())


def serve_proxy() -> None:
    import uvloop  # noqa: PLC0415

    from modelswap.config.plan import Limits, Timeouts  # noqa: PLC0415
    from modelswap.http import (  # noqa: PLC0415
        Address,
        Outbound,
        Server,
        Upstream,
        forward_lines,
        relay,
        tune_allocator,
    )

    tune_allocator()
    drop = frozenset({b"authorization", b"x-api-key"})

    class Watch:
        def __init__(self) -> None:
            self.seen = 0

        def on_head(self, head) -> None:  # noqa: ANN001
            pass

        def on_data(self, data) -> None:  # noqa: ANN001
            self.seen += len(data)

        def on_end(self, outcome) -> None:  # noqa: ANN001
            del outcome

        def error_event(self, outcome):  # noqa: ANN001, ANN202
            del outcome

        def on_late_error(self, status, content_type, body):  # noqa: ANN001, ANN202
            del status, content_type
            return body

    async def main() -> None:
        address = Address.parse(f"http://127.0.0.1:{UPSTREAM}")
        upstream = Upstream(address, Timeouts())

        def handler(exchange) -> None:  # noqa: ANN001
            request = exchange.request

            def send(body: bytes) -> None:
                headers = forward_lines(request, drop=drop, trust_forwarded=True)
                target = address.join(request.path, request.query)
                relay(exchange, upstream, Outbound(request.method, target, headers), body, Watch())

            exchange.read_body(send)

        server = Server(
            handler, limits=Limits(), error=lambda *said: (b"text/plain", said[2].encode())
        )
        await server.listen("127.0.0.1", OURS)
        await asyncio.Event().wait()

    uvloop.run(main())


NGINX_CONF = """
user root; worker_processes 1; daemon off; pid {dir}/pid; error_log {dir}/error.log;
events {{ worker_connections 2048; }}
http {{
  access_log off; client_body_temp_path {dir}/b; proxy_temp_path {dir}/p; fastcgi_temp_path {dir}/f;
  uwsgi_temp_path {dir}/u; scgi_temp_path {dir}/s;
  upstream u {{ server 127.0.0.1:{up}; keepalive 512; }}
  server {{ listen 127.0.0.1:{port}; client_max_body_size 100m; client_body_buffer_size 32m; keepalive_requests 10000000;
    location / {{ proxy_pass http://u; proxy_http_version 1.1; proxy_set_header Connection ""; }}
    location /stream {{ proxy_pass http://u; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_buffering off; }} }}
}}
"""


def cpu(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def exchange(port: int, method: str, path: str, body: bytes, times: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 22)
    for _ in range(times):
        writer.write(
            f"{method} {path} HTTP/1.1\r\n{HEADERS}Content-Length: {len(body)}\r\n\r\n".encode()
            + body
        )
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        if b"chunked" in head:
            while (size := int(await reader.readline(), 16)) or await reader.readline() is None:
                await reader.readexactly(size + 2)
        else:
            left = int(head.split(b"content-length: ")[1].split(b"\r\n")[0])
            while left:
                data = await reader.read(min(left, 1 << 20))
                assert data, "the answer broke off"
                left -= len(data)
    writer.close()


async def many(port: int, path: str, body: bytes, at_once: int, times: int) -> None:
    async with asyncio.TaskGroup() as group:
        for _ in range(at_once):
            group.create_task(exchange(port, "POST", path, body, times))


def load(case: str, port: int, directory: Path) -> int:
    """Send the case's load; return the number of units in it."""
    import uvloop  # noqa: PLC0415

    if case == "small":
        lua = directory / "small.lua"
        head = "".join(
            f'wrk.headers["{k}"]="{v}"\n'
            for k, v in (h.split(": ") for h in HEADERS.strip().split("\r\n"))
        )
        lua.write_text(f"wrk.method='POST'\nwrk.body='{SMALL.decode()}'\n{head}")
        out = subprocess.run(
            ["wrk", "-t1", "-c32", "-d2", "-s", str(lua), f"http://127.0.0.1:{port}/small"],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        assert "Non-2xx" not in out, out
        return int(next(line.split()[0] for line in out.splitlines() if "requests in" in line))
    if case == "stream":
        uvloop.run(many(port, "/stream", SMALL, STREAMS, 2))
        return STREAMS * EVENTS * 2
    path, body, at_once, times = {
        "up1": ("/up", b"u" * (1 << 20), 4, 40),
        "up20": ("/up", b"u" * (20 << 20), 1, 10),
        "down10": ("/down", SMALL, 2, 4),
    }[case]
    uvloop.run(many(port, path, body, at_once, times))
    return at_once * times


def main() -> None:
    cases = sys.argv[1:] or ["small", "stream", "up1", "up20", "down10"]
    directory = Path(tempfile.mkdtemp())
    conf = directory / "nginx.conf"
    conf.write_text(NGINX_CONF.format(dir=directory, up=UPSTREAM, port=NGINX))
    me = [sys.executable, __file__]
    upstream = subprocess.Popen([*me, "--upstream"])
    ours = subprocess.Popen([*me, "--proxy"])
    nginx = subprocess.Popen(
        ["/usr/sbin/nginx", "-c", str(conf), "-p", str(directory)], stderr=subprocess.DEVNULL
    )
    try:
        asyncio.run(asyncio.sleep(1.0))
        worker = int(Path(f"/proc/{nginx.pid}/task/{nginx.pid}/children").read_text().split()[0])
        print(f"{'case':8} {'ours µs':>10} {'nginx µs':>10} {'ratio':>6}")
        for case in cases:
            results: dict[int, list[float]] = {OURS: [], NGINX: []}
            for _ in range(ROUNDS):
                for port, pid in ((OURS, ours.pid), (NGINX, worker)):
                    before = cpu(pid)
                    units = load(case, port, directory)
                    results[port].append((cpu(pid) - before) / units * 1e6)
            a, b = statistics.median(results[OURS]), statistics.median(results[NGINX])
            print(f"{case:8} {a:10.1f} {b:10.1f} {a / b:6.2f}")
        rss = Path(f"/proc/{ours.pid}/status").read_text().split("VmRSS:")[1].split()[0]
        print("proxy RSS", int(rss) // 1024, "MiB")
    finally:
        for process in (ours, upstream, nginx):
            process.terminate()
            process.wait()
        shutil.rmtree(directory)


if __name__ == "__main__":
    if "--upstream" in sys.argv:
        serve_upstream()
    elif "--proxy" in sys.argv:
        serve_proxy()
    else:
        main()
