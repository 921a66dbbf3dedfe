"""Sends the responses that no handler and no model writes, and logs each."""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING

from .auth.client_identity import address_of
from .errors.error_responses import error_response
from .pages.static_files import is_page_poll
from .responses import accept_of, fields_of, line_ends, send_error
from .routes import QUIET_PATHS, UI, speaks_anthropic
from .routing.redirects import location

if TYPE_CHECKING:
    from collections.abc import Sequence

    from modelswap.errors import ReplyError
    from modelswap.http import Exchange, Field, Refused

    from .responses import Headers
    from .services import Services


class Responder:
    """Errors, redirects and short replies."""

    def __init__(self, services: Services) -> None:
        self._services = services

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
        """Answer in the error envelope."""
        sent = send_error(exchange, error, self._services.config.snapshot.site_rules, headers)
        self.log(exchange, sent, began)

    def redirect(self, exchange: Exchange, to: str, status: int) -> None:
        """Lead the client to our absolute path `to`."""
        where = location(exchange.request, to, self._services.config.snapshot.proxies)
        self.reply(exchange, status, [(b"Location", where.encode("ascii"))])

    def refusal(self, refused: Refused) -> tuple[Sequence[Field], bytes]:
        """Word a refusal of the HTTP layer."""
        request = refused.request
        reply = error_response(
            refused.status,
            refused.text,
            accept=None if request is None else accept_of(request),
            retry_after=refused.retry_after,
            anthropic=speaks_anthropic(refused.path if request is None else request.path),
        )
        return fields_of(
            reply.headers, request, self._services.config.snapshot.site_rules
        ), reply.body

    def log(self, exchange: Exchange, sent: int, began: float | None = None) -> None:
        """Log a request that is over; `sent` bytes of body went to the client."""
        request, services = exchange.request, self._services
        seconds = 0.0 if began is None else monotonic() - began
        is_poll = is_page_poll(request, exchange.status, UI) and not services.logs.shows("debug")
        if not is_poll and not request.path.startswith(QUIET_PATHS):
            ends = line_ends(request, address_of(request, services.config.snapshot.proxies))
            services.access_line(ends[0], exchange.status, sent, ends[1], seconds)
