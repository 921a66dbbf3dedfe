"""Web pages of model servers, kept apart from our own page and API.

A page below `/upstream/<model>/` or `/comfyui/` is the model server's, but a
browser would give it our origin, our remembered key included.

Guarantees: unless `trustPage` is set, such a page never has our origin. On a
loopback name a browser's navigation is led to `http://<label>.localhost:PORT`,
which every browser but Safari resolves to loopback, and where nothing is served
but that model. Elsewhere each response that a browser could run carries a
sandbox (`SANDBOX`), which gives it an origin that equals no other.
Does not: touch responses of known inert types, or clients that are no browsers.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
import socket
from ipaddress import ip_address
from typing import TYPE_CHECKING, Final

from modelswap.bounded_cache import BoundedCache
from modelswap.core.naming.names import PeerTarget
from modelswap.errors import ForbiddenError
from modelswap.http import Address

if TYPE_CHECKING:
    from collections.abc import Callable

    from modelswap.api.snapshot import ConfigSnapshot
    from modelswap.config.plan import Model, Plan
    from modelswap.core.naming.names import LocalTarget
    from modelswap.http import Field, Request

_POLICY: Final = (
    b"sandbox allow-scripts allow-forms allow-modals allow-downloads allow-popups "
    b"allow-popups-to-escape-sandbox"
)
SANDBOX: Final[tuple[Field, ...]] = ((b"Content-Security-Policy", _POLICY),)
"""Without `allow-same-origin`. A window that the page opens may leave the sandbox, since the page
cannot reach into a window of another origin."""
ARRIVAL: Final = (
    b'<!doctype html><meta charset="utf-8"><meta http-equiv="refresh" content="0">'
    b"<title>Opening the page</title>"
)
"""Loads its own address again: that request, and each later reload, then comes from its own origin."""
ARRIVAL_FIELDS: Final[tuple[Field, ...]] = (
    (b"Content-Type", b"text/html; charset=utf-8"),
    (b"Content-Security-Policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"Cache-Control", b"no-store"),
)
_MARK: Final = "upstream--"
_MOST_SLUG: Final = 32
"""Characters of a model's name in a label, which DNS limits to 63 in all."""
_DIGITS: Final = 12
"""Hex digits of the hash in a label: 48 bits, so that two models of one file never share one."""
_EXPECTED_FOR: Final = 300.0
"""Seconds that a browser has to follow a redirect of ours: its user may have to type the key there."""
_MOST_EXPECTED: Final = 256
"""Redirects remembered at once, so that endless ones do not fill the memory; a user needs one."""
_SANDBOXED: Final = (
    "<{}> its web page is shown in a sandbox, where it can call no API, not even its own: open it as "
    "http://localhost on this machine, or set trustPage: true if it may use all of this server's API"
)
_LOOPBACK: Final = re.compile(rb"(?:localhost|127\.0\.0\.1|\[::1\])(:\d{1,5})?", re.IGNORECASE)
_PROXIED: Final = (
    b"forwarded",
    b"via",
    b"x-forwarded-for",
    b"x-forwarded-host",
    b"x-forwarded-proto",
)
"""Set by proxies, which may not forward the label's name."""
_DOCUMENTS: Final = frozenset({b"document", b"frame", b"iframe"})
"""Values of `Sec-Fetch-Dest` for which a browser makes a page of the response."""


def is_page_host(host: bytes | None) -> bool:
    """Tell whether a `Host` or an origin's authority is of the form that models' pages have.

    By form, not by configuration: the page of a model that is gone must not become ours.
    """
    if host is None or b"--" not in host:
        return False
    labels = host.decode("latin-1").lower().partition(":")[0].rstrip(".").split(".")
    return labels[-1] == "localhost" and any(label.startswith(_MARK) for label in labels)


def page_label(target: LocalTarget | PeerTarget) -> str:
    """Return the label of a model's own host name: the same at every start."""
    is_peer = isinstance(target, PeerTarget)
    name = f"{target.peer}/{target.model}" if isinstance(target, PeerTarget) else target.model
    slug = re.sub("[^a-z0-9]+", "-", name.lower())[:_MOST_SLUG].strip("-") or "model"
    digest = hashlib.sha256(f"{is_peer} {name}".encode("utf-8", "surrogatepass")).hexdigest()
    return f"{_MARK}{slug}--{digest[:_DIGITS]}"


