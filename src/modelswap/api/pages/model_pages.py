"""Separates the web pages of model servers from modelswap's own page and API.

A page below `/upstream/<model>/` or `/comfyui/` comes from the model server, but a browser would give
it modelswap's origin, and with it the key that the web page remembers.

Guarantees: unless `trustPage` is set, such a page never has modelswap's origin. On a loopback name a
browser's navigation is redirected to `http://<label>.localhost:PORT`, which every browser but Safari
resolves to loopback, and where only that model is served. Elsewhere each response that a browser could
run carries a sandbox (`SANDBOX`), which gives it an origin that equals no other.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from modelswap.api.hosts.page_hosts import is_page_host, page_label
from modelswap.bounded_cache import BoundedCache
from modelswap.core.naming.names import LocalTarget, PeerTarget
from modelswap.deferred import regex
from modelswap.errors import ForbiddenError
from modelswap.units import Seconds

if TYPE_CHECKING:
    from collections.abc import Callable

    from modelswap.api.snapshot import ConfigSnapshot
    from modelswap.http import Field, Request

_POLICY: Final = (
    b"sandbox allow-scripts allow-forms allow-modals allow-downloads allow-popups "
    b"allow-popups-to-escape-sandbox"
)
SANDBOX: Final[tuple[Field, ...]] = ((b"Content-Security-Policy", _POLICY),)
"""Without `allow-same-origin`. A window that the page opens may leave the sandbox: the page cannot
access a window of another origin."""
LANDING_PAGE: Final = (
    b'<!doctype html><meta charset="utf-8"><meta http-equiv="refresh" content="0">'
    b"<title>Opening the page</title>"
)
"""Reloads its own address: that request, and each later one, then comes from its own origin."""
LANDING_FIELDS: Final[tuple[Field, ...]] = (
    (b"Content-Type", b"text/html; charset=utf-8"),
    (b"Content-Security-Policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"Cache-Control", b"no-store"),
)
_EXPECTED_FOR: Final = Seconds(300)
"""A browser has so long to follow a redirect to a page: its user may have to type the key there."""
_MAX_EXPECTED: Final = 256
"""Redirects remembered at once, so that endless ones do not fill the memory; a user needs one."""
_SANDBOXED: Final = (
    "<{}> its web page is shown in a sandbox, where it can call no API, not even its own: open it as "
    "http://localhost on this machine, or set trustPage: true if it may use all of this server's API"
)
_LOOPBACK: Final = regex(rb"(?:localhost|127\.0\.0\.1|\[::1\])(:\d{1,5})?", re.IGNORECASE)
_PROXIED: Final = b"forwarded via x-forwarded-for x-forwarded-host x-forwarded-proto".split()
"""Set by proxies, which may not forward the host name of the label."""
_DOCUMENTS: Final = frozenset({b"document", b"frame", b"iframe"})
"""Values of `Sec-Fetch-Dest` for which a browser makes a page of the response."""


def trusts_page(snapshot: ConfigSnapshot, target: LocalTarget | PeerTarget) -> bool:
    """Tell whether the configuration lets the model's page have modelswap's origin."""
    if isinstance(target, PeerTarget):
        return snapshot.remotes[target.peer].peer.trust_page
    return snapshot.plan.models[target.model].trust_page


def sandbox_fields(
    snapshot: ConfigSnapshot, request: Request, target: LocalTarget | PeerTarget
) -> tuple[Field, ...]:
    """Return the fields for responses of the model that a browser could run."""
    if trusts_page(snapshot, target) or is_page_host(request.header(b"host")):
        return ()
    return SANDBOX


class ModelPages:
    def __init__(self, clock: Callable[[], float], warn: Callable[[str, str], None]) -> None:
        """`warn` takes a key and a text, and logs each key's text once."""
        self._clock = clock
        self._warn = warn
        self._expected = BoundedCache[tuple[bytes, bytes], float](_MAX_EXPECTED)
        """Host and target of redirects, with the time until which a browser may follow them."""

    def move(
        self, request: Request, target: LocalTarget | PeerTarget, snapshot: ConfigSnapshot
    ) -> bytes | None:
        """Return where a navigation to the model's page is redirected; `None`: nowhere.

        Raises:
            ForbiddenError: this host name is another model's, or a service worker would be
                registered on modelswap's origin.
        """
        label = page_label(target).encode("ascii")
        host = request.header(b"host") or b""
        if is_page_host(host):
            if host.lower().partition(b":")[0] != label + b".localhost":
                raise ForbiddenError("this host name is the page of another model")
            return None
        if trusts_page(snapshot, target):
            return None
        if request.header(b"service-worker") is not None:
            raise ForbiddenError("a model's page has no service worker here; see trustPage")
        port = _port_of_own_origin(request, host)
        if port is None or not is_navigation(request):
            if b"text/html" in (request.header(b"accept") or b""):
                self._warn(f"page {target.model}", _SANDBOXED.format(target.model))
            return None
        own = label + b".localhost" + port
        self._expected[own, request.target] = self._clock() + _EXPECTED_FOR
        return b"http://" + own + request.target

    def follows_redirect(self, request: Request) -> bool:
        """Tell whether a navigation follows a redirect of `move`, once for each redirect.

        The browser calls it cross-site, since it began on another host name of modelswap. A page of
        another site gets no such redirect.
        """
        if request.header(b"sec-fetch-site") not in {b"cross-site", b"same-site"}:
            return False
        until = self._expected.pop((request.header(b"host") or b"", request.target), None)
        return until is not None and is_navigation(request) and self._clock() <= until


def is_navigation(request: Request) -> bool:
    """Tell whether a browser asks for a document to show."""
    return (
        request.method == "GET"
        and request.header(b"sec-fetch-mode") == b"navigate"
        and request.header(b"sec-fetch-dest") in _DOCUMENTS
    )


def _port_of_own_origin(request: Request, host: bytes) -> bytes | None:
    """Return the port (with its colon) at which the browser reaches `*.localhost`, if it does."""
    found = _LOOPBACK.fullmatch(host)
    agent = request.header(b"user-agent") or b""
    # Safari resolves only `localhost` itself
    is_safari = b"AppleWebKit" in agent and b"Chrom" not in agent
    if found is None or is_safari or request.scheme != "http" or not _is_direct(request):
        return None
    return found[1] or b""


def _is_direct(request: Request) -> bool:
    """Tell whether no proxy is between the browser and modelswap.

    With one, `Host` may be the proxy's name for modelswap: another machine to the browser. nginx adds no
    header of `_PROXIED` by itself, but like all proxies it drops the browser's `Connection: keep-alive`.
    """
    is_marked = any(request.header(name) is not None for name in _PROXIED)
    return not is_marked and b"keep-alive" in request.connection
