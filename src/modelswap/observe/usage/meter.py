"""Reads the token figures of a response while it is forwarded.

Guarantees: the usual event costs an append, and many together a few byte searches and no JSON. Memory
is bounded for every size of response or line. It never changes or delays a byte, and no content makes
it raise: what cannot be read is not reported.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

import msgspec

from modelswap.units import Bytes

from .decoding import DecodingFailedError, ResponseDecoder, decoder_for
from .failure_text import describe
from .usage import (
    CommonBody,
    Counts,
    Figures,
    Tokens,
    UsageBody,
    UsageEvent,
    UsageFormat,
    combine,
)

if TYPE_CHECKING:
    from modelswap.observe.logs.redaction import Headers

WHOLE: Final = Bytes(1 << 20)
"""A body up to this size is parsed whole; of a larger one the ends are searched."""
ENDS: Final = Bytes(64 << 10)  # of head and tail of a larger body: usage is written first or last
LONGEST_LINE: Final = Bytes(1 << 20)
"""A longer line of a stream is not an event with figures, and is dropped."""
ERROR_BODY: Final = Bytes(64 << 10)  # an error body up to this size is searched for its reason
_OK: Final = 200  # HTTP status
GATHER: Final = Bytes(16 << 10)  # of an event stream, gathered before one search

_event_decoder = msgspec.json.Decoder(UsageEvent)
_body_decoder = msgspec.json.Decoder(UsageBody)
_list_decoder = msgspec.json.Decoder(list[msgspec.Raw])
_any_decoder = msgspec.json.Decoder()
decode_common = msgspec.json.Decoder(CommonBody).decode
"""Reads a successful response that came in one piece, in the format `OBJECT`."""
UNCOMMON: Final = (ValueError, RecursionError)
"""What it raises for other types, or no JSON: `tokens_of` reads such a response."""
_UNSET: Final = msgspec.UNSET
_OBJECT: Final = re.compile(rb"\s*:\s*(\{[^{}]*(?:\{[^{}]*\}[^{}]*)*\})")
"""An object with at most one level of objects in it, as usage and timings are."""
_REASON_ENDS: Final = Bytes(4096)  # of each end of a body, searched for the finish reason
_REASON: Final = re.compile(rb'"(?:finish|stop)_reason"\s*:\s*"([A-Za-z_]{1,32})"')


class Meter:
    """Meters one response: `on_head`, then `on_data` for each chunk, then `finish`."""

    __slots__ = (
        "_carry", "_carry_size", "_counts", "_decoder", "_error", "_events", "_first", "_format",
        "_gathered", "_gathered_size", "_last_at", "_metrics", "_parts", "_size", "_sse",
        "_started", "_status", "_stream_end", "_tail", "_timings",
    )  # fmt: skip

    def __init__(self, usage_format: UsageFormat, started: float) -> None:
        """`started` on the clock of `on_data`'s `now`, in seconds."""
        self._format = usage_format
        self._started = started
        self._status = 0
        self._sse = False
        self._decoder: ResponseDecoder | None = None
        self._first: float | None = None
        self._last_at = started
        self._events = 0
        self._counts: Counts | None = None
        self._timings: bytes | None = None
        self._metrics: bytes | None = None
        self._gathered: list[bytes] = []
        """Chunks of an event stream that are not searched yet."""
        self._gathered_size = 0
        self._carry: list[bytes] = []
        self._carry_size = 0
        self._stream_end = b""
        """The last bytes of an event stream: the finish reason comes before the figures. `GATHER`
        bytes hold dozens of events; of one event that is larger, as much as of a body is kept."""
        self._parts: list[bytes] = []
        self._size = 0
        self._tail = b""
        self._error = ""

    def on_head(self, status: int, headers: Headers) -> None:
        self._status = status
        for name, value in headers:
            length = len(name)
            if length == 12 and name.lower() == b"content-type":  # noqa: PLR2004 -- length of the name
                self._sse = status == _OK and b"text/event-stream" in value.lower()
            elif length == 16 and name.lower() == b"content-encoding":  # noqa: PLR2004 -- the same
                self._decoder = decoder_for(value)

    def on_data(self, chunk: bytes, now: float) -> None:
        """Add the next bytes of the body, as they are sent to the client."""
        if self._first is None:
            if not chunk:
                return
            self._first = now
        self._last_at = now
        if self._sse and self._decoder is None:
            self._gathered.append(chunk)
            self._gathered_size += len(chunk)
            if self._gathered_size > GATHER:
                self._search()
        elif self._decoder is not None:
            self._decode(chunk)
        elif self._size == 0:
            self._parts.append(chunk)
            self._size = len(chunk)
        else:
            self._on_body(chunk)

    def _decode(self, chunk: bytes) -> None:
        if self._error or self._decoder is None:
            return
        try:
            for part in self._decoder.feed(chunk):
                if self._sse:
                    self._gathered.append(part)
                    self._search()
                else:
                    self._on_body(part)
        except DecodingFailedError as failure:
            self._error = str(failure)

    # Streams

    def _search(self) -> None:
        """Search the gathered chunks: many cost little more than one."""
        gathered = self._gathered
        if gathered:
            chunk = gathered[0] if len(gathered) == 1 else b"".join(gathered)
            size = len(chunk)
            self._stream_end = (
                (self._stream_end + chunk)[-GATHER:] if size < GATHER else chunk[-ENDS:]
            )
            gathered.clear()
            self._gathered_size = 0
            self._on_events(chunk)

    def _on_events(self, chunk: bytes) -> None:
        if self._carry or not chunk.endswith(b"\n"):
            chunk = self._complete(chunk)
            if not chunk:
                return
        self._events += chunk.count(b"\ndata:") + chunk.startswith(b"data:")
        find = chunk.rfind  # three times as fast as `in`
        if find(b'"usage"') >= 0 or find(b'"timings"') >= 0 or find(b'"metrics"') >= 0:
            for line in chunk.split(b"\n"):
                if b'"usage"' in line or b'"timings"' in line or b'"metrics"' in line:
                    self._on_line(line.strip())

    def _complete(self, chunk: bytes) -> bytes:
        """Return the whole lines in the carry and `chunk`; the rest becomes the carry."""
        end = chunk.rfind(b"\n") + 1
        if end == 0:
            self._carry_size += len(chunk)
            if self._carry_size <= LONGEST_LINE:
                self._carry.append(chunk)
            else:  # too long for an event: drop it, but remember that a line is open
                self._carry = [b"\0"]
            return b""
        whole = b"".join(self._carry) + chunk[:end]
        rest = chunk[end:]
        self._carry = [rest] if rest else []
        self._carry_size = len(rest)
        return whole

    def _on_line(self, line: bytes) -> None:
        if not line.startswith(b"data:"):
            return
        if b'"timings"' in line:
            self._timings = line
        if b'"metrics"' in line:
            self._metrics = line
        if line.count(b'"usage"') > line.count(b'"usage":null'):
            event = _event_of(line)
            for usage in event.usages() if event else ():
                counts = self._counts or Counts()
                if counts.take(usage):
                    self._counts = counts

    # Bodies

    def _on_body(self, chunk: bytes) -> None:
        self._size += len(chunk)
        if self._size <= WHOLE or not self._parts:
            self._parts.append(chunk)
            return
        if not self._tail:
            head = b"".join(self._parts)
            self._parts = [head[:ENDS]]
            self._tail = head[-ENDS:]
        self._tail = (self._tail + chunk)[-ENDS:] if len(chunk) < ENDS else chunk[-ENDS:]

    # Results

    def finish(self, now: float) -> Tokens:
        """Compute the figures; `now` is the end of the request."""
        wall = max(0, int((now - self._started) * 1000))
        ttft = -1 if self._first is None else max(0, int((self._first - self._started) * 1000))
        if self._error:
            return Tokens(duration_ms=wall, ttft_ms=ttft, error=self._error)
        if self._status == 0:  # no response
            return Tokens(duration_ms=wall)
        if self._status != _OK:
            return Tokens(duration_ms=wall, ttft_ms=ttft, error=self._failure())
        figures = self._of_stream(wall) if self._sse else self._of_body(wall)
        if figures is None:
            return Tokens(
                duration_ms=wall, ttft_ms=ttft, events=self._events, finish_reason=self._reason()
            )
        return Tokens(
            *figures,
            ttft_ms=ttft,
            wall_per_second=self._wall_speed(figures[4]),
            events=self._events,
            finish_reason=self._reason(),
            parsed=True,
        )

    def _of_stream(self, wall: int) -> Figures | None:
        self._search()
        if self._carry:
            self._on_events(b"\n")  # a last line without its end
        last = _event_of(self._timings), _event_of(self._metrics)
        timings: object = last[0].timings if last[0] else None
        metrics: object = last[1].metrics if last[1] else None
        if self._counts is None and not _is_object(timings) and not _is_object(metrics):
            return None
        return combine(self._counts or Counts(), timings, metrics, wall_ms=wall)

    def _of_body(self, wall: int) -> Figures | None:
        if self._tail:
            return _figures(_searched(self._parts[0], self._tail), wall)
        return figures_of(self._format, self._whole(), wall)

    def _whole(self) -> bytes:
        if len(self._parts) > 1:
            self._parts = [b"".join(self._parts)]
        return self._parts[0] if self._parts else b""

    def _failure(self) -> str:
        body = self._whole() if not self._tail else b""
        return describe(self._status, body if len(body) <= ERROR_BODY else b"")

    def _wall_speed(self, output: int) -> float:
        span = 0.0 if self._first is None else self._last_at - self._first
        return (output - 1) / span if self._sse and output > 1 and span > 0 else -1.0

    def _reason(self) -> str:
        if self._sse:
            end = self._stream_end
        else:
            end = self._tail or self._whole()
            end = end[:_REASON_ENDS] + end[-_REASON_ENDS:] if len(end) > 2 * _REASON_ENDS else end
        return _reason_in(end)


