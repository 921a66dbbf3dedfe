"""Stand-ins with which the units of `api.proxy` are built alone: no socket, no clock, no server."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from modelswap.api.auth.client_identity import ClientIdentities
from modelswap.api.auth.identity import ANONYMOUS, Identity
from modelswap.api.proxy.context import RequestContext
from modelswap.api.snapshot import ConfigSnapshot
from modelswap.config.load import load_source
from modelswap.config.source.source import Environment, Source, read_text
from modelswap.config.tree.node import Map, Mark
from modelswap.core.models.lifecycle import Phase
from modelswap.core.spec import ModelId
from modelswap.http.message.head import parse_request
from modelswap.http.message.request import Request
from modelswap.observe.activity.inflight import Inflight
from modelswap.observe.events import EventBus
from modelswap.observe.logs.redaction import HeaderMask

if TYPE_CHECKING:
    from collections.abc import Callable

    from modelswap.config.plan import Plan
    from modelswap.core.commands import LeaseRequest
    from modelswap.core.naming.names import LocalTarget, PeerTarget

M = ModelId("m")
JSON = (("Content-Type", "application/json"),)
BASIC = """
models:
  m:
    cmd: server --port ${PORT}
    aliases: [nick]
  renamed:
    cmd: server --port ${PORT}
    useModelName: real
    filters: {stripParams: "temperature"}
peers:
  far:
    proxy: http://far.example:8080
    models: [big]
selectors:
  any: {strategy: spillover, targets: [m, renamed]}
groups:
  both: {swap: false, members: [m, renamed]}
profiles:
  work: {pins: {nick: far/big, m: ""}}
