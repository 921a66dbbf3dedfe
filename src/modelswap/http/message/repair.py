"""Response heads with harmless slips, rewritten for the strict reader, which still checks them.

A slip is repaired only when the head has exactly one meaning. Requests are not: two readings of one
would let one client speak for another.

Repaired: bare LF line ends, folded lines, spaces around a name or a status, a reason with
control characters, a header without a name or with spaces inside its name (left out, as Go's
net/http does), equal Content-Lengths, a Content-Length beside chunked (chunked counts, RFC 9112
6.3), `identity`, chunked said twice (which RFC 9112 forbids to mean), and chunked in HTTP/1.0.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from modelswap.deferred import regex
from modelswap.units import Bytes

from .head import BadResponseError

if TYPE_CHECKING:
    from .fields import Field

_END = regex(rb"\n\r?\n")
_STATUS_LINE = regex(rb"HTTP/1\.([0-9]) +([1-9][0-9]{2})(?:[ \t]+(.*))?", re.DOTALL)
_NAME = regex(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_CONTROL = regex(rb"[\x00-\x08\x0a-\x1f\x7f]")
_LARGEST = Bytes(10**18)
"""Bytes; what the strict reader takes is below it."""
_SHOWN = Bytes(40)
"""Bytes of the backend's words that a refusal quotes."""


def end_of_head(data: bytes) -> int:
    """Behind the empty line of a head with CRLF or bare LF line ends; 0: not yet."""
    found = _END.search(data)
    return 0 if found is None else found.end()


def repaired(head: bytes) -> bytes:
    """Return the head with its slips repaired; raise BadResponseError for what has no one meaning."""
    if b"\0" in head:
        raise BadResponseError("a NUL byte in the response's headers")
    lines = [line.removesuffix(b"\r") for line in head.split(b"\n")]
    if any(b"\r" in line for line in lines):
        raise BadResponseError("a bare CR in the response's headers")
    status = _STATUS_LINE.fullmatch(lines[0])
    if status is None:
        raise BadResponseError(f"malformed status line {_shown(lines[0])}")
    minor, code, reason = status.groups(b"")
    fields = _fields(lines[1:-2])
    codings = _members(fields, b"transfer-encoding")
    is_old = minor == b"0"
    kept = [field for field in fields if field[0].lower() not in _FRAMING]
    if _is_chunked(codings):
        if is_old:
            if _members(fields, b"content-length"):
                raise BadResponseError(
                    "an HTTP/1.0 response with both Transfer-Encoding and Content-Length"
                )
            kept.append((b"Connection", b"close"))
        is_old = False
        kept.append((b"Transfer-Encoding", b"chunked"))
    else:
        kept += _length(_members(fields, b"content-length"))
    clean_reason = b"" if _CONTROL.search(reason) else reason.strip(b" \t")
    line = b"HTTP/1.%b %b %b\r\n" % (b"0" if is_old else b"1", code, clean_reason)
    return line + b"".join([b"%b: %b\r\n" % field for field in kept]) + b"\r\n"


_FRAMING = frozenset({b"transfer-encoding", b"content-length"})


def _fields(lines: list[bytes]) -> list[Field]:
    fields: list[Field] = []
    for line in lines:
        if line.startswith((b" ", b"\t")):
            if not fields:
                raise BadResponseError("the first header line begins with a space")
            name, value = fields.pop()
            fields.append((name, b"%b %b" % (value, line.strip(b" \t"))))
            continue
        name, colon, value = line.partition(b":")
        if not colon:
            raise BadResponseError(f"a header line without a colon: {_shown(line)}")
        fields.append((name.rstrip(b" \t"), value.strip(b" \t")))
    return [field for field in fields if _is_kept(*field)]


def _is_kept(name: bytes, value: bytes) -> bool:
    """Whether the name is usable; raise BadResponseError for a dangerous field."""
    if not _NAME.fullmatch(name.replace(b" ", b"")):
        if not name:
            return False
        raise BadResponseError(f"malformed header name {_shown(name)}")
    if _CONTROL.search(value):
        raise BadResponseError(f"control characters in the value of the header {_shown(name)}")
    return b" " not in name


def _members(fields: list[Field], name: bytes) -> list[bytes]:
    """Of a comma-separated list, from all lines of that name."""
    return [
        part.strip(b" \t")
        for other, value in fields
        if other.lower() == name
        for part in value.split(b",")
    ]


def _is_chunked(codings: list[bytes]) -> bool:
    lower = [coding.lower() for coding in codings]
    for coding in lower:
        if coding not in {b"chunked", b"identity"}:
            raise BadResponseError(f"unknown Transfer-Encoding {_shown(coding)}")
    if b"chunked" in lower and lower[-1] != b"chunked":
        raise BadResponseError("chunked is not the last Transfer-Encoding")
    return b"chunked" in lower


def _length(found: list[bytes]) -> list[Field]:
    for text in found:
        if not (text.isdigit() and text.isascii()):
            raise BadResponseError(f"malformed Content-Length {_shown(text)}")
        if len(text.lstrip(b"0")) > len(str(_LARGEST)) or int(text) >= _LARGEST:
            raise BadResponseError(f"Content-Length {_shown(text)} is too large")
    lengths = sorted({int(text) for text in found})
    if len(lengths) > 1:
        raise BadResponseError(f"two Content-Lengths: {lengths[0]} and {lengths[1]}")
    return [(b"Content-Length", b"%d" % length) for length in lengths]


def _shown(text: bytes) -> str:
    return repr(text[:_SHOWN].decode("latin-1"))
