"""What is left of a request when it is over."""

from __future__ import annotations

import gc
import gzip
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from modelswap.api.auth.client_identity import ClientIdentities
from modelswap.api.proxy.context import RequestContext, ResolvedRequest
from modelswap.api.proxy.record import RequestRecord
from modelswap.api.snapshot import ConfigSnapshot
from modelswap.config.plan import Plan
from modelswap.errors import ReplyError
from modelswap.observe.activity.completion_batcher import CompletionBatcher
from modelswap.observe.activity.inflight import Inflight
from modelswap.observe.activity.query import Filter, Page
from modelswap.observe.activity.store import Store
from modelswap.observe.captures import SMALL, Captures
from modelswap.observe.events import EventBus
from modelswap.observe.logs.logs import Logs
from modelswap.observe.logs.redaction import HeaderMask
from modelswap.observe.metrics.prometheus import Metrics

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

TYPE = (b"Content-Type", b"application/json")
ANSWER = b'{"choices":[{"finish_reason":"stop"}],"usage":{"prompt_tokens":3,"completion_tokens":2}}'


class Observers:
    """What records go into."""

    def __init__(self, capture_buffer: int) -> None:
        mask = HeaderMask()
        self.bus = EventBus()
        self.inflight = Inflight(self.bus, mask)
        self.captures = Captures(capture_buffer, mask)
        self.metrics = Metrics()
        self.store = Store(self.captures, warn=print)
        self.store.open()
        self.logs = Logs(to_stdout="none")
        self.shows_requests = True
        self.completions = CompletionBatcher(
            self.store, self.captures, self.metrics, self.logs, self.later
        )

    def later(self, _delay: float, _call: Callable[[], None]) -> Any:
        """Nothing here waits: the tests settle."""
        return SimpleNamespace(cancel=lambda: None)

    def listed(self) -> list[Any]:
        self.completions.flush()
        found: Any = self.store.listing(Filter(), Page())["data"]
        return list(found)


@pytest.fixture(params=[0, 1 << 20])
def services(request: pytest.FixtureRequest) -> Iterator[Observers]:
    observers = Observers(request.param)
    yield observers
    observers.store.close()


def begun(
    services: Observers, sent: bytes = b'{"model":"m"}', path: str = "/v1/chat/completions"
) -> RequestRecord:
    """A recording of a request that was sent."""
    asked: Any = SimpleNamespace(
        client="10.0.0.1",
        method="POST",
        path=path,
        version="1.1",
        headers=(TYPE,),
        has_body=True,
        header=dict([TYPE]).get,
    )
    identity: Any = SimpleNamespace(name="key", is_named=True, background=False, no_swap=False)
    context = RequestContext(
        ConfigSnapshot(Plan(), listening=[]),
        asked,
        identity,
        ClientIdentities(),
        path=path,
        is_recorded=True,
        is_tracked=True,
    )
    shared: Any = services
    record = RequestRecord(
        shared,
        context,
        context.request,
        1.0,
        ResolvedRequest("alias", "m"),
    )
    record.owner = SimpleNamespace(cancel=lambda: None)
    services.inflight.add(record)
    record.sent, record.sent_size = sent, len(sent)
    record.answered, record.shown_status = len(ANSWER), 200
    return record


def head(*, event_stream: bool = False, encoding: bytes = b"") -> Any:
    return SimpleNamespace(
        status=200,
        headers=(TYPE, (b"Content-Encoding", encoding)) if encoding else (TYPE,),
        type_text="application/json",
        event_stream=event_stream,
        encoding=encoding,
        weight=200,
    )


def test_one_piece_and_many_leave_the_same(services: Observers) -> None:
    """Row, metrics and capture do not depend on how the answer was cut."""
    whole, pieces = begun(services), begun(services)
    whole.on_whole(head(), ANSWER, 2.0)
    pieces.on_head(head())
    pieces.on_data(ANSWER[:20])
    pieces.on_data(ANSWER[20:])
    whole.end("done", 3.0)
    pieces.end("done", 3.0)
    second, first = services.listed()
    for name in ("tokens", "bytes_out", "bytes_in", "finish_reason", "requested", "has_capture"):
        assert first[name] == second[name]
    assert (first["tokens"]["input_tokens"], first["bytes_out"]) == (3, len(ANSWER))
    assert services.metrics.counters.tokens == {("m", "prompt"): 6, ("m", "generated"): 4}
    shown = [services.captures.show(entry["id"]) for entry in (first, second)]
    if services.captures.enabled:
        for name in ("req_body", "resp_body", "req_headers", "resp_headers"):
            assert shown[0] is not None
            assert shown[1] is not None
            assert shown[0][name] == shown[1][name]
    else:
        assert shown == [None, None]
    assert len(services.inflight) == 0


