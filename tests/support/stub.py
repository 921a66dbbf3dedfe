"""A scripted model server: run it as a model's `cmd`.

    python -I -S tests/support/stub.py --port 9001 --name a --ready-after 0.05

Guarantees: standard library only, ready within about 40 ms of its start, one thread per
connection, every fault requested by a flag or by a request (`stub_answers.py`).
`GET /stub/state` returns what it has received.
Does not: be fast. Throughput is measured against `bench/upstream.py`.
"""

from __future__ import annotations

import argparse
import os
import signal
import socket
import sys
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))  # noqa: PTH100, PTH120 - pathlib costs start-up time

from support.stub_answers import answer, send_json
from support.stub_connection import ClosedByPeerError, Connection, Request


class Stub:
    """The state of one stub process."""

    def __init__(self, flags: argparse.Namespace) -> None:
        self.flags = flags
        self.ready_at = time.monotonic() - time.process_time() + flags.ready_after
        self.lock = threading.Lock()
        self.counts = {"served": 0, "open": 0, "cancelled": 0, "health": 0}
        self.ballast = [allocated(flags.memory)]

    @property
    def is_ready(self) -> bool:
        return bool(time.monotonic() >= self.ready_at)

    def count(self, name: str, by: int = 1) -> None:
        with self.lock:
            self.counts[name] += by

    def listen(self) -> None:
        """Accept connections for ever; before the ready time only when it answers 503."""
        if not self.flags.loading:
            time.sleep(max(0.0, self.ready_at - time.monotonic()))
        on_tcp = not self.flags.host.startswith("/")
        if on_tcp:
            listener = socket.create_server((self.flags.host, self.flags.port), backlog=1024)
        else:  # as llama-server: it neither removes what lies there nor what it leaves behind
            listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            listener.bind(self.flags.host)
            listener.listen(1024)
        while True:
            sock, _ = listener.accept()
            if on_tcp:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=self.serve, args=(sock,), daemon=True).start()

    def serve(self, sock: socket.socket) -> None:
        """Answer the requests of one connection, one after another."""
        connection = Connection(sock)
        try:
            while (request := connection.next_request()) is not None:
                self.serve_one(connection, request)
                if request.header("connection").lower() == "close":
                    break
        except (ClosedByPeerError, OSError):
            pass
        finally:
            sock.close()

    def serve_one(self, connection: Connection, request: Request) -> None:
        key = self.flags.api_key
        if key and f"Bearer {key}" != request.header("authorization"):
            send_json(
                connection, {"error": {"message": "Invalid API Key", "code": 401}}, status=401
            )
        elif not self.is_ready:
            send_json(connection, {"error": {"message": "Loading model", "code": 503}}, status=503)
        elif request.path == "/health":
            self.count("health")
            if self.flags.hang_health:
                connection.wait_for_close(3600)
            send_json(connection, {"status": "ok"})
        elif request.path == "/stub/state":
            send_json(connection, {"name": self.flags.name, "pid": os.getpid(), **self.counts})
        else:
            self.infer(connection, request)

    def infer(self, connection: Connection, request: Request) -> None:
        if self.flags.crash_on_request:
            os._exit(3)
        with self.lock:
            if len(self.ballast) == 1:
                self.ballast.append(allocated(self.flags.grows))
        self.count("open")
        try:
            answer(self.flags.name, connection, request)
            self.count("served")
        except ClosedByPeerError:
            self.count("cancelled")
            raise
        finally:
            self.count("open", -1)


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument("--host", default="127.0.0.1", help="an address, or a Unix socket: /PATH")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--name", default="stub")
    parser.add_argument("--ready-after", type=float, default=0.0, metavar="SECONDS")
    parser.add_argument("--loading", action="store_true", help="answer 503 until ready, not refuse")
    parser.add_argument("--api-key", default="", help="answer 401 without it, at /health too")
    parser.add_argument("--exit-after", type=float, metavar="SECONDS")
    parser.add_argument("--exit-code", type=int, default=1)
    parser.add_argument("--deaf", action="store_true", help="ignore SIGTERM")
    parser.add_argument("--stop-takes", type=float, default=0.0, metavar="SECONDS")
    parser.add_argument("--hang-health", action="store_true")
    parser.add_argument("--crash-on-request", action="store_true")
    parser.add_argument("--log-flood", action="store_true", help="write without pause to stdout")
    parser.add_argument("--journal", metavar="FILE", help="append one line per start")
    parser.add_argument("--memory", type=int, default=0, metavar="MB")
    parser.add_argument("--grows", type=int, default=0, metavar="MB", help="at the first request")
    parser.add_argument(
        "--out-of-memory",
        metavar="FILE",
        help="fail as llama.cpp does, unless the file is there; make it",
    )
    return parser.parse_args(arguments)


def allocated(megabytes: int) -> bytearray:
    """Return memory that is really taken: each page is written, and none is copied."""
    return bytearray(os.urandom(1 << 20)) * megabytes


def run_out_of_memory(mark: str) -> None:
    """Print what llama.cpp prints on a full GPU and exit, the first time."""
    try:
        os.close(os.open(mark, os.O_CREAT | os.O_EXCL, 0o600))
    except FileExistsError:
        return
    os.write(
        2,
        b"ggml_backend_cuda_buffer_type_alloc_buffer: allocating 300.00 MiB on device 0: "
        b"cudaMalloc failed: out of memory\n"
        b"llama_model_load: error loading model: unable to allocate CUDA0 buffer\n",
    )
    os._exit(1)


def flood() -> None:
    """Write log lines as fast as the reader takes them."""
    line = ("flood " * 20 + "\n").encode() * 50
    while True:
        os.write(1, line)


def main() -> None:
    flags = parse(sys.argv[1:])
    if flags.deaf:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    else:

        def leave(_number: int, _frame: object) -> None:
            time.sleep(flags.stop_takes)
            os._exit(0)

        signal.signal(signal.SIGTERM, leave)
    if flags.journal:
        with open(flags.journal, "a", encoding="ascii") as journal:  # noqa: PTH123 - pathlib costs start-up time
            journal.write(f"{flags.name} {os.getpid()}\n")
    if flags.out_of_memory:
        run_out_of_memory(flags.out_of_memory)
    stub = Stub(flags)
    if flags.log_flood:
        threading.Thread(target=flood, daemon=True).start()
    size = len(stub.ballast[0])
    os.write(1, f"stub {flags.name} pid {os.getpid()} on {flags.port}, {size} bytes\n".encode())
    threading.Thread(target=stub.listen, daemon=True).start()
    if flags.exit_after is not None:
        time.sleep(flags.exit_after)
        os._exit(flags.exit_code)
    while True:
        signal.pause()


if __name__ == "__main__":
    main()