"""


def snapshot_of(text: str = BASIC) -> ConfigSnapshot:
    """Compile a configuration from its text."""
    environment = Environment({})
    root, problems = read_text(text, "c.yaml", environment)
    source = Source(root or Map(Mark("c.yaml")), ("c.yaml",), frozenset(), tuple(problems))
    loaded = load_source(source)
    assert loaded.plan is not None, loaded.problems
    with asyncio.Runner() as runner:  # pools take the running loop, and use it for requests only
        return runner.run(_compiled(loaded.plan))


async def _compiled(plan: Plan) -> ConfigSnapshot:
    return ConfigSnapshot(plan, listening=["127.0.0.1"])


def request_of(
    method: str = "POST",
    target: str = "/v1/chat/completions",
    fields: tuple[tuple[str, str], ...] = JSON,
    length: int | None = None,
) -> Request:
    """Read a head as the server reads it."""
    lines = [f"{method} {target} HTTP/1.1", "Host: localhost"]
    lines += [f"{name}: {value}" for name, value in fields]
    if length is not None:
        lines.append(f"Content-Length: {length}")
    head = "\r\n".join([*lines, "", ""])
    return Request(parse_request(head.encode("latin-1")), "10.0.0.1", "http")


def context_of(
    request: Request,
    *,
    snapshot: ConfigSnapshot | None = None,
    identity: Identity = ANONYMOUS,
    path: str = "",
    named: tuple[str, LocalTarget | PeerTarget] | None = None,
    is_recorded: bool = True,
    **facts: Any,
) -> RequestContext:
    return RequestContext(
        snapshot or snapshot_of(),
        request,
        identity,
        ClientIdentities(),
        path=path or request.path,
        named=named,
        is_recorded=is_recorded,
        is_tracked=True,
        **facts,
    )


@dataclass
class FakeTimer:
    at: float
    call: Callable[..., None]
    args: tuple[Any, ...]
    is_cancelled: bool = False

    def cancel(self) -> None:
        self.is_cancelled = True


@dataclass
class FakeLoop:
    """A clock that a test moves; timers run in order."""

    now: float = 0.0
    timers: list[FakeTimer] = field(default_factory=list[FakeTimer])

    def time(self) -> float:
        return self.now

    def call_later(self, delay: float, call: Callable[..., None], *args: Any) -> FakeTimer:
        timer = FakeTimer(self.now + delay, call, args)
        self.timers.append(timer)
        return timer

    @property
    def waiting(self) -> list[FakeTimer]:
        return [timer for timer in self.timers if not timer.is_cancelled]

    def advance(self, seconds: float) -> None:
        """Move the clock; run what falls due."""
        end = self.now + seconds
        while due := [timer for timer in self.waiting if timer.at <= end]:
            timer = min(due, key=lambda t: t.at)
            self.timers.remove(timer)
            self.now = max(self.now, timer.at)
            timer.call(*timer.args)
        self.now = end


@dataclass
class FakeExchange:
    """Writes down what the client gets."""

    request: Request
    body: bytes = b""
    """What `read_body` gives at once."""
    status: int = 0
    started: bool = False
    finished: bool = False
    paused: bool = False
    sent: bytes = b""
    on_gone: Callable[[], None] | None = None
    must_close: bool = False

    @property
    def ready(self) -> bytes | None:
        return self.body

    @ready.setter
    def ready(self, rest: bytes) -> None:
        self.body = rest

    @property
    def body_length(self) -> int | None:
        return None if self.request.chunked else self.request.content_length or 0

    def read_body(self, done: Callable[[bytes], None], limit: int | None = None) -> None:
        del limit
        done(self.body)

    def stream_body(self, sink: Any) -> None:
        sink.on_data(self.body)
        sink.on_end()

    def pause_body(self) -> None: ...
    def resume_body(self) -> None: ...

    def hold(self, count: int) -> bool:
        return count < 1 << 20

    def reply(self, status: int, headers: object, body: bytes = b"") -> None:
        del headers
        self.status, self.sent = status, body
        self.started = self.finished = True

    def send_whole(self, status: int, head: bytes, body: bytes) -> bool:
        if self.must_close:
            return False
        self.reply(status, head, body)
        self.on_gone = None
        return True

    def start(self, status: int, headers: object) -> None:
        del headers
        self.status, self.started = status, True

    def write(self, data: bytes) -> bool:
        self.sent += data
        return True

    def end(self, data: bytes = b"") -> None:
        self.sent += data
        self.finished = True


class FakeFleet:
    """Counts leases; grants when the test says so."""

    def __init__(self, phase: Phase = Phase.READY) -> None:
        self.current = phase
        self.leases = 0
        self.asked_ttl: float | None = None
        """Of the last lease that ended."""
        self.waiter: Any = None
        self.orders: list[str] = []
        self.time_left: float | None = None
        self.pull: Any = None
        """How the pull of its files stands."""
        model = SimpleNamespace(id=M, spec=SimpleNamespace(priority=5))
        self.ready: Any = SimpleNamespace(model=model, upstream=FakePool())

    def phase(self, model: str) -> Phase:
        del model
        return self.current

    listed_phase = phase

    def server(self, model: str) -> Any:
        del model
        return self.ready if self.current is Phase.READY else None

    def pull_of(self, model: str) -> Any:
        del model
        return self.pull

    def lease_now(self, model: str) -> Any:
        server = self.server(model)
        self.leases += server is not None
        return server

    def ask(self, request: LeaseRequest, waiter: Any) -> Any:
        self.orders.append("ask watched" if request.watched else "ask")
        self.waiter = waiter
        return SimpleNamespace(model=request.model)

    def grant(self) -> None:
        self.leases += 1
        self.waiter.on_granted(self.ready)

    def release(self, model: str, ttl: float | None = None) -> None:
        del model
        self.asked_ttl = ttl
        self.leases -= 1

    def cancel(self, ticket: object) -> None:
        del ticket
        self.orders.append("cancel")

    def leave(self, ticket: object) -> None:
        del ticket
        self.orders.append("leave")

    def load_time_left(self, model: str) -> float | None:
        del model
        return self.time_left

    def has_idled(self, model: str) -> bool:
        del model
        return False

    def stalled(self, server: object, detail: str) -> None:
        del server
        self.orders.append(f"stalled {detail}")


class FakePool:
    """The pool of connections to one server; nothing is ever sent."""

    connection: Any = None
    """The idle one, if there is one."""

    def ask(self, taker: object, request: object, body: bytes) -> Any:
        del taker, request, body
        return self.connection

    address = SimpleNamespace(
        authority="127.0.0.1:9", join=lambda path, query: f"{path}?{query}".encode()
    )


class FakeServices:
    """What requests use of the program, and a list of what they left."""

    def __init__(self, snapshot: ConfigSnapshot | None = None) -> None:
        self.config: Any = SimpleNamespace(snapshot=snapshot or snapshot_of())
        self.loop: Any = FakeLoop()
        self.fleet: Any = FakeFleet()
        self.profile: str | None = None
        self.spool = None
        self.shows_requests = True
        self.lines: list[tuple[int, int]] = []
        """Status and bytes of each line in the log."""
        self.warnings: list[str] = []
        self.entries: list[Any] = []
        """Completed requests."""
        self.bus = EventBus()
        self.log: Any = SimpleNamespace(
            once=lambda _, text: self.warnings.append(text), warning=self.warnings.append
        )
        self.logs: Any = SimpleNamespace(
            request_line=self._line, add=self._line_of, add_completed=self._line_of
        )
        self.completions: Any = SimpleNamespace(add=self._add, flush=lambda: None)
        self.inflight: Any = Inflight(self.bus, HeaderMask())
        self.captures: Any = SimpleNamespace(enabled=False, begin=lambda *_: None)

    def _line(self, _before: str, status: int, sent: int, _after: str, _took: float) -> None:
        self.lines.append((status, sent))

    def _line_of(self, entry: Any) -> None:
        self.lines.append((entry.shown_status, entry.answered))

    def _add(self, entry: Any, held: int = 0) -> None:
        del held
        self.entries.append(entry)

    @property
    def running(self) -> list[Any]:
        return list(self.inflight.entries)
