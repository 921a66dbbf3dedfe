"""The logs: our own lines and the output of every model server.

Law: a log never slows what it reports. Rings hold the last 102,400 bytes of
each source; live readers get whole lines or a note saying what is missing;
every line passes the redactor first. Belongs to the event loop's thread; it
refuses to be called from another.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final

from modelswap.config.schema.schema_root import LOG_LEVELS
from modelswap.observe.bounded_stream import BoundedStream

from .stdout import Stdout
from .timestamps import FORMATS, Stamp, go_duration

if TYPE_CHECKING:
    from collections.abc import Callable

    Redact = Callable[[bytes], bytes]

RING: Final = 102_400
LONGEST_LINE: Final = 16_384
"""A line that grows beyond this is passed on in pieces, each ending at a whole character."""
OVERLAP: Final = 4_096
"""Of such a line this much stays for its next piece, so that no secret is cut in two."""
LIVE: Final = 512 << 10
PROXY: Final = "proxy"
UPSTREAM: Final = "upstream"
COMBINED: Final = ""

GATHER: Final = 0.02
"""Seconds that lines about requests are gathered before they are written together."""
MOST_GATHERED: Final = 256

_LEVELS: Final = {level: at for at, level in enumerate(LOG_LEVELS)}
_NEWLINE: Final = 10


def model_source(model: str) -> str:
    """Name of the log of one model; cannot be mistaken for the others'."""
    return "model:" + model


def dropped_note(count: int) -> bytes:
    """Say in a text stream how much is missing."""
    return f"\n— {count} bytes dropped —\n".encode()


class Ring:
    """The last bytes of a stream of whole lines; starts at the beginning of a line."""

    __slots__ = ("_cut", "_data", "_size")

    def __init__(self, size: int = RING) -> None:
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
    """Length of the part of `data` that ends with a whole UTF-8 character."""
    for back in range(1, min(4, len(data)) + 1):
        byte = data[-back]
        if byte & 0xC0 == 0x80:  # noqa: PLR2004 -- a continuation byte: look further back
            continue
        needed = 1 if byte < 0xC0 else 2 if byte < 0xE0 else 3 if byte < 0xF0 else 4  # noqa: PLR2004 -- UTF-8
        return len(data) - back if needed > back else len(data)
    return len(data)


class Lines:
    """Cuts a stream of fragments into whole lines."""

    __slots__ = ("_rest",)

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes, redact: Redact | None = None) -> bytes:
        """The whole lines that are there now, as one piece; what is cut is redacted before."""
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
        """What is left of a stream that ended."""
        rest, self._rest = self._rest, b""
        return rest


def _line_end(data: bytes) -> int:
    """Just behind the last line feed, or the last carriage return of a progress bar."""
    newline = data.rfind(b"\n")
    bar = data.rfind(b"\r", newline + 1, len(data) - 1)
    return max(newline, bar) + 1


