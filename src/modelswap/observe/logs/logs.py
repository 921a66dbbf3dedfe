"""The logs: the program's own lines and the output of every model server.

Guarantees: a log never delays what it reports. Each source keeps its last `RING` bytes. Live readers
get whole lines, or a note that says what is missing. Every line passes the redactor first. Loop thread.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from modelswap.observe.batcher import Batcher
from modelswap.observe.bounded_stream import BoundedStream
from modelswap.units import Bytes, Seconds

from .stdout import Stdout
from .timestamps import FORMATS, Stamp, go_duration

if TYPE_CHECKING:
    from collections.abc import Callable

    Redact = Callable[[bytes], bytes]

RING: Final = Bytes(102_400)  # history of one source, as much as llama-swap keeps
LONGEST_LINE: Final = Bytes(16_384)
"""A line that grows beyond this is passed on in pieces, each ending at a whole character."""
OVERLAP: Final = Bytes(4_096)
"""The end of such a piece stays for the next one, so that no secret is cut in two."""
LIVE: Final = Bytes(512 << 10)  # waits for one slow live reader; then it loses lines
PROXY: Final = "proxy"
UPSTREAM: Final = "upstream"
COMBINED: Final = ""
GATHER: Final = Seconds(0.02)  # lines about requests are gathered for so long, then written
MOST_GATHERED: Final = 256
"""Lines that are written together at most, so that formatting them does not block the loop."""

_LEVELS: Final = {"debug": 10, "info": 20, "warn": 30, "error": 40}
_NEWLINE: Final = 10  # the byte


def model_source(model: str) -> str:
    """Name the log of one model; no other source has such a name."""
    return "model:" + model


def dropped_note(count: int) -> bytes:
    return f"\n— {count} bytes dropped —\n".encode()


class LogRing:
    """The last bytes of a stream of whole lines; `read` begins with a whole line."""

    __slots__ = ("_cut", "_data", "_size")

    def __init__(self, size: Bytes = RING) -> None:
        self._size = size
        self._data = bytearray()
        self._cut = False

    def add(self, line: bytes) -> None:
        data = self._data
        data += line
        if len(data) > 2 * self._size:
            del data[: len(data) - self._size]
            self._cut = True

    def read(self) -> bytes:
        data = bytes(self._data[-self._size :])
        if not self._cut and len(self._data) <= self._size:
            return data
        start = data.find(b"\n") + 1
        if 0 < start < len(data):
            return data[start:]
        return data[_character_start(data) :]


def _character_start(data: bytes) -> int:
    for at in range(min(4, len(data))):
        if data[at] & 0xC0 != 0x80:  # noqa: PLR2004 -- not a UTF-8 continuation byte
            return at
    return 0


def _character_end(data: bytes) -> int:
    """Return the length of the part of `data` that ends with a whole UTF-8 character."""
    for back in range(1, min(4, len(data)) + 1):
        byte = data[-back]
        if byte & 0xC0 == 0x80:  # noqa: PLR2004 -- a continuation byte: look further back
            continue
        needed = 1 if byte < 0xC0 else 2 if byte < 0xE0 else 3 if byte < 0xF0 else 4  # noqa: PLR2004 -- UTF-8
        return len(data) - back if needed > back else len(data)
    return len(data)


class LineSplitter:
    """Cuts a stream of fragments into whole lines."""

    __slots__ = ("_rest",)

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes, redact: Redact | None = None) -> bytes:
        """Take a fragment; return the whole lines. A line that is cut is redacted before."""
        if data and data[-1] == _NEWLINE and not self._rest:
            return data
        data = self._rest + data
        end = _line_end(data)
        if len(data) - end > LONGEST_LINE:
            if redact is not None:
                data = data[:end] + redact(data[end:])
            end = max(end, _character_end(data[:-OVERLAP]))
        self._rest = data[end:]
        return data[:end]

    def flush(self) -> bytes:
        """Return the rest of a stream that ended."""
        rest, self._rest = self._rest, b""
        return rest


def _line_end(data: bytes) -> int:
    """Find the end of the last line feed, or of a progress bar's last carriage return."""
    newline = data.rfind(b"\n")
    bar = data.rfind(b"\r", newline + 1, len(data) - 1)
    return max(newline, bar) + 1


