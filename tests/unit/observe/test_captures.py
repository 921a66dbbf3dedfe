"""Captures of completed requests."""

from __future__ import annotations

import base64
import gzip
from typing import Any

from modelswap.observe.captures import KEEP_ALL, STEP, CaptureMask, Captures
from modelswap.observe.logs.redaction import HeaderMask

JSON = ((b"content-type", b"application/json"),)


def kept(
    captures: Captures,
    number: int,
    body: bytes,
    status: int = 200,
    *,
    mask: CaptureMask = KEEP_ALL,
) -> Any:
    builder = captures.begin("/x", mask, [(b"cookie", b"c"), (b"accept", b"*/*")], b'{"model":"m"}')
    assert builder is not None
    captures.on_head(
        builder,
        status,
        [*JSON, (b"Content-Encoding", b"gzip")] if body[:2] == b"\x1f\x8b" else JSON,
    )
    captures.on_data(builder, body)
    captures.keep(number, builder)
    captures.drop(builder)
    return captures.show(number)


def test_a_capture_shows_the_exchange() -> None:
    """Bodies are decoded and in base64, credentials masked, masked bodies are left out."""
    captures = Captures(1 << 20, HeaderMask())
    shown = kept(captures, 1, gzip.compress(b"hello"))
    assert base64.b64decode(shown["resp_body"]) == b"hello"
    assert base64.b64decode(shown["req_body"]) == b'{"model":"m"}'
    assert shown["req_headers"] == {"Cookie": "[REDACTED]", "Accept": "*/*"}
    assert shown["resp_headers"] == {"Content-Type": "application/json"}
    sound = kept(captures, 2, b"sound", mask=CaptureMask(response_body=False))
    assert (sound["resp_body"], sound["req_body"] is None) == (None, False)
    upload = kept(captures, 3, b"text", mask=CaptureMask(request_body=False))
    assert (upload["req_body"], upload["resp_body"]) == (None, base64.b64encode(b"text").decode())
    failed = kept(captures, 4, b"no", 500)
    assert failed["resp_body"] is None
    assert captures.show(9) is None


def test_captures_are_bounded() -> None:
    """The oldest are removed first, one capture is cut at its share, nothing stays reserved."""
    captures = Captures(4 * STEP, HeaderMask())
    for number in range(200):
        kept(captures, number, bytes(range(256)) * 15)
    assert captures.size <= 4 * STEP
    assert captures.has(199)
    assert not captures.has(0)
    builder = captures.begin("/x", KEEP_ALL, (), b"")
    assert builder is not None
    captures.on_head(builder, 200, JSON)
    for _ in range(100):
        captures.on_data(builder, b"y" * 10_000)
    assert builder.truncated
    assert builder.size <= 2 * STEP
    captures.keep(500, builder)
    captures.drop(builder)
    shown = captures.show(500)
    assert shown is not None
    assert shown["resp_truncated"] is True
    assert captures._gathering == 0
    captures.resize(4 * STEP, most=2)
    kept(captures, 501, b"z")
    kept(captures, 502, b"z")
    assert captures.ids() == {501, 502}
    captures.resize(4 * STEP, most=1)
    assert captures.ids() == {502}
    captures.resize(0)
    assert (captures.size, captures.enabled, captures.begin("/x", KEEP_ALL, (), b"")) == (
        0,
        False,
        None,
    )
