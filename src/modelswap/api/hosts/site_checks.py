"""Checks of one request against the rules for `Host` and `Origin`.

Guarantees: `Host`, and each host name that a trusted proxy forwards, is checked before anything else.
Does not: hold the rules (`host_and_cors`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from modelswap.api.hosts.forwarded import forwarded_hosts
from modelswap.api.hosts.page_hosts import is_page_host
from modelswap.errors import ForbiddenError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from modelswap.api.hosts.host_and_cors import HostAndOriginRules
    from modelswap.api.hosts.trusted_proxies import TrustedProxies
    from modelswap.http import Field, Request


def check_host(request: Request, rules: HostAndOriginRules, proxies: TrustedProxies) -> None:
    """Reject a request for a host name that is not served here.

    Raises:
        ForbiddenError: the name is not served here. A page that got here by DNS rebinding can send
            any `X-Forwarded-Host`, so that header is checked beside `Host`, never instead of it.
    """
    if not rules.is_our_host(request.header(b"host")):
        raise ForbiddenError("this Host is not served here; add it to allowedHosts")
    names = forwarded_hosts(request, proxies)
    is_page = is_page_host(request.header(b"host"))  # then it is a model's, also behind a proxy
    if not all(rules.is_our_host(one) and is_page_host(one) is is_page for one in names):
        raise ForbiddenError("this X-Forwarded-Host is not served here; add it to allowedHosts")


def check_site(request: Request, rules: HostAndOriginRules, proxies: TrustedProxies) -> None:
    """Reject a request that a page of another site made.

    Raises:
        ForbiddenError: it did.
    """
    if rules.is_cross_site(
        origin=request.header(b"origin"),
        host=request.header(b"host"),
        sec_fetch_site=request.header(b"sec-fetch-site"),
        referer=request.header(b"referer"),
        forwarded=forwarded_hosts(request, proxies),
    ):
        raise ForbiddenError(
            "refused: the request comes from a page of another site; "
            "if that is meant, add its origin to allowedOrigins"
        )


def preflight(request: Request, rules: HostAndOriginRules) -> Sequence[Field]:
    """Return the headers of the 204 that answers any `OPTIONS`."""
    return rules.preflight(
        origin=request.header(b"origin"),
        host=request.header(b"host"),
        request_headers=request.header(b"access-control-request-headers"),
        private_network=request.header(b"access-control-request-private-network"),
    )
