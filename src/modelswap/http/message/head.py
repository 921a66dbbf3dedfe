"""Heads: the first lines of requests and responses, read strictly.

Guarantees: a head is believed only when llhttp (leniencies off) and the checks here both accept it.
Reading one is a pure function of its bytes, so the callers keep the results.
"""

from __future__ import annotations

import re
from dataclasses import field
from typing import TYPE_CHECKING

import httptools

from modelswap.deferred import dataclass
from modelswap.units import Bytes

from .documents import is_active
from .fields import Field, client_block, status_line, tokens_of, written
from .head_template import place_of_length, with_length

if TYPE_CHECKING:
    from collections.abc import Sequence

_REQUEST_LINE = re.compile(rb"([A-Z]+(?:-[A-Z]+)?) ([\x21-\x7e]+) HTTP/(1\.[01])")
_STATUS_LINE = re.compile(rb"HTTP/(1\.[01]) ([1-9][0-9]{2})(?: [\t\x20-\x7e\x80-\xff]*)?")
_NAME = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_VALUE = re.compile(rb"[\t\x20-\x7e\x80-\xff]*")
_HOST = re.compile(
    rb"(?:\[[0-9A-Fa-f:.]+(?:%25[A-Za-z0-9._~-]+)?\]|[A-Za-z0-9._~!$&'()*+,;=%-]+)(?::[0-9]{0,5})?"
)
_LENGTH = re.compile(rb"[0-9]{1,18}")
_ABSOLUTE = re.compile(rb"https?://([^/?#@]+)(.*)", re.IGNORECASE)
_BROKEN_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
_REFUSED_METHODS = frozenset({b"CONNECT", b"TRACE", b"PRI"})

_FIELD = Bytes(128)
"""Bytes that Python itself takes for one field, about."""

BAD_REQUEST = 400  # a status, as the next ones
EXPECTATION_FAILED = 417  # a status
NO_BODY_BELOW = 200  # statuses below it are of interim responses
NO_CONTENT = 204  # a status
NOT_MODIFIED = 304  # a status
SWITCHING = 101  # a status


class RefusedError(Exception):
    """`status` and `text` are for the client."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.text = text


class BadResponseError(Exception): ...


@dataclass(frozen=True, slots=True)
class RequestHead:
    """Shared by all requests with the same bytes."""

    method: str
    target: bytes
    path: str
    query: str
    headers: tuple[Field, ...]
    """As received, in order."""
    index: dict[bytes, bytes]
    """Lower-case name → first value."""
    version: str
    content_length: int | None
    chunked: bool
    keep_alive: bool
    upgrade: bytes | None
    """The protocol that a valid upgrade request asks for."""
    expects: bool
    """`Expect: 100-continue`."""
    connection: frozenset[bytes]
    """Lower-case tokens of `Connection`."""


@dataclass(slots=True)  # not frozen: that doubles the cost of `of_length`
class ResponseHead:
    status: int
    headers: tuple[Field, ...]
    content_length: int | None
    chunked: bool
    keep_alive: bool
    event_stream: bool
    content_type: bytes
    type_text: str
    encoding: bytes
    """`Content-Encoding`, lower case; empty for none."""
    weight: int
    """Bytes of memory, about."""
    block: bytes
    """For the client: status line and clean headers, each with its CRLF, framing left out."""
    length_block: bytes
    """`block` with `Content-Length` and the empty line, when the length is known."""
    chunked_block: bytes
    """`block` with chunked framing and the empty line."""
    is_active: bool
    """A browser could run it as a page: see `documents`."""
    length_at: int = -1
    """Which of the headers is `Content-Length`, where the length is known."""

    @property
    def announces_body(self) -> bool:
        return self.chunked or bool(self.content_length)


@dataclass(slots=True)
class _Reader:
    url: list[bytes] = field(default_factory=list[bytes])
    fields: list[Field] = field(default_factory=list[Field])

    def on_url(self, url: bytes) -> None:
        self.url.append(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        self.fields.append((name, value.rstrip(b" \t")))


class EarlyCheck:
    """Refuses nonsense in a head that comes in pieces before its end, which may never come."""

    __slots__ = ("_parser",)

    def __init__(self) -> None:
        without_callbacks = object()  # thousands of empty fields would take fifty times their bytes
        self._parser = httptools.HttpRequestParser(without_callbacks)

    def feed(self, data: bytes) -> bool:
        """False: the bytes so far cannot become a head."""
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            return True
        except httptools.HttpParserError:
            return False
        return True


def path_in(head: bytes) -> str:
    """Return the path that a head, perhaps malformed or incomplete, seems to ask for."""
    words = head.partition(b"\r\n")[0].split(b" ", 2)
    return words[1].partition(b"?")[0].decode("latin-1") if len(words) > 1 else ""


def parse_request(head: bytes) -> RequestHead:
    """Raise RefusedError."""
    lines = head.split(b"\r\n")
    line = _REQUEST_LINE.fullmatch(lines[0])
    if line is None:
        raise RefusedError(BAD_REQUEST, "malformed request line")
    method, target, version = line.groups()
    if method in _REFUSED_METHODS:
        raise RefusedError(BAD_REQUEST, "this method is not served here")
    reader = _Reader()
    _run_llhttp(httptools.HttpRequestParser(reader), head)
    fields = reader.fields
    _check_fields(fields, len(lines) - 3)
    values = _by_name(fields)
    old = version == b"1.0"
    chunked = _is_chunked(values, old=old)
    length = _length(values)
    if chunked and length is not None:
        raise RefusedError(BAD_REQUEST, "both Content-Length and Transfer-Encoding")
    if len(values.get(b"content-type", ())) > 1:
        raise RefusedError(BAD_REQUEST, "Content-Type more than once")
    host = _host(values, old=old)
    connection = tokens_of(values.get(b"connection", ()))
    path, query = _target(method, target, host)
    return RequestHead(
        method=method.decode(),
        target=target,
        path=path,
        query=query,
        headers=tuple(fields),
        index={name: listed[0] for name, listed in values.items()},
        version=version.decode(),
        content_length=length,
        chunked=chunked,
        keep_alive=_keeps_alive(connection, old=old),
        upgrade=_upgrade(method, values, connection, plain=not (old or chunked or length)),
        expects=_expects(values, old=old),
        connection=connection,
    )


def parse_response(head: bytes) -> ResponseHead:
    """Raise BadResponseError."""
    try:
        return _parse_response(head)
    except RefusedError as wrong:
        raise BadResponseError(wrong.text) from wrong


def of_length(head: ResponseHead, digits: bytes, raw: int) -> ResponseHead:
    """The same response with another length, when this one has a length too; `raw`: the head's size."""
    status = head.status
    bodiless = status < NO_BODY_BELOW or status == NO_CONTENT
    line = b"\r\n" if bodiless else b"Content-Length: %b\r\n\r\n" % digits
    headers, at = head.headers, head.length_at
    return ResponseHead(
        status,
        with_length(headers, at, digits),
        int(digits),
        head.chunked,
        head.keep_alive,
        head.event_stream,
        head.content_type,
        head.type_text,
        head.encoding,
        raw + _FIELD * len(headers),
        head.block,
        head.block + line,
        head.chunked_block,
        head.is_active,
        at,
    )


