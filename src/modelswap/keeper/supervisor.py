"""The keeper's event loop: orders in, news out, and what happens without a front.

One thread, one `poll`, no timer while a front is there: children are waited for by SIGCHLD, through
the wake-up pipe. Deadlines exist in two cases only: the front vanished (grace), or everything is to
stop (then SIGKILL).

It refuses to judge: readiness, restarts and the patience of a normal stop are the front's.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import time

from . import protocol
from .child import become_reaper_of_orphans, spawn
from .control_socket import ControlSocket, FrontConnection
from .guard import Guard
from .process_tree import children, read_bytes
from .protocol import KILL, MARKER, TERMINATE, encode
from .server_process import ServerProcess, send
from .sweep import sweep

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

STOP_GRACE = 5.0
"""From SIGTERM to SIGKILL when there is no front to decide it."""
DEFAULT_GRACE = 10.0
_NAME = "keeper.id"
"""In the state directory while a keeper lives: by what mark its servers are known."""
_GROUP_POLL = 0.1
"""Where the system does not hand us orphans, a leaderless group is looked at this often."""


class Supervisor:
    """Everything the keeper knows and does."""

    def __init__(self, door: ControlSocket, grace: float) -> None:
        self._door = door
        self._grace = grace
        self.id = f"{os.getpid()}-{os.urandom(8).hex()}"
        self._guard = Guard(self.id)
        self._runs: dict[int, ServerProcess] = {}
        self._next_run = 1
        self._front: FrontConnection | None = None
        self._deadline: float | None = time.monotonic() + grace
        self._closing = False
        self._finished = False
        self._poll = select.poll()
        self._on_readable: dict[int, Callable[[], None]] = {}
        self._writable_fd: int | None = None
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
        self._watch(door.fileno(), self._on_knock)

    def serve(self) -> None:
        """Run until told to end, or until no front has come for the grace."""
        self._guard.start()
        while not self._finished:
            for fd, happened in self._poll.poll(self._patience()):
                self._on_event(fd, happened)
            self._on_time()
            self._send_output()
        self._guard.stop()

    # The loop

    def _watch(self, fd: int, handler: Callable[[], None]) -> None:
        self._on_readable[fd] = handler
        self._poll.register(fd, select.POLLIN)

    def _forget(self, fd: int) -> None:
        if self._on_readable.pop(fd, None) is not None:
            self._poll.unregister(fd)

    def _on_event(self, fd: int, happened: int) -> None:
        handler = self._on_readable.get(fd)  # gone, when an earlier event of this round closed it
        if handler is not None and happened & ~select.POLLOUT:
            handler()

    def _patience(self) -> float | None:
        waits = [] if self._deadline is None else [self._deadline - time.monotonic()]
        if sys.platform != "linux" and any(run.code is not None for run in self._runs.values()):
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
            self._signal(self._runs.values(), KILL)
        else:
            self._stop_all(STOP_GRACE)

    # The front

    def _on_knock(self) -> None:
        front = self._door.accept()
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
                self._deadline = time.monotonic() + (self._grace if self._runs else 0)

    def _welcome(self, front: FrontConnection, message: Mapping[str, object]) -> None:
        if self._front is not None and front is not self._front:
            self._drop(self._front)  # the newest is the one that holds the front's lock
        self._front = front
        self._grace = protocol.number(message, "grace")
        if not self._closing:
            self._deadline = None
        front.post(
            encode(
                "welcome",
                version=protocol.VERSION,
                keeper=self.id,
                pid=os.getpid(),
                next_run=self._next_run,
                runs=[_describe(run) for run in self._runs.values()],
            )
        )

    def _post(self, news: bytes) -> None:
        if self._front is not None:
            self._front.post(news)

    def _send_output(self) -> None:
        front = self._front
        if front is None:
            return
        for run in self._runs.values():
            if front.has_room():
                self._fetch(run)
        try:
            front.flush()
        except OSError:
            self._drop(front)
            return
        wanted = select.POLLIN | (select.POLLOUT if front.is_behind() else 0)
        self._poll.modify(front.fileno(), wanted)

    def _fetch(self, run: ServerProcess) -> None:
        data = run.output.take()
        if data:
            self._post(protocol.encode_output(run.number, data))

    # Orders

    def _on_order(self, front: FrontConnection, message: Mapping[str, object]) -> None:
        kind = protocol.text(message, "kind")
        if kind == "hello":
            self._welcome(front, message)
        elif kind == "stop_all":
            self._stop_all(protocol.number(message, "grace"))
        elif front is not self._front:
            raise protocol.ProtocolError("no hello")
        elif kind == "spawn":
            self._spawn(message)
        elif kind in ("signal", "stop_command"):
            run = self._runs.get(protocol.whole(message, "run"))
            if run is None:
                return  # ended meanwhile; the news is on its way
            if kind == "signal":
                how = KILL if protocol.text(message, "how") == KILL else TERMINATE
                self._signal([run], how)
                self._settle()
            else:
                self._run_stop_command(run, message)

    def _environment(self, run: ServerProcess, message: Mapping[str, object]) -> dict[str, str]:
        return {**protocol.text_map(message, "env"), MARKER: self._mark(run)}

    def _mark(self, run: ServerProcess) -> str:
        return f"{self.id}.{run.number}"

    def _spawn(self, message: Mapping[str, object]) -> None:
        number = protocol.whole(message, "run")
        model, tag = protocol.text(message, "model"), protocol.mapping(message.get("tag"))
        self._next_run = max(self._next_run, number + 1)
        argv, cwd = protocol.texts(message, "argv"), protocol.text(message, "cwd")
        try:
            run = self._started(ServerProcess(number, model, tag), argv, message, cwd)
        except OSError as error:  # also: no descriptors left for its output
            reason = error.strerror or str(error)
            self._post(encode("spawn_failed", run=number, reason=reason, errno=error.errno))
            return
        self._runs[number] = run
        self._watch(run.output.reader, lambda: self._pump(run))
        self._post(encode("spawned", run=number, pid=run.pid, started=run.started))

    def _started(
        self, run: ServerProcess, argv: list[str], message: Mapping[str, object], cwd: str
    ) -> ServerProcess:
        try:
            if self._closing:
                raise OSError("the keeper is stopping")  # noqa: TRY301 - fails like the others
            run.has_started(spawn(argv, self._environment(run, message), cwd, run.output.writer))
        except OSError:
            run.output.close()
            raise
        return run

    @staticmethod
    def _pump(run: ServerProcess) -> None:
        run.output.pump()

    def _run_stop_command(self, run: ServerProcess, message: Mapping[str, object]) -> None:
        run.stopping = True
        if run.stopper is not None:
            return  # asked twice; the first one is still at it
        argv, cwd = protocol.texts(message, "argv"), protocol.text(message, "cwd")
        self._hand_out_orphans()
        run.members()  # so that what it leaves behind is recognised
        try:
            run.stopper = spawn(argv, self._environment(run, message), cwd, run.output.writer)
        except OSError as error:
            reason = error.strerror or str(error)
            news = encode("stop_ended", run=run.number, code=None, reason=reason, errno=error.errno)
            self._post(news)

    def _stop_all(self, grace: float) -> None:
        if not self._closing:
            self._closing = True
            self._signal(self._runs.values(), TERMINATE)
        deadline = time.monotonic() + grace
        self._deadline = deadline if self._deadline is None else min(deadline, self._deadline)
        self._settle()

    def _signal(self, runs: Iterable[ServerProcess], how: str) -> None:
        """Look anew whose the orphans are first: the number of one that has gone may be a stranger's."""
        self._hand_out_orphans()
        for run in runs:
            run.signal(how)

    # Children

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                break
            if pid == 0:
                break
            self._on_child_gone(pid, os.waitstatus_to_exitcode(status))
        self._settle()

    def _on_child_gone(self, pid: int, code: int) -> None:
        if pid == self._guard.pid:
            self._guard.start()
        for run in self._runs.values():
            if pid == run.pid and run.code is None:
                run.code = code
            elif pid == run.stopper:
                run.stopper = None
                self._post(encode("stop_ended", run=run.number, code=code, reason=""))

    def _settle(self) -> None:
        """End the runs of which nothing is left, and deal with what others left behind."""
        bereft = [run for run in self._runs.values() if run.code is not None]
        strays = self._hand_out_orphans() if bereft or self._closing else []
        for run in bereft:
            self._settle_one(run)
        if not self._runs:
            for pid in strays:  # whoever they came from, it has ended
                send(pid, signal.SIGKILL)
            self._finished = self._closing and not strays

    def _settle_one(self, run: ServerProcess) -> None:
        left = run.members()
        if not left:
            self._end(run)
        elif run.killing or (run.code != 0 and not run.stopping):
            run.signal(KILL)
        elif run.stopping:
            for pid in run.untold(left):
                send(pid, signal.SIGTERM)
        elif not run.is_bereft_told:
            run.is_bereft_told = True
            self._post(encode("main_gone", run=run.number, left=left))

    def _hand_out_orphans(self) -> list[int]:
        """Give each orphan to the run it came from; return those of unknown origin."""
        mains = {run.pid for run in self._runs.values()}
        mains |= {run.stopper for run in self._runs.values() if run.stopper is not None}
        strays = [pid for pid in children(os.getpid()) if pid not in mains | {self._guard.pid}]
        for run in self._runs.values():
            mark = self._mark(run)
            owned = [pid for pid in strays if run.owns(pid, mark)]
            run.adopt(owned)
            strays = [pid for pid in strays if pid not in owned]
        return strays

    def _end(self, run: ServerProcess) -> None:
        if run.stopper is not None:
            send(-run.stopper, signal.SIGKILL)
        while run.output.pump():
            pass
        self._fetch(run)
        self._forget(run.output.reader)
        run.output.close()
        del self._runs[run.number]
        self._post(encode("exited", run=run.number, code=run.code))