class Logs:
    """Every log of the program."""

    def __init__(self, *, to_stdout: str | None = None, stdout: Stdout | None = None) -> None:
        """`to_stdout` is `proxy`, `upstream`, `both` or `none`, for as long as the process lives.

        The combined log holds the same. `None`: stdout shows the proxy's lines, and the combined
        log holds everything, as it did before there was such a setting.
        """
        self._stdout = stdout or Stdout()
        self._combines_all = to_stdout is None
        self._show_proxy = to_stdout in {None, "proxy", "both"}
        self._show_upstream = to_stdout in {"upstream", "both"}
        self._threshold = _LEVELS["info"]
        self._stamp: Stamp | None = None
        self._redact: Redact | None = None
        self._rings: dict[str, Ring] = {PROXY: Ring(), UPSTREAM: Ring(), COMBINED: Ring()}
        self._lines: dict[str, Lines] = {}
        self._tails: dict[str, list[BoundedStream]] = {}
        self._requests: list[tuple[str, int, int, str, float]] = []
        self._due: asyncio.TimerHandle | None = None
        self.on_lines: Callable[[str, bytes], None] | None = None
        """Told of every piece of the proxy and upstream logs (for the event stream)."""

    def configure(
        self,
        *,
        level: str = "info",
        time_format: str = "",
        redact: Redact | None = None,
    ) -> None:
        """Take over the settings that may change while running. Unknown names mean the default."""
        self._threshold = _LEVELS.get(level.strip().lower(), _LEVELS["info"])
        self._stamp = FORMATS.get(time_format.strip().lower())
        self._redact = redact

    def shows(self, level: str) -> bool:
        """Whether a line of that level would be written."""
        return _LEVELS[level] >= self._threshold

    def proxy_line(self, level: str, message: str) -> None:
        """Write one line of our own; `level` is debug, info, warn or error."""
        if _LEVELS[level] < self._threshold:
            return
        if self._requests:
            self.flush()
        message = printable(message)
        stamp = f"{self._stamp(time.time_ns())} " if self._stamp else ""
        line = f"{stamp}[{level.upper()}] {message}\n".encode("utf-8", "replace")
        if self._redact:
            line = self._redact(line)
        self._spread(line, PROXY, show=self._show_proxy)

    def request_line(self, before: str, status: int, sent: int, after: str, seconds: float) -> None:
        """Write one line about a request, a moment later, with those of others.

        `before` and `after` are its printable ends. Needs a running loop.
        """
        if self._stamp:
            before = f"{self._stamp(time.time_ns())} [INFO] {before}"
        else:
            before = "[INFO] " + before
        requests = self._requests
        requests.append((before, status, sent, after, seconds))
        if self._due is None:
            self._due = asyncio.get_running_loop().call_later(GATHER, self.flush)
        elif len(requests) >= MOST_GATHERED:
            self.flush()

    def flush(self) -> None:
        """Write the lines that were gathered."""
        if self._due is not None:
            self._due.cancel()
            self._due = None
        if self._requests:
            requests, self._requests = self._requests, []
            text = "".join(
                [
                    f"{before}{status} {sent}{after}{go_duration(seconds)}\n"
                    for before, status, sent, after, seconds in requests
                ]
            )
            data = text.encode("utf-8", "replace")
            self._spread(self._redact(data) if self._redact else data, PROXY, show=self._show_proxy)

    def model_output(self, model: str, data: bytes) -> None:
        """Take any fragment of a model server's output."""
        lines = self._lines.get(model)
        if lines is None:
            lines = self._lines[model] = Lines()
        if whole := lines.feed(data, self._redact):
            self._from_model(model, whole)

    def model_ended(self, model: str) -> None:
        """Pass on a last line without an end. The history stays."""
        if (lines := self._lines.get(model)) and (rest := lines.flush()):
            self._from_model(model, rest)

    def forget(self, model: str) -> None:
        """Drop the history of a model that is configured no more; its readers come to an end."""
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
            ring = self._rings[source] = Ring()
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
        """What the ring of a source holds; empty for one that has written nothing."""
        self.flush()
        ring = self._rings.get(source)
        return ring.read() if ring else b""

    def subscribe(self, source: str, *, history: bool = True) -> BoundedStream:
        """A live reader; end it with `unsubscribe`."""
        self.flush()
        tail = BoundedStream(LIVE, dropped_note)
        if history and (past := self.history(source)):
            tail.put(past)
        self._tails.setdefault(source, []).append(tail)
        return tail

    def unsubscribe(self, source: str, tail: BoundedStream) -> None:
        tails = self._tails.get(source)
        if tails and tail in tails:
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
        """End every live reader."""
        self.flush()
        for tails in self._tails.values():
            for tail in tails:
                tail.close()

    def close(self, timeout: float = 1.0) -> None:
        """End every live reader and write out what standard output still owes."""
        self.end_tails()
        self._stdout.close(timeout)


def printable(message: str) -> str:
    """One line without control characters: nobody forges a second one with a path or a header."""
    if message.isprintable():
        return message
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape", "replace").decode() for c in message
    )


class Logger:
    """The program's own voice."""

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
