"""Control routes that observe: logs, events, activity, captures, running requests, figures.

Slow queries run on the store's thread for questions.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import time
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote

import msgspec

from modelswap import __version__
from modelswap.core.naming.names import LocalTarget
from modelswap.deferred import regex
from modelswap.errors import ForbiddenError, UnavailableError
from modelswap.observe.activity.query import SORTS, Filter, Page
from modelswap.observe.activity.store import StoreFailedError
from modelswap.observe.logs.logs import COMBINED, PROXY, UPSTREAM, model_source
from modelswap.observe.logs.timestamps import rfc3339
from modelswap.observe.metrics import prometheus
from modelswap.observe.metrics.counters import ModelCounters

from .control_request import ControlError, ControlRequest, Reply, StreamReply, as_json

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from modelswap.api.services import Services

PLAIN: Final = "text/plain"
LIVE: Final = (("X-Content-Type-Options", "nosniff"), ("X-Accel-Buffering", "no"))
"""Headers of streams: no proxy holds them back, no browser guesses their type."""
MOST_ROWS: Final = 999
"""Rows of a page; llama-swap has the same bound."""
MOST_EXPORTED: Final = 100_000
"""Rows of an export: about 50 MB of JSON."""
_RFC3339: Final = regex(
    r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:Z|[+-]\d\d:\d\d)", re.ASCII
)
_STATUS: Final = regex(r"[1-5](?:\d\d|xx)", re.ASCII)

# Logs


async def logs(request: ControlRequest) -> Reply:
    return Reply(200, request.services.logs.history(COMBINED), PLAIN)


async def log_stream(request: ControlRequest) -> StreamReply:
    """Follow one log: the history first, then every line as it is written."""
    source, all_logs = _source(request), request.services.logs
    tail = all_logs.subscribe(source, history="no-history" not in request.query)

    async def lines() -> AsyncIterator[bytes]:
        try:
            while (data := await tail.take()) is not None:
                yield data
        finally:
            all_logs.unsubscribe(source, tail)

    return StreamReply(lines(), PLAIN, 200, LIVE)


def _source(request: ControlRequest) -> str:
    name = unquote(request.params.get("id", "")).strip("/")
    if name in {"", PROXY, UPSTREAM}:
        if request.identity.models:
            raise ForbiddenError("this key is limited to some models, and this log is of them all")
        return name
    services = request.services
    match = services.config.snapshot.names.split_path(name, services.profile)
    if match is None or not isinstance(match.target, LocalTarget):
        text = "invalid logger. Use 'proxy', 'upstream' or a model's ID"
        raise ControlError(400, text, headers=LIVE)
    if not request.identity.may_use(match.target.model, match.target.requested):
        raise ForbiddenError(f"this key may not use the model {match.name!r}")
    return model_source(match.target.model)


# Events


async def events(request: ControlRequest) -> StreamReply:
    """Stream events; the present state comes first."""
    services, last = request.services, request.header("last-event-id")
    services.completions.flush()
    client = services.bus.subscribe(lambda: _initial_events(services), last)
    return StreamReply(client.frames(), headers=(("Cache-Control", "no-cache"), *LIVE))


def _initial_events(services: Services) -> Iterator[tuple[str, object]]:
    for source in (PROXY, UPSTREAM):
        text = services.logs.history(source).decode("utf-8", "replace")
        yield "logData", {"data": text, "source": source}
    yield "modelStatus", services.fleet_events.statuses()
    session_headers = list(services.config.plan.settings.session_headers)
    yield "uiConfig", {"activity": {"session_id": session_headers}}
    yield "profileChanged", {"active": services.profile}
    yield "inflight", services.inflight.snapshot()
    yield "pulls", services.pull_events.records()
    yield "configStatus", services.reload_status.shown()


# Activity


def _time(request: ControlRequest, name: str) -> datetime | None:
    text = request.arg(name)
    if text is None:
        return None
    with contextlib.suppress(ValueError):
        if _RFC3339.fullmatch(text):
            return datetime.fromisoformat(text)
    raise ControlError(400, f"invalid '{name}' timestamp, use RFC3339 format")


def _seconds(request: ControlRequest, name: str) -> int | None:
    time = _time(request, name)
    return None if time is None else int(time.timestamp())


def _at_least_one(request: ControlRequest, name: str) -> int | None:
    text = request.arg(name)
    if text is None:
        return None
    if not _is_count(text) or int(text) < 1:
        raise ControlError(400, f"{name} must be >= 1")
    return int(text)


def _is_count(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) <= 18  # noqa: PLR2004 -- fits SQLite


def _filter(request: ControlRequest) -> Filter:
    start, end = _seconds(request, "start"), _seconds(request, "end")
    if start is not None and end is not None and start > end:
        raise ControlError(400, "start must be before end")
    low, high = _at_least_one(request, "min_id"), _at_least_one(request, "max_id")
    if low is not None and high is not None and low > high:
        raise ControlError(400, "min_id must be <= max_id")
    return Filter(
        models=_values(request, "model"),
        start=start,
        end=end,
        min_id=low,
        max_id=high,
        statuses=[_status(text) for text in _values(request, "status")],
        paths=_values(request, "path"),
        keys=_values(request, "key"),
        clients=_values(request, "client"),
        text=request.arg("q") or "",
    )


def _values(request: ControlRequest, name: str) -> list[str]:
    return [value for value in request.query.get(name, ()) if value.strip()][:100]


def _status(text: str) -> tuple[int, int]:
    if not _STATUS.fullmatch(text):
        raise ControlError(400, "status must be a code such as 404, or a class such as 5xx")
    if text.endswith("xx"):
        return int(text[0]) * 100, int(text[0]) * 100 + 99
    return int(text), int(text)


def _page(request: ControlRequest) -> Page:
    limit, number = request.arg("limit") or "25", request.arg("page") or "1"
    if not _is_count(limit.removeprefix("-")):
        raise ControlError(400, "invalid limit")
    if not 1 <= int(limit) <= MOST_ROWS:
        raise ControlError(400, f"limit must be between 1 and {MOST_ROWS}")
    if not _is_count(number) or not 1 <= int(number) <= 1 << 40:
        raise ControlError(400, "page must be >= 1")
    return _ordered(request, int(limit), int(number))


def _ordered(request: ControlRequest, limit: int, number: int = 1) -> Page:
    sort, order = request.arg("sort") or "id", (request.arg("order") or "desc").lower()
    if sort not in SORTS:
        raise ControlError(400, "invalid sort column")
    if order not in {"asc", "desc"}:
        raise ControlError(400, "order must be asc or desc")
    cursor = _at_least_one(request, "cursor")
    if cursor is not None and sort != "id":
        raise ControlError(400, "a cursor needs sort=id")
    return Page(limit=limit, number=number, sort=sort, ascending=order == "asc", cursor=cursor)


async def _query(request: ControlRequest, question: Callable[[], Any], failed: str) -> Any:
    try:
        return await request.services.completions.query(question)
    except StoreFailedError as error:
        request.services.log.warning(f"activity store: {error}")
        raise ControlError(500, failed) from error


async def activity(request: ControlRequest) -> Reply:
    of, page, store = _filter(request), _page(request), request.services.store
    listing = await _query(request, lambda: store.listing(of, page), "failed to get activity")
    return as_json(listing)


async def stats(request: ControlRequest) -> Reply:
    models = _values(request, "model")[:1]
    of = Filter(models=models, start=_seconds(request, "start"), end=_seconds(request, "end"))
    store = request.services.store
    return as_json(await _query(request, lambda: store.stats(of), "failed to get activity stats"))


async def export(request: ControlRequest) -> Reply:
    """Export rows as a file: `format=csv`, `json` (default) or `jsonl`."""
    from modelswap.observe.activity.export import as_csv, as_lines  # noqa: PLC0415 - rarely used

    of, page, store = _filter(request), _ordered(request, MOST_EXPORTED), request.services.store
    kind = (request.arg("format") or "json").lower()
    makers: dict[str, tuple[Callable[[Any], bytes], str]] = {
        "json": (msgspec.json.encode, "application/json"),
        "jsonl": (as_lines, "application/x-ndjson"),
        "csv": (as_csv, "text/csv; charset=utf-8"),
    }
    if kind not in makers:
        raise ControlError(400, "format must be json, jsonl or csv")
    make, content_type = makers[kind]
    body = await _query(request, lambda: make(store.export(of, page)), "failed to export activity")
    named = (("Content-Disposition", f'attachment; filename="modelswap-activity.{kind}"'),)
    return Reply(200, body, content_type, named)


# Captures and running requests


async def capture(request: ControlRequest) -> Reply:
    text = request.params["id"]
    if not _is_count(text.removeprefix("-")):
        raise ControlError(400, "invalid capture ID")
    captures = request.services.captures
    shown = await request.services.completions.query(lambda: captures.show(int(text)))
    if shown is None:
        raise ControlError(404, "capture not found")
    return as_json(shown, newline=False)


async def inflight(request: ControlRequest) -> Reply:
    return as_json({"requests": request.services.inflight.snapshot().get("requests", [])})


async def cancel(request: ControlRequest) -> Reply:
    if not request.services.inflight.cancel(unquote(request.params["id"])):
        raise ControlError(404, "inflight request not found")
    return as_json({"msg": "ok"})


# Figures


async def performance(request: ControlRequest) -> Reply:
    samples = request.services.performance
    if not samples.enabled:
        return as_json({"enabled": False}, 503)
    after = _time(request, "after")
    if after is None:
        return as_json(samples.report(None))
    digits = re.search(r"\.(\d+)", request.arg("after") or "")  # Python drops those after six
    fraction = int(digits.group(1).ljust(9, "0")) if digits else 0
    return as_json(samples.report(int(after.replace(microsecond=0).timestamp()) * 10**9 + fraction))


_hardware: list[asyncio.Future[Any]] = []
"""The description of this machine, for the loop that asked first."""


def _hardware_facts() -> Any:
    from modelswap.devices.facts import hardware_facts  # noqa: PLC0415 - in a thread

    return hardware_facts(__version__, rfc3339(time.time_ns(), 0))


async def hardware(request: ControlRequest) -> Reply:
    """Say what this machine is; found out once, at the first question."""
    if not _hardware or _hardware[0].get_loop() is not request.services.loop:
        asking = request.services.loop.run_in_executor(None, _hardware_facts)
        _hardware[:] = [asking]
    facts = await asyncio.shield(_hardware[0])
    if facts is None:
        raise UnavailableError("hardware detection unavailable", should_retry=False)
    return as_json(facts)


async def metrics(request: ControlRequest) -> Reply:
    """Return the counters and the newest samples as Prometheus text."""
    services, fleet = request.services, request.services.fleet
    states = [
        ModelCounters(model, fleet.phase(model).shown, fleet.in_flight(model), fleet.waiting(model))
        for model in services.config.plan.models
    ]
    host, gpus = services.performance.latest()
    running = len(services.inflight)
    body = await services.completions.query(
        lambda: services.metrics.text(states, host, gpus, in_flight=running)
    )
    return Reply(200, body, prometheus.CONTENT_TYPE)