def _only_wake(number: int, frame: object) -> None:
    """Do nothing: the wake-up pipe carries the news."""


def _describe(run: ServerProcess) -> dict[str, object]:
    return {
        "run": run.number,
        "model": run.model,
        "tag": run.tag,
        "pid": run.pid,
        "started": run.started,
        "stopping": run.stopping,
    }


def main(arguments: list[str]) -> int:
    """Serve in the given state directory until everything has ended."""
    os.chdir(arguments[0])  # so that the socket's own path is short, however long the directory's
    grace = float(arguments[1]) if len(arguments) > 1 else DEFAULT_GRACE
    with ControlSocket() as door:
        _bury_predecessor()
        supervisor = Supervisor(door, grace)
        _leave_name(supervisor.id)
        os.write(1, protocol.READY_LINE)
        os.dup2(2, 1)
        supervisor.serve()
        with contextlib.suppress(OSError):
            os.unlink(_NAME)  # noqa: PTH108 - nothing of ours is left to be found by it
    return 0


def _bury_predecessor() -> None:
    """Kill what a keeper left behind that was killed together with its front and its guard."""
    name = read_bytes(_NAME).decode("ascii", "replace")
    if name and sys.platform == "linux":
        sweep(name)


def _leave_name(name: str) -> None:
    with contextlib.suppress(OSError):  # a full disk: the guard must do
        fd = os.open(_NAME, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            os.write(fd, name.encode())
        finally:
            os.close(fd)