def _parse_response(head: bytes) -> ResponseHead:
    lines = head.split(b"\r\n")
    line = _STATUS_LINE.fullmatch(lines[0])
    if line is None:
        raise BadResponseError("malformed status line")
    status = int(line[2])
    old = line[1] == b"1.0"
    reader = _Reader()
    _run_llhttp(httptools.HttpResponseParser(reader), head)
    fields = reader.fields
    _check_fields(fields, len(lines) - 3)
    values = _by_name(fields)
    chunked = _is_chunked(values, old=old)
    length = _length(values)
    if chunked and length is not None:
        raise BadResponseError("both Content-Length and Transfer-Encoding")
    connection = tokens_of(values.get(b"connection", ()))
    # `HTTP/1.1 200` alone is no status line for every client
    said = lines[0][9:] if lines[0][13:].strip() else status_line(status)[9:-2]
    result = _response_head(status, said, fields, values, connection, length=length)
    result.chunked = chunked
    result.keep_alive = _keeps_alive(connection, old=old)
    result.weight = len(head) + _FIELD * len(fields)
    if length is not None:
        result.length_at = place_of_length(result.headers)
    return result


def with_client_fields(head: ResponseHead, fields: Sequence[Field]) -> ResponseHead:
    """Return a response of the same status with these fields and a body of unknown length.

    BadResponseError for a field that would break out of its line.
    """
    try:
        written(fields)
    except ValueError as wrong:
        raise BadResponseError(str(wrong)) from wrong
    said, kept = head.block.partition(b"\r\n")[0][9:], list(fields)
    return _response_head(head.status, said, kept, _by_name(kept), frozenset(), length=None)


