"""Writes the program's own responses: errors in the form that the client prefers, with CORS headers.

Does not: know routes, or log.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from modelswap.observe.logs.logs import printable

from .errors.error_responses import response_for
from .routes import speaks_anthropic

if TYPE_CHECKING:
    from modelswap.errors import ReplyError
    from modelswap.http import Exchange, Request

    from .auth.host_and_cors import HostAndOriginRules

Headers = tuple[tuple[str, str], ...]


def send_error(
    exchange: Exchange, error: ReplyError, rules: HostAndOriginRules, headers: Headers = ()
) -> int:
    """Answer in the error envelope; return the body's size."""
    request = exchange.request
    reply = response_for(
        error,
        accept=accept_of(request),
        headers=headers,
        anthropic=speaks_anthropic(request.path),
    )
    exchange.reply(reply.status, fields_of(reply.headers, request, rules), reply.body)
    return len(reply.body)


def fields_of(
    headers: Headers, request: Request | None, rules: HostAndOriginRules
) -> list[tuple[bytes, bytes]]:
    """Return the headers, and what lets a page of an allowed origin read the response."""
    fields = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers]
    if request is not None:
        fields += rules.cors(request.header(b"origin"))
    return fields


def accept_of(request: Request) -> str | None:
    """Return which form of a response the client prefers, as it says so."""
    accept = request.header(b"accept")
    return None if accept is None else accept.decode("latin-1")


def line_ends(request: Request, address: str) -> tuple[str, str]:
    """Return what stands before and behind status and size in a request's line in the log."""
    agent = request.header(b"user-agent") or b""
    return (
        printable(f'Request {address} "{request.method} {request.path} HTTP/{request.version}" '),
        printable(f' "{agent.decode("latin-1")}" '),
    )
