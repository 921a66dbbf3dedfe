"""The keeper's event loop: orders in, news out, and what happens without a front.

It has one thread, one `poll`, and no timer while a front is connected: SIGCHLD, through the wake-up pipe,
says that a child has exited. Deadlines exist only when the front is gone, or everything is to stop.

Does not: judge readiness, restart a server, or decide how long a normal stop may take; the front does.
"""

from __future__ import annotations

import os
import select
import sys
import time

from modelswap.procfs import children, read_bytes

from . import protocol
from .child import become_reaper_of_orphans, spawn
from .control_socket import ControlSocket, FrontConnection
from .guard import Guard
from .lean import signal, suppress
from .protocol import KILL, MARKER, TERMINATE, encode
from .server_process import ServerProcess, send
from .sweep import sweep

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

STOP_GRACE = 5.0
"""Seconds from SIGTERM to SIGKILL when there is no front to decide it."""
DEFAULT_GRACE = 10.0
"""Seconds without a front before the servers stop; a front restarts within a few."""
_ID_FILE = "keeper.id"
"""File in the state directory while a keeper runs: the marker of its servers."""
_GROUP_POLL = 0.1
"""Seconds between two checks of a group without its leader, where orphans do not become our children."""


class Supervisor:
    def __init__(self, control_socket: ControlSocket, grace: float) -> None:
        self._control_socket = control_socket
        self._grace = grace
        self.id = f"{os.getpid()}-{os.urandom(8).hex()}"
        self._guard = Guard(self.id)
        self._servers: dict[int, ServerProcess] = {}
        self._next_run = 1
        self._front: FrontConnection | None = None
        self._deadline: float | None = time.monotonic() + grace
        self._closing = False
        self._finished = False
        self._poll = select.poll()
        self._on_readable: dict[int, Callable[[], object]] = {}
        self._wake, wake_writer = os.pipe()
        os.set_blocking(self._wake, False)
        os.set_blocking(wake_writer, False)
        signal.set_wakeup_fd(wake_writer, warn_on_full_buffer=False)
        for number in (signal.SIGCHLD, signal.SIGTERM):
            signal.signal(number, _only_wake)
        for number in (signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        become_reaper_of_orphans()
        self._watch(self._wake, self._on_signal)
        self._watch(control_socket.fileno(), self._on_connection)

    def serve(self) -> None:
        """Run until told to end, or until no front has connected for the grace."""
        self._guard.start()
        while not self._finished:
            for fd, happened in self._poll.poll(self._poll_timeout()):
                self._on_event(fd, happened)
            self._on_time()
            self._send_output()
        self._guard.stop()

    # The loop

    def _watch(self, fd: int, handler: Callable[[], object]) -> None:
        self._on_readable[fd] = handler
        self._poll.register(fd, select.POLLIN)

    def _forget(self, fd: int) -> None:
        if self._on_readable.pop(fd, None) is not None:
            self._poll.unregister(fd)

    def _on_event(self, fd: int, happened: int) -> None:
        handler = self._on_readable.get(fd)  # gone, when an earlier event of this round closed it
        if handler is not None and happened & ~select.POLLOUT:
            handler()

    def _poll_timeout(self) -> float | None:
        waits = [] if self._deadline is None else [self._deadline - time.monotonic()]
        if sys.platform != "linux" and self._main_exited():
            waits.append(_GROUP_POLL)
        return max(0.0, min(waits)) * 1000 + 1 if waits else None

    def _on_signal(self) -> None:
        try:
            numbers = os.read(self._wake, 4096)
        except BlockingIOError:
            return
        if signal.SIGTERM in numbers:
            self._stop_all(STOP_GRACE)
        self._reap()

    def _on_time(self) -> None:
        if sys.platform != "linux":
            self._settle()
        if self._deadline is None or time.monotonic() < self._deadline:
            return
        self._deadline = None
        if self._closing:
            self._signal(self._servers.values(), KILL)
        else:
            self._stop_all(STOP_GRACE)

    # The front

    def _on_connection(self) -> None:
        front = self._control_socket.accept()
        if front is not None:
            self._watch(front.fileno(), lambda: self._on_front(front))

    def _on_front(self, front: FrontConnection) -> None:
        try:
            for message in front.receive():
                self._on_order(front, message)
        except (OSError, EOFError, protocol.ProtocolError):
            self._drop(front)

    def _drop(self, front: FrontConnection) -> None:
        self._forget(front.fileno())
        front.close()
        if front is self._front:
            self._front = None
            if not self._closing:
                self._deadline = time.monotonic() + (self._grace if self._servers else 0)

    def _on_hello(self, front: FrontConnection, message: Mapping[str, object]) -> None:
        if self._front is not None and front is not self._front:
            self._drop(self._front)  # the newest is the one that holds the front's lock
        self._front = front
        self._grace = protocol.number(message, "grace")
        if not self._closing:
            self._deadline = None
        facts = {"version": protocol.VERSION, "keeper": self.id, "pid": os.getpid()}
        runs = [_describe(server) for server in self._servers.values()]
        front.send(encode("welcome", **facts, next_run=self._next_run, runs=runs))

    def _send(self, news: bytes) -> None:
        if self._front is not None:
            self._front.send(news)

    def _send_output(self) -> None:
        front = self._front
        if front is None:
            return
        for server in self._servers.values():
            if front.has_room():
                self._fetch(server)
        try:
            front.flush()
        except OSError:
            self._drop(front)
            return
        wanted = select.POLLIN | (select.POLLOUT if front.has_unsent() else 0)
        self._poll.modify(front.fileno(), wanted)

    def _fetch(self, server: ServerProcess) -> None:
        data = server.output.take()
        if data:
            self._send(protocol.encode_output(server.number, data))

    # Orders

    def _on_order(self, front: FrontConnection, message: Mapping[str, object]) -> None:
        kind = protocol.text(message, "kind")
        if kind == "hello":
            self._on_hello(front, message)
        elif kind == "stop_all":
            self._stop_all(protocol.number(message, "grace"))
        elif front is not self._front:
            raise protocol.ProtocolError("no hello")
        elif kind == "spawn":
            self._spawn(message)
        elif kind in ("signal", "stop_command"):
            server = self._servers.get(protocol.whole(message, "run"))
            if server is None:
                return  # it has ended meanwhile, which the front is about to read
            if kind == "signal":
                how = KILL if protocol.text(message, "how") == KILL else TERMINATE
                self._signal([server], how)
                self._settle()
            else:
                self._run_stop_command(server, message)

    def _marker(self, server: ServerProcess) -> str:
        return f"{self.id}.{server.number}"

    def _spawn(self, message: Mapping[str, object]) -> None:
        number = protocol.whole(message, "run")
        model, tag = protocol.text(message, "model"), protocol.mapping(message.get("tag"))
        self._next_run = max(self._next_run, number + 1)
        try:
            server = self._started(ServerProcess(number, model, tag), message)
        except OSError as error:  # also: no descriptors left for its output
            self._send(encode("spawn_failed", run=number, **_facts_of(error)))
            return
        self._servers[number] = server
        self._watch(server.output.reader, server.output.pump)
        self._send(encode("spawned", run=number, pid=server.pid, started=server.started))

    def _started(self, server: ServerProcess, message: Mapping[str, object]) -> ServerProcess:
        try:
            if self._closing:
                raise OSError("the keeper is stopping")  # noqa: TRY301 - fails like the others
            server.on_started(self._fork(server, message))
        except (OSError, protocol.ProtocolError):
            server.output.close()
            raise
        return server

    def _fork(self, server: ServerProcess, message: Mapping[str, object]) -> int:
        argv, cwd = protocol.texts(message, "argv"), protocol.text(message, "cwd")
        env = {**protocol.text_map(message, "env"), MARKER: self._marker(server)}
        return spawn(argv, env, cwd, server.output.writer)

    def _run_stop_command(self, server: ServerProcess, message: Mapping[str, object]) -> None:
        server.stopping = True
        if server.stop_pid is not None:
            return  # asked twice; the first one is still at it
        self._assign_orphans()
        server.members()  # so that what it leaves behind is recognised
        try:
            server.stop_pid = self._fork(server, message)
        except OSError as error:
            self._send(encode("stop_ended", run=server.number, code=None, **_facts_of(error)))

    def _stop_all(self, grace: float) -> None:
        if not self._closing:
            self._closing = True
            self._signal(self._servers.values(), TERMINATE)
        deadline = time.monotonic() + grace
        self._deadline = deadline if self._deadline is None else min(deadline, self._deadline)
        self._settle()

    def _signal(self, servers: Iterable[ServerProcess], how: str) -> None:
        """Assign the orphans anew first: the number of one that has exited may be a foreign process's."""
        self._assign_orphans()
        for server in servers:
            server.signal(how)

    # Children

    def _reap(self) -> None:
        with suppress(ChildProcessError):
            while (exited := os.waitpid(-1, os.WNOHANG))[0]:
                self._on_child_exited(exited[0], os.waitstatus_to_exitcode(exited[1]))
        self._settle()

    def _on_child_exited(self, pid: int, code: int) -> None:
        if pid == self._guard.pid:
            self._guard.start()
        for server in self._servers.values():
            if pid == server.pid and server.code is None:
                server.code = code
            elif pid == server.stop_pid:
                server.stop_pid = None
                self._send(encode("stop_ended", run=server.number, code=code, reason=""))

    def _settle(self) -> None:
        """End the servers whose processes have all exited; handle what others left behind."""
        main_exited = self._main_exited()
        orphans = self._assign_orphans() if main_exited or self._closing else []
        for server in main_exited:
            self._settle_one(server)
        if not self._servers:
            for pid in orphans:  # the server that they came from has ended
                send(pid, signal.SIGKILL)
            self._finished = self._closing and not orphans

    def _main_exited(self) -> list[ServerProcess]:
        return [server for server in self._servers.values() if server.code is not None]

    def _settle_one(self, server: ServerProcess) -> None:
        left = server.members()
        if not left:
            self._end(server)
        elif server.killing or (server.code != 0 and not server.stopping):
            server.signal(KILL)
        elif server.stopping:
            for pid in server.not_terminated(left):
                send(pid, signal.SIGTERM)
        elif not server.is_main_exit_reported:
            server.is_main_exit_reported = True
            self._send(encode("main_gone", run=server.number, left=left))

    def _assign_orphans(self) -> list[int]:
        """Assign each orphan to the server it came from; return those of unknown origin."""
        known = {pid for one in self._servers.values() for pid in (one.pid, one.stop_pid)}
        orphans = [pid for pid in children(os.getpid()) if pid not in known | {self._guard.pid}]
        for server in self._servers.values():
            marker = self._marker(server)
            owned = [pid for pid in orphans if server.owns(pid, marker)]
            server.adopt(owned)
            orphans = [pid for pid in orphans if pid not in owned]
        return orphans

    def _end(self, server: ServerProcess) -> None:
        if server.stop_pid is not None:
            send(-server.stop_pid, signal.SIGKILL)
        while server.output.pump():
            pass
        self._fetch(server)
        self._forget(server.output.reader)
        server.output.close()
        del self._servers[server.number]
        self._send(encode("exited", run=server.number, code=server.code))


def _only_wake(number: int, frame: object) -> None:
    """Do nothing: the wake-up pipe carries the news."""


def _facts_of(error: OSError) -> dict[str, object]:
    return {"reason": error.strerror or str(error), "errno": error.errno}


def _describe(server: ServerProcess) -> dict[str, object]:
    return {
        "run": server.number,
        "model": server.model,
        "tag": server.tag,
        "pid": server.pid,
        "started": server.started,
        "stopping": server.stopping,
    }


def main(arguments: list[str]) -> int:
    """Serve in the given state directory until everything has ended."""
    os.chdir(arguments[0])  # so that the socket's own path is short, however long the directory's
    grace = float(arguments[1]) if len(arguments) > 1 else DEFAULT_GRACE
    with ControlSocket() as control_socket:
        _clean_up_previous()
        supervisor = Supervisor(control_socket, grace)
        _write_id(supervisor.id)
        os.write(1, protocol.READY_LINE)
        os.dup2(2, 1)
        supervisor.serve()
        with suppress(OSError):
            os.unlink(_ID_FILE)  # noqa: PTH108 - nothing of ours is left to be found by it
    return 0


def _clean_up_previous() -> None:
    """Kill what a keeper left behind that was killed together with its front and its guard."""
    name = read_bytes(_ID_FILE).decode("ascii", "replace")
    if name and sys.platform == "linux":
        sweep(name)


def _write_id(name: str) -> None:
    with suppress(OSError):  # a full disk: the guard must do
        fd = os.open(_ID_FILE, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            os.write(fd, name.encode())
        finally:
            os.close(fd)