def _response_head(
    status: int,
    said: bytes,
    fields: list[Field],
    values: dict[bytes, list[bytes]],
    connection: frozenset[bytes],
    *,
    length: int | None,
) -> ResponseHead:
    """`said` is the status line behind the version."""
    bodiless = status < NO_BODY_BELOW or status == NO_CONTENT
    content_type = values.get(b"content-type", (b"",))[0]
    event_stream = b"text/event-stream" in content_type.lower()
    block = client_block(said, fields, connection, event_stream=event_stream)
    length_line = b"" if length is None or bodiless else b"Content-Length: %d\r\n" % length
    return ResponseHead(
        status=status,
        headers=tuple(fields),
        content_length=length,
        chunked=length is None,
        keep_alive=True,
        event_stream=event_stream,
        content_type=content_type,
        type_text=content_type.decode("latin-1"),
        weight=len(block) + _FIELD * len(fields),
        encoding=values.get(b"content-encoding", (b"",))[0].strip().lower(),
        block=block,
        length_block=block + length_line + b"\r\n",
        chunked_block=block + b"Transfer-Encoding: chunked\r\n\r\n",
        is_active=status == NOT_MODIFIED
        or is_active(values, has_body=not (bodiless or length == 0)),
    )


def _run_llhttp(
    parser: httptools.HttpRequestParser | httptools.HttpResponseParser, head: bytes
) -> None:
    try:
        parser.feed_data(head)
    except httptools.HttpParserUpgrade:
        return
    except httptools.HttpParserError as wrong:
        raise RefusedError(BAD_REQUEST, "malformed HTTP") from wrong


def _check_fields(fields: list[Field], lines: int) -> None:
    if len(fields) != lines:
        raise RefusedError(BAD_REQUEST, "malformed header lines")
    for name, value in fields:
        if not _NAME.fullmatch(name):
            raise RefusedError(BAD_REQUEST, "malformed header name")
        if not _VALUE.fullmatch(value):
            raise RefusedError(BAD_REQUEST, "control characters in a header value")


def _by_name(fields: list[Field]) -> dict[bytes, list[bytes]]:
    values: dict[bytes, list[bytes]] = {}
    for name, value in fields:
        values.setdefault(name.lower(), []).append(value)
    return values


def _is_chunked(values: dict[bytes, list[bytes]], *, old: bool) -> bool:
    codings = values.get(b"transfer-encoding")
    if codings is None:
        return False
    if old or len(codings) != 1 or codings[0].lower() != b"chunked":
        raise RefusedError(BAD_REQUEST, "Transfer-Encoding must be exactly: chunked")
    return True


def _length(values: dict[bytes, list[bytes]]) -> int | None:
    lengths = values.get(b"content-length")
    if lengths is None:
        return None
    if len(lengths) != 1 or not _LENGTH.fullmatch(lengths[0]):
        raise RefusedError(BAD_REQUEST, "malformed Content-Length")
    return int(lengths[0])


def _host(values: dict[bytes, list[bytes]], *, old: bool) -> bytes | None:
    hosts = values.get(b"host")
    if hosts is None:
        if old:
            return None
        raise RefusedError(BAD_REQUEST, "the Host header is missing")
    if len(hosts) != 1 or not _HOST.fullmatch(hosts[0]):
        raise RefusedError(BAD_REQUEST, "malformed or repeated Host header")
    return hosts[0]


def _keeps_alive(connection: frozenset[bytes], *, old: bool) -> bool:
    if b"close" in connection:
        return False
    return not old or b"keep-alive" in connection


def _upgrade(
    method: bytes, values: dict[bytes, list[bytes]], connection: frozenset[bytes], *, plain: bool
) -> bytes | None:
    """The protocol asked for, when the request may have one: h2c would carry requests past us."""
    wanted = values.get(b"upgrade")
    if wanted is None or len(wanted) != 1 or b"upgrade" not in connection:
        return None
    is_http = any(one.startswith((b"h2", b"http", b"tls")) for one in tokens_of(wanted))
    return None if is_http or method != b"GET" or not plain else wanted[0]


def _expects(values: dict[bytes, list[bytes]], *, old: bool) -> bool:
    expected = values.get(b"expect")
    if expected is None or old:
        return False
    if len(expected) != 1 or expected[0].lower() != b"100-continue":
        raise RefusedError(EXPECTATION_FAILED, "only 100-continue can be expected")
    return True


def _target(method: bytes, target: bytes, host: bytes | None) -> tuple[str, str]:
    """Path and query of origin-form, of absolute-form that names our Host, and of `OPTIONS *`."""
    if b"#" in target:
        raise RefusedError(BAD_REQUEST, "a fragment in the request's target")
    if target == b"*" and method == b"OPTIONS":
        return "*", ""
    if not target.startswith(b"/"):
        absolute = _ABSOLUTE.fullmatch(target)
        if absolute is None or (host is not None and absolute[1].lower() != host.lower()):
            raise RefusedError(BAD_REQUEST, "malformed request target")
        target = absolute[2] if absolute[2].startswith(b"/") else b"/" + absolute[2]
    path, _, query = target.decode("ascii").partition("?")
    if _BROKEN_ESCAPE.search(path):
        raise RefusedError(BAD_REQUEST, "malformed percent-encoding in the path")
    return path, query