def tokens_of(usage_format: UsageFormat, status: int, body: bytes, wall: int, ttft: int) -> Tokens:
    """Read the figures of any response that came in one piece; `wall` and `ttft` in milliseconds."""
    if status != _OK:
        return Tokens(duration_ms=wall, ttft_ms=ttft, error=describe(status, body))
    figures = figures_of(usage_format, body, wall)
    reason = _reason_in(body)
    if figures is None:
        return Tokens(duration_ms=wall, ttft_ms=ttft, finish_reason=reason)
    return Tokens(*figures, ttft_ms=ttft, finish_reason=reason, parsed=True)


def figures_of(usage_format: UsageFormat, body: bytes, wall: int) -> Figures | None:
    if usage_format is UsageFormat.LAST_OF_LIST:
        return _figures(_last_of_list(body), wall)
    return _figures(_parsed(body), wall)


def _figures(body: UsageBody | None, wall: int) -> Figures | None:
    if body is None or not body.reports():
        return None
    counts = Counts()
    counts.take(body.usage)
    if body.timings is _UNSET and body.metrics is _UNSET:
        return counts.cached, -1, -1, counts.input, counts.output, -1.0, -1.0, wall
    return combine(counts, body.timings, body.metrics, wall_ms=wall)


def _parsed(body: bytes) -> UsageBody | None:
    try:
        return _body_decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def _last_of_list(body: bytes) -> UsageBody | None:
    """Read the last object of a list; only its timings count."""
    try:
        if body.lstrip()[:1] != b"[":
            return UsageBody(timings=_body_decoder.decode(body).timings)
        rows = _list_decoder.decode(body)
        return UsageBody(timings=_body_decoder.decode(rows[-1]).timings) if rows else None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def _reason_in(end: bytes) -> str:
    at = end.rfind(b'_reason"')
    if at < 0:
        return ""
    value = end[at + 8 : at + 48].lstrip(b": ")
    if value[:1] == b'"':  # the usual case needs no pattern
        return value[1 : value.find(b'"', 1)].decode("latin-1")
    found = _REASON.findall(end)
    return found[-1].decode() if found else ""


def _is_object(value: object) -> bool:
    return isinstance(value, dict)


def _event_of(line: bytes | None) -> UsageEvent | None:
    if line is None:
        return None
    try:
        return _event_decoder.decode(line[5:])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def _searched(head: bytes, tail: bytes) -> UsageBody | None:
    """Find the figures of a body too large to be parsed: its last or first objects of those names."""
    return UsageBody(
        usage=_object(b'"usage"', head, tail),
        timings=_object(b'"timings"', head, tail),
        metrics=_object(b'"metrics"', head, tail),
    )


def _object(name: bytes, head: bytes, tail: bytes) -> object:
    for text in (tail, head):
        at = text.rfind(name)
        if at >= 0 and (found := _OBJECT.match(text, at + len(name))):
            try:
                return _any_decoder.decode(found.group(1))
            except (msgspec.DecodeError, UnicodeDecodeError):
                continue
    return msgspec.UNSET