def trusts_page(snapshot: ConfigSnapshot, target: LocalTarget | PeerTarget) -> bool:
    """Tell whether the configuration lets the model's page have our origin."""
    if isinstance(target, PeerTarget):
        return snapshot.remotes[target.peer].peer.trust_page
    return snapshot.plan.models[target.model].trust_page


def guard_of(
    snapshot: ConfigSnapshot, request: Request, target: LocalTarget | PeerTarget
) -> tuple[Field, ...]:
    """Return the fields for responses of the model that a browser could run."""
    if trusts_page(snapshot, target) or is_page_host(request.header(b"host")):
        return ()
    return SANDBOX


def page_ports(plan: Plan) -> set[int]:
    """Return the ports at which model servers serve their pages themselves, past us.

    A page there is of a loopback origin, as applications on this machine are, which may use our API.
    """
    proxies = [model.proxy for model in plan.models.values() if not model.trust_page]
    proxies += [peer.proxy for peer in plan.peers.values() if not peer.trust_page]
    ports = (loopback_port(proxy) for proxy in proxies)
    return {port for port in ports if port is not None}


def forbid_page(snapshot: ConfigSnapshot, model: Model) -> None:
    """Keep the pages at a server's own port from our API, also when the port is not the usual one."""
    port = None if model.trust_page else loopback_port(model.proxy)
    if port is not None:
        snapshot.origins.add_server(port)


def loopback_port(proxy: str) -> int | None:
    """Return the port of a server's address on this machine; `None` when it is elsewhere."""
    try:
        address = Address.parse(proxy)
    except ValueError:
        return None
    is_here = not address.socket_path and _is_here(address.host.rstrip("."))
    return address.port if is_here else None


def _is_here(host: str) -> bool:
    """Tell whether a connection to a host stays on this machine, in every spelling of it."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    with contextlib.suppress(OSError):  # also `127.1` and `0`, as the system's resolver does
        host = socket.inet_ntoa(socket.inet_aton(host))
    try:
        found = ip_address(host)
    except ValueError:
        return False  # a name
    found = getattr(found, "ipv4_mapped", None) or found
    return found.is_loopback or found.is_unspecified


class ModelPages:
    """Leads browsers to the origins of models' pages."""

    def __init__(self, clock: Callable[[], float], warn: Callable[[str, str], None]) -> None:
        """`warn` takes a key and a text, and logs each key's text once."""
        self._clock = clock
        self._warn = warn
        self._expected: BoundedCache[tuple[bytes, bytes], float] = BoundedCache(_MOST_EXPECTED)
        """Host and target of redirects of ours, with the time until which they may be followed."""

    def move(
        self, request: Request, target: LocalTarget | PeerTarget, snapshot: ConfigSnapshot
    ) -> bytes | None:
        """Return where a navigation to the model's page has to go; `None`: it may stay.

        Raises:
            ForbiddenError: this host name is another model's, or a service worker would be
                registered on our origin.
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
        self._expect(own, request.target)
        return b"http://" + own + request.target

    def _expect(self, host: bytes, target: bytes) -> None:
        self._expected[host, target] = self._clock() + _EXPECTED_FOR

    def arrives(self, request: Request) -> bool:
        """Tell whether a navigation follows a redirect of ours, once for each redirect.

        The browser calls it cross-site, since it began on another host name of ours; a page of
        another site cannot be expected, since our redirects are refused to it.
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
    is_safari = (
        b"AppleWebKit" in agent and b"Chrom" not in agent
    )  # resolves only `localhost` itself
    if found is None or is_safari or request.scheme != "http" or not _is_direct(request):
        return None
    return found[1] or b""


def _is_direct(request: Request) -> bool:
    """Tell whether no proxy is between the browser and us.

    With one, `Host` may be its name for us, which means another machine to the browser. nginx adds no
    header of `_PROXIED` by itself, but like all proxies it drops the browser's `Connection: keep-alive`.
    """
    is_marked = any(request.header(name) is not None for name in _PROXIED)
    return not is_marked and b"keep-alive" in request.connection
