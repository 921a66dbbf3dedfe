"""A form that is forwarded: held until its `model` is known, then streamed.

When the model is known early, the rest goes straight on, no faster than the upstream takes it; a form
without a `model` is spooled whole before `known` is called.
Memory: 1 MiB, then a file.
"""

from __future__ import annotations

import asyncio
from enum import Enum
from typing import TYPE_CHECKING

from .forms import FormEdit, FormScan
from .spool import MEMORY, Spool, SpoolError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .protocols import BodySource, BodyStream, UpstreamSink
    from .spool import SpoolFolders


class Fault(Enum):
    MALFORMED = "malformed"
    UNPACKED = "its coding is broken"
    TOO_LARGE = "too large"
    NO_ROOM = "it could not be stored"


class Upload:
    """Reads a form; then send its `source`, or `close` it.

    It calls `known(fields)` when `model` is known or the form ended, or `bad(text)` when it gives up.
    """

    def __init__(
        self,
        stream: BodyStream,
        content_type: bytes,
        *,
        known: Callable[[dict[str, bytes]], None],
        bad: Callable[[str], None],
        folders: SpoolFolders | None = None,
    ) -> None:
        """Raise ValueError for a content type that is no form's."""
        self._stream = stream
        self._content_type = content_type
        self._scan = FormScan(content_type)
        self._known = known
        self._bad = bad
        self._spool = Spool(folders)
        self._told = False
        self.failure = ""
        self.fault: Fault | None = None
        self.detail = ""
        """What only the log should say about it."""
        self.is_complete = False
        self._outlet: _Outlet | None = None

    def begin(self) -> None:
        self._stream.stream_body(self)

    def on_data(self, data: bytes) -> None:
        if self.failure:
            return
        try:
            self._scan.feed(data)
            if self._outlet is not None and self._outlet.is_live:
                self._outlet.pass_on(data)
                return
            self._spool.write(data)
        except ValueError as wrong:
            self.give_up(Fault.MALFORMED, str(wrong))
            return
        except SpoolError as error:
            self.give_up(Fault.NO_ROOM, "the form could not be stored", str(error))
            return
        if not self._told and "model" in self._scan.fields:
            self._tell()
        if self._told and self._spool.size > MEMORY:
            self._stream.pause_body()

    def on_end(self) -> None:
        if self.failure:
            return
        self.is_complete = True
        try:
            self._scan.finish()
        except ValueError as wrong:
            self.give_up(Fault.MALFORMED, str(wrong))
            return
        if not self._told:
            self._tell()
        if self._outlet is not None and self._outlet.is_live:
            self._outlet.end()

    def source(
        self, *, values: dict[str, bytes], remove: frozenset[str] = frozenset()
    ) -> BodySource:
        edit = (
            FormEdit(self._content_type, values=values, remove=remove) if values or remove else None
        )
        self._outlet = _Outlet(self, self._stream, self._spool, edit, self._length(values, remove))
        return self._outlet

    def whole(
        self, *, values: dict[str, bytes], remove: frozenset[str] = frozenset()
    ) -> bytes | None:
        """The form that would be sent, when it is all here and small: it can be sent twice."""
        if not (self._is_here() and self._spool.in_memory):
            return None
        held = self._spool.held()
        if not values and not remove:
            return held
        edit = FormEdit(self._content_type, values=values, remove=remove)
        made = edit.feed(held)
        edit.finish()
        return made

    def _is_here(self) -> bool:
        """Whether every byte of the form has come, and it is well formed to its end."""
        length = self._stream.body_length
        return self._scan.complete and (self.is_complete or self._spool.size == length)

    def close(self) -> None:
        self._spool.close()

    def _length(self, values: dict[str, bytes], remove: frozenset[str]) -> int | None:
        """The edited form's length, where it can be known before its end."""
        length = self._spool.size if self.is_complete else self._stream.body_length
        fields = self._scan.fields
        if length is None or remove or not fields.keys() >= values.keys():
            return None
        return length + sum(len(value) - len(fields[name]) for name, value in values.items())

    def _tell(self) -> None:
        self._told = True
        self._known(self._scan.fields)

    def give_up(self, fault: Fault, text: str, detail: str = "") -> None:
        """End it; the upstream, or else the caller, is told."""
        if self.failure:
            return
        self.failure = text
        self.fault = fault
        self.detail = detail
        self._spool.close()
        if self._outlet is not None:
            self._outlet.fail(text)
        else:
            self._bad(text)


class _Outlet:
    """The spool, then the live rest, through the edit to the upstream."""

    def __init__(
        self,
        upload: Upload,
        stream: BodyStream,
        spool: Spool,
        edit: FormEdit | None,
        length: int | None,
    ) -> None:
        self._upload = upload
        self._stream = stream
        self._spool = spool
        self._edit = edit
        self._sink: UpstreamSink | None = None
        self._chunks: Iterator[bytes] | None = None
        self._paused = False
        self.length = length
        self.is_live = False
        """The spool is empty: the client's bytes go straight on."""

    def start(self, sink: UpstreamSink) -> None:
        self._sink = sink
        if self._upload.failure:
            sink.on_fail(self._upload.failure)
            return
        self._chunks = self._spool.chunks()
        self._pump()

    def pause(self) -> None:
        self._paused = True
        if self.is_live:
            self._stream.pause_body()

    def resume(self) -> None:
        self._paused = False
        if self.is_live:
            self._stream.resume_body()
        else:
            self._pump()

    def stop(self) -> None:
        self._sink = None
        self.is_live = True
        self._spool.close()

    def pass_on(self, data: bytes) -> None:
        """Send a piece; a form that turns out to be malformed breaks the request off."""
        if self._sink is None:
            return
        try:
            out = data if self._edit is None else self._edit.feed(data)
        except ValueError as wrong:
            self.fail(str(wrong))
            return
        if out:
            self._sink.on_data(out)

    def end(self) -> None:
        sink, self._sink = self._sink, None
        self._spool.close()
        if sink is not None:
            sink.on_end()

    def fail(self, text: str) -> None:
        sink, self._sink = self._sink, None
        if sink is not None:
            sink.on_fail(text)

    def _pump(self) -> None:
        """Send one piece of the spool, and come back for the next: the loop goes on between."""
        if self._paused or self._sink is None or self._chunks is None or self.is_live:
            return
        try:
            data = next(self._chunks, None)
        except OSError:
            self.fail("the stored form could not be read")
            return
        if data is None:
            self._go_live()
            return
        self.pass_on(data)
        asyncio.get_running_loop().call_soon(self._pump)

    def _go_live(self) -> None:
        self.is_live = True
        self._spool.close()
        if self._upload.is_complete:
            self.end()
        else:
            self._stream.resume_body()