class LineContext(Protocol):
    """The printable text around status and size."""

    @property
    def before(self) -> str: ...
    @property
    def after(self) -> str: ...


class LoggedRequest(Protocol):
    """A request that has ended, of which a line is written."""

    @property
    def context(self) -> LineContext: ...
    @property
    def shown_status(self) -> int: ...
    @property
    def answered(self) -> int: ...  # bytes of body that went to the client
    @property
    def began(self) -> float: ...  # on the monotonic clock, if lines have a time
    @property
    def ended(self) -> float: ...


class RequestLine(NamedTuple):
    """A request that has no record."""

    before: str
    after: str
    shown_status: int
    answered: int
    began: float
    ended: float

    @property
    def context(self) -> LineContext:
        return self


_USUAL: Final = "[INFO] %s%d %d%s%.6gms\n"
_USUALLY: Final = (Seconds(1e-3), Seconds(1.0))  # `go_duration` writes such times in ms


def _usual_lines(requests: list[LoggedRequest]) -> str:
    """Write many lines at once; empty when a request did not take milliseconds."""
    values: list[str | float] = []
    least, most = _USUALLY
    for request in requests:
        seconds = request.ended - request.began
        if not least <= seconds < most:
            return ""
        context = request.context
        values += (
            context.before,
            request.shown_status,
            request.answered,
            context.after,
            seconds * 1e3,
        )
    return _USUAL * len(requests) % tuple(values)


def _line(request: LoggedRequest, stamp: Stamp | None) -> str:
    context = request.context
    text = (
        f"[INFO] {context.before}{request.shown_status} {request.answered}{context.after}"
        f"{go_duration(request.ended - request.began)}\n"
    )
    if stamp is None:
        return text
    ago = time.monotonic() - request.ended
    return f"{stamp(time.time_ns() - int(ago * 1e9))} {text}"


