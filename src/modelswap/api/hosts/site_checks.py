"""Checks of one request against the rules for `Host` and `Origin` (`host_and_cors`)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from modelswap.errors import ForbiddenError

from .page_hosts import is_page_host
from .trusted_proxies import TrustedProxies, forwarded_hosts

if TYPE_CHECKING:
    from modelswap.http import Request

    from .host_and_cors import HostAndOriginRules


def check_host(request: Request, rules: HostAndOriginRules, proxies: TrustedProxies) -> None:
    """Raise `ForbiddenError` for a host name that is not served here.

    A page that got here by DNS rebinding can send any `X-Forwarded-Host`, so that header is checked
    beside `Host`, never instead of it.
    """
    if not rules.is_our_host(request.header(b"host")):
        raise ForbiddenError("this Host is not served here; add it to allowedHosts")
    names = forwarded_hosts(request, proxies)
    is_page = is_page_host(request.header(b"host"))  # then it is a model's, also behind a proxy
    if not all(rules.is_our_host(one) and is_page_host(one) is is_page for one in names):
        raise ForbiddenError("this X-Forwarded-Host is not served here; add it to allowedHosts")


def check_site(request: Request, rules: HostAndOriginRules, proxies: TrustedProxies) -> None:
    """Raise `ForbiddenError` for a request that a page of another site made."""
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