@pytest.mark.parametrize("is_sound", [True, False])
def test_what_cannot_be_unpacked_is_not_captured(*, is_sound: bool) -> None:
    """An answer that is not what its coding says leaves a row with the reason, and no capture."""
    services = Observers(1 << 20)
    record = begun(services)
    data = gzip.compress(ANSWER) if is_sound else b"no gzip at all"
    record.on_whole(head(encoding=b"gzip"), data, 2.0)
    record.end("done", 3.0)
    entry = services.listed()[0]
    assert entry["has_capture"] is is_sound
    assert ("decompression failed" in entry.get("error_msg", "")) is not is_sound
    assert services.captures._gathering == 0
    services.store.close()


@pytest.mark.parametrize("size", [10, SMALL + 1])
@pytest.mark.parametrize("event_stream", [False, True])
def test_what_is_not_captured_is_dropped(*, size: int, event_stream: bool) -> None:
    """A finished request in the list holds neither its body nor its answer."""
    services = Observers(0)
    record = begun(services, b"x" * size)
    record.on_head(head(event_stream=event_stream))
    record.on_data(b"data: {}\n\n" * 10)
    record.end("done", 3.0)
    services.completions.flush()
    assert (record.request_body, record.response_body, record._meter) == (b"", b"", None)
    assert record.owner is None
    assert services.listed()[0]["bytes_in"] == size
    services.store.close()


def test_a_row_holds_nothing_of_an_edited_request() -> None:
    """The edited body and the refusal of a request are not kept with its row; its names are."""
    services = Observers(0)
    record = begun(services)
    record.resolved = ResolvedRequest(
        "alias", "m", body=b"x" * 4000, selection=("s", "m"), refusal=ReplyError("no")
    )
    record.end("refused", 3.0)
    entry = services.listed()[0]
    assert (record.resolved.body, record.resolved.refusal) == (None, None)
    assert (entry["model"], entry["requested"], entry["metadata"]) == (
        "m",
        "alias",
        {"selector": "s"},
    )
    services.store.close()


def test_the_oldest_captures_leave_with_their_rows() -> None:
    """A capture whose row is gone is not kept, and neither is its request."""
    services = Observers(1 << 20)
    services.captures.resize(1 << 20, most=3)
    services.store.configure(max_rows=3, retention=None)
    records = [begun(services) for _ in range(5)]
    for record in records:
        record.on_whole(head(), ANSWER, 2.0)
        record.end("done", 3.0)
    services.completions.flush()
    kept = [record.id for record in records[2:]]
    del record, records
    alive: list[Any] = [one for one in gc.get_objects() if type(one) is RequestRecord]
    assert sorted(one.id for one in alive if one.services is services) == kept
    del alive
    assert services.captures.ids() == frozenset(kept)
    assert [entry["id"] for entry in services.listed()] == kept[::-1]
    assert all(entry["finish_reason"] == "stop" for entry in services.listed())
    services.store.close()


def test_an_evicted_capture_lets_its_bodies_go() -> None:
    """The buffer's bound is a bound on memory, also for those that keep themselves."""
    services = Observers(20_000)
    recordings = [begun(services, b"x" * 4000) for _ in range(10)]
    for record in recordings:
        record.on_whole(head(), ANSWER, 2.0)
        record.end("done", 3.0)
    services.completions.flush()
    held = [record for record in recordings if record.request_body]
    assert services.captures.size <= 20_000
    assert len(held) == len(services.captures.ids()) < 10
    assert recordings[-1] in held
    services.store.close()


@pytest.mark.parametrize(
    ("path", "size", "has_body", "is_truncated"),
    [
        ("/v1/chat/completions", 4 * SMALL, True, False),
        ("/v1/chat/completions", 12 * SMALL, False, True),
        ("/v1/images/edits", 4 * SMALL, False, False),
    ],
)
def test_a_large_prompt_is_captured_within_bounds(
    path: str, size: int, *, has_body: bool, is_truncated: bool
) -> None:
    """Whole up to half of the buffer; of a route whose bodies are never kept, not at all."""
    services = Observers(1 << 20)
    record = begun(services, b"x" * size, path)
    record.on_whole(head(), ANSWER, 2.0)
    record.end("done", 3.0)
    [entry] = services.listed()
    shown = services.captures.show(entry["id"])
    assert shown is not None
    assert (shown["req_body"] is not None, "req_truncated" in shown) == (
        has_body or is_truncated,
        is_truncated,
    )
    assert bool(shown["req_body"]) is has_body
    assert services.captures.size < (size if has_body else 0) + 2 * SMALL
    services.store.close()