class Logs:
    def __init__(self, *, to_stdout: str | None = None, stdout: Stdout | None = None) -> None:
        """`to_stdout` is `proxy`, `upstream`, `both` or `none`; a reload does not change it.

        The combined log holds the same. `None`: stdout shows the proxy's lines, and the combined
        log holds everything, as before this setting existed.
        """
        self._stdout = stdout or Stdout()
        self._combines_all = to_stdout is None
        self._show_proxy = to_stdout in {None, "proxy", "both"}
        self._show_upstream = to_stdout in {"upstream", "both"}
        self._threshold = _LEVELS["info"]
        self._stamp: Stamp | None = None
        self._redact: Redact | None = None
        self._rings = {source: LogRing() for source in (PROXY, UPSTREAM, COMBINED)}
        self._lines: dict[str, LineSplitter] = {}
        self._tails: dict[str, list[BoundedStream]] = {}
        requests: Batcher[LoggedRequest] = Batcher(self._write, GATHER, most=MOST_GATHERED)
        self.add = requests.add
        """Write one line about a request, a moment later, together with others. Needs a running loop."""
        self.add_completed = requests.add_without_timer
        """The same for one that `flush` follows soon: completed requests are recorded in batches."""
        self.flush = requests.flush
        """Write the lines that were gathered."""
        self.on_lines: Callable[[str, bytes], None] | None = None
        """Called with every piece of the proxy and upstream logs (for the event stream)."""

    def configure(
        self, *, level: str = "info", time_format: str = "", redact: Redact | None = None
    ) -> None:
        """Apply the settings that a reload may change. Unknown names mean the default."""
        self.flush()
        self._threshold = _LEVELS.get(level.strip().lower(), _LEVELS["info"])
        self._stamp = FORMATS.get(time_format.strip().lower())
        self._redact = redact

    @property
    def shows_output(self) -> bool:
        """Whether standard output shows what model servers print."""
        return self._show_upstream

    def shows(self, level: str) -> bool:
        return _LEVELS[level] >= self._threshold

    def proxy_line(self, level: str, message: str) -> None:
        """Write one line of the program; `level` is debug, info, warn or error."""
        if _LEVELS[level] < self._threshold:
            return
        self.flush()
        message = printable(message)
        stamp = f"{self._stamp(time.time_ns())} " if self._stamp else ""
        line = f"{stamp}[{level.upper()}] {message}\n".encode("utf-8", "replace")
        if self._redact:
            line = self._redact(line)
        self._spread(line, PROXY, show=self._show_proxy)

    def request_line(self, before: str, status: int, sent: int, after: str, seconds: float) -> None:
        """Write one line about a request without a record, as `add` does.

        `before` and `after` are the printable text around status and size.
        """
        ended = time.monotonic() if self._stamp else seconds
        self.add(RequestLine(before, after, status, sent, ended - seconds, ended))

    def _write(self, requests: list[LoggedRequest]) -> None:
        text = _usual_lines(requests) if self._stamp is None else ""
        if not text:
            text = "".join(_line(request, self._stamp) for request in requests)
        data = text.encode("utf-8", "replace")
        self._spread(self._redact(data) if self._redact else data, PROXY, show=self._show_proxy)

    def model_output(self, model: str, data: bytes) -> None:
        lines = self._lines.get(model)
        if lines is None:
            lines = self._lines[model] = LineSplitter()
        if whole := lines.feed(data, self._redact):
            self._from_model(model, whole)

    def model_ended(self, model: str) -> None:
        """Write a last line that has no end. The history stays."""
        if (lines := self._lines.get(model)) and (rest := lines.flush()):
            self._from_model(model, rest)

    def forget(self, model: str) -> None:
        """Drop the history of a model that is no longer configured, and end its live readers."""
        source = model_source(model)
        self._lines.pop(model, None)
        self._rings.pop(source, None)
        for tail in self._tails.pop(source, []):
            tail.close()

    def _from_model(self, model: str, data: bytes) -> None:
        self.flush()
        source = model_source(model)
        if self._redact:
            data = self._redact(data)
        ring = self._rings.get(source)
        if ring is None:
            ring = self._rings[source] = LogRing()
        ring.add(data)
        for tail in self._tails.get(source, ()):
            tail.put(data)
        self._spread(data, UPSTREAM, show=self._show_upstream)

    def _spread(self, data: bytes, source: str, *, show: bool) -> None:
        self._rings[source].add(data)
        tails = self._tails
        if tails:
            for tail in tails.get(source, ()):
                tail.put(data)
        if self.on_lines is not None:
            self.on_lines(source, data)
        if show or self._combines_all:
            self._rings[COMBINED].add(data)
            for tail in tails.get(COMBINED, ()):
                tail.put(data)
        if show:
            self._stdout.write(data)

    def history(self, source: str) -> bytes:
        """Read the ring of a source; empty when it has written nothing."""
        self.flush()
        ring = self._rings.get(source)
        return ring.read() if ring else b""

    def subscribe(self, source: str, *, history: bool = True) -> BoundedStream:
        """Add a live reader; end it with `unsubscribe`."""
        self.flush()
        tail = BoundedStream(LIVE, dropped_note)
        if history and (past := self.history(source)):
            tail.put(past)
        self._tails.setdefault(source, []).append(tail)
        return tail

    def unsubscribe(self, source: str, tail: BoundedStream) -> None:
        if tail in (tails := self._tails.get(source, [])):
            tails.remove(tail)
            if not tails:
                del self._tails[source]

    @property
    def readers(self) -> int:
        return sum(map(len, self._tails.values()))

    @property
    def dropped(self) -> int:
        """Bytes that standard output was too slow for."""
        return self._stdout.dropped

    def end_tails(self) -> None:
        self.flush()
        for tails in self._tails.values():
            for tail in tails:
                tail.close()

    def close(self, timeout: Seconds = Seconds(1.0)) -> None:
        """End every live reader and write the queued lines to standard output."""
        self.end_tails()
        self._stdout.close(timeout)


def printable(message: str) -> str:
    """Escape control characters: a path or a header must not forge a second line."""
    if message.isprintable():
        return message
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape", "replace").decode() for c in message
    )


class Logger:
    __slots__ = ("_logs", "_once")

    def __init__(self, logs: Logs) -> None:
        self._logs = logs
        self._once: set[str] = set()

    def debug(self, message: str) -> None:
        self._logs.proxy_line("debug", message)

    def info(self, message: str) -> None:
        self._logs.proxy_line("info", message)

    def warning(self, message: str) -> None:
        self._logs.proxy_line("warn", message)

    def error(self, message: str) -> None:
        self._logs.proxy_line("error", message)

    def once(self, key: str, message: str) -> None:
        """Warn the first time that `key` is seen."""
        if key not in self._once:
            self._once.add(key)
            self.warning(message)
