"""Sends the responses that no handler and no model writes, and logs each."""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING

from modelswap.deferred import dataclass
from modelswap.observe.logs.logs import printable

from .auth.client_identity import address_of
from .errors.error_responses import error_response, response_for
from .pages.static_files import is_page_poll
from .routes import QUIET_PATHS, UI, speaks_anthropic
from .routing.redirects import location

if TYPE_CHECKING:
    from collections.abc import Sequence

    from modelswap.errors import ReplyError
    from modelswap.http import Exchange, Field, Refused, Request

    from .control.control_request import Headers
    from .hosts.host_and_cors import HostAndOriginRules
    from .services import Services


@dataclass(slots=True, eq=False)
class Responder:
    services: Services

    def reply(
        self,
        exchange: Exchange,
        status: int,
        headers: Sequence[Field],
        body: bytes = b"",
        began: float | None = None,
    ) -> None:
        """Send a complete response to a request that began at `began` (monotonic)."""
        exchange.reply(status, headers, body)
        self.log(exchange, len(body), began)

    def error(
        self,
        exchange: Exchange,
        error: ReplyError,
        headers: Headers = (),
        began: float | None = None,
    ) -> None:
        sent = send_error(exchange, error, self.services.config.snapshot.site_rules, headers)
        self.log(exchange, sent, began)

    def redirect(self, exchange: Exchange, to: str, status: int) -> None:
        where = location(exchange.request, to, self.services.config.snapshot.proxies)
        self.reply(exchange, status, [(b"Location", where.encode("ascii"))])

    def refusal(self, refused: Refused) -> tuple[Sequence[Field], bytes]:
        request = refused.request
        reply = error_response(
            refused.status,
            refused.text,
            accept=None if request is None else accept_of(request),
            retry_after=refused.retry_after,
            anthropic=speaks_anthropic(refused.path if request is None else request.path),
        )
        rules = self.services.config.snapshot.site_rules
        return fields_of(reply.headers, request, rules), reply.body

    def log(self, exchange: Exchange, sent: int, began: float | None = None) -> None:
        """Log a request that is over; `sent` bytes of body went to the client."""
        request, services = exchange.request, self.services
        if not services.shows_requests:
            return
        seconds = 0.0 if began is None else monotonic() - began
        is_poll = is_page_poll(request, exchange.status, UI) and not services.logs.shows("debug")
        if not is_poll and not request.path.startswith(QUIET_PATHS):
            ends = line_ends(request, address_of(request, services.config.snapshot.proxies))
            services.logs.request_line(ends[0], exchange.status, sent, ends[1], seconds)


def send_error(
    exchange: Exchange, error: ReplyError, rules: HostAndOriginRules, headers: Headers = ()
) -> int:
    """Answer in the error envelope; return the body's size."""
    request = exchange.request
    anthropic = speaks_anthropic(request.path)
    reply = response_for(error, accept=accept_of(request), headers=headers, anthropic=anthropic)
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
    accept = request.header(b"accept")
    return None if accept is None else accept.decode("latin-1")


def line_ends(request: Request, address: str) -> tuple[str, str]:
    """Return what stands before and behind status and size in a request's line in the log."""
    agent = request.header(b"user-agent") or b""
    return (
        printable(f'Request {address} "{request.method} {request.path} HTTP/{request.version}" '),
        printable(f' "{agent.decode("latin-1")}" '),
    )
