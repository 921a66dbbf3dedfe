"""Rules for `Host` and `Origin`, and the headers of CORS.

Guarantees: a web page of another site can neither reach the program under its own name, nor change
anything, nor read a response, unless the configuration names it. Names without a dot cannot be
registered, so they are local. `Origin: null` is not a local file: every page can make a frame with it.
"""

from __future__ import annotations

import re
import socket
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from modelswap.bounded_cache import BoundedCache
from modelswap.deferred import regex
from modelswap.http import Field, Request

from .kubernetes import NO_CLUSTER, Cluster
from .page_hosts import is_page_host
from .trusted_proxies import parse_address

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

Fields = tuple[Field, ...]

_REMEMBERED: Final = 1024
"""Hosts and origins whose verdict is kept: more than honest clients use."""
_LOCAL_SUFFIXES: Final = (".localhost", ".local", ".internal", ".lan", ".home.arpa")
_APP_SCHEMES: Final = frozenset(
    [
        "app",
        "capacitor",
        "chrome-extension",
        "file",
        "ionic",
        "moz-extension",
        "safari-web-extension",
        "tauri",
        "vscode-file",
        "vscode-webview",
    ]
)
_USUAL_PORTS: Final = {"http": 80, "https": 443}
_AUTHORITY = regex(r"(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(?::\d{0,5})?", re.ASCII)
_TOKEN = regex(r"[A-Za-z0-9!#$%&'*+\-.^_`|~]+")
_EXPOSED: Final = b"Retry-After, X-Should-Retry, Request-Id, X-Request-Id"
"""What the official clients read of a response, beside what every page may."""
_METHODS: Final = b"GET, POST, PUT, PATCH, DELETE, OPTIONS"
_USUAL_HEADERS: Final = b"Content-Type, Authorization, Accept, X-Requested-With"
_VARY: Final = b"Origin, Access-Control-Request-Headers, Access-Control-Request-Private-Network"


def _host_of(authority: str) -> str | None:
    """Return the host of `host[:port]`, lower case, without brackets; `None` when malformed."""
    found = _AUTHORITY.fullmatch(authority.strip().lower())
    return found.group(1).strip("[]").removesuffix(".") if found else None


def _without_usual_port(authority: str) -> str:
    return re.sub(r":(?:80|443)?$", "", authority.strip().lower())


class HostAndOriginRules:
    def __init__(
        self,
        *,
        hosts: Iterable[str] = (),
        origins: Iterable[str] = (),
        listening: Iterable[str] = ("127.0.0.1",),
        cluster: Cluster = NO_CLUSTER,
        servers: Iterable[int] = (),
    ) -> None:
        """`listening`: bound addresses. `servers`: ports of model servers, whose pages are denied."""
        named = {_host_of(host) or host.strip().lower() for host in hosts}
        self._any_host = "*" in named
        self._cluster = cluster
        self._hosts = named | {"localhost", socket.gethostname().lower()}
        self._suffixes = (*_LOCAL_SUFFIXES, *(h[1:] for h in named if h.startswith("*.")))
        bound = {text.strip("[]") for text in listening}
        addresses = {text: parse_address(text) for text in bound | named}
        self._ours = frozenset(one for one in addresses.values() if one is not None)
        """Addresses that `Host` may name: the bound ones, and those of `hosts`."""
        self._everywhere = "" in bound or any(
            one.is_unspecified for text in bound if (one := addresses[text]) is not None
        )
        self._origins = frozenset(origin.strip().lower().rstrip("/") for origin in origins)
        self._servers = set(servers)
        self._host_verdicts = BoundedCache[bytes, bool](_REMEMBERED)
        self._origin_verdicts = BoundedCache[bytes, bool](_REMEMBERED)

    # Host

    def is_our_host(self, host: bytes | None) -> bool:
        """Tell whether a `Host` names this program; without one there is no browser."""
        if host is None:
            return True
        known = self._host_verdicts.get(host)
        if known is None:
            known = self._decide_host(host.decode("latin-1"))
            self._host_verdicts[host] = known
        return known

    def _decide_host(self, authority: str) -> bool:
        if self._any_host:
            return True
        host = _host_of(authority)
        if not host:
            return False
        address = parse_address(host)
        if address is not None:
            return address.is_loopback or self._everywhere or address in self._ours
        is_ours = "." not in host or host in self._hosts or host.endswith(self._suffixes)
        return is_ours or self._cluster.has(host)

    # Origin

    def is_allowed(self, origin: bytes, host: bytes | None) -> bool:
        """Tell whether an `Origin` is the program's own (the authority of `host`) or on the list."""
        known = self._origin_verdicts.get(origin)
        if known is None:
            known = self._decide_origin(origin.decode("latin-1").strip().lower())
            self._origin_verdicts[origin] = known
        return known or (host is not None and _is_same(origin, host))

    def _decide_origin(self, origin: str) -> bool:
        if origin in self._origins or "*" in self._origins:
            return True
        try:
            parts = urlsplit(origin)
            host, port = _host_of(parts.netloc), parts.port
        except ValueError:
            return False
        if parts.scheme in _APP_SCHEMES:
            return True
        if parts.scheme not in {"http", "https"} or not host:
            return False
        if (port or _USUAL_PORTS[parts.scheme]) in self._servers:
            return False
        address = parse_address(host)
        if address is not None:
            return address.is_loopback
        is_local = host == "localhost" or host.endswith(".localhost")
        return is_local and not is_page_host(host.encode("latin-1"))

    def deny_port(self, port: int) -> None:
        """Allow no more pages at this port of the machine: a model server listens there."""
        if port not in self._servers:
            self._servers.add(port)
            self._origin_verdicts.clear()

    def is_cross_site(
        self,
        *,
        origin: bytes | None,
        host: bytes | None,
        sec_fetch_site: bytes | None = None,
        referer: bytes | None = None,
        forwarded: Sequence[bytes] = (),
    ) -> bool:
        """Tell whether a page of another site made this request: then it may not change anything.

        Also for WebSocket handshakes, which browsers let any page make. `forwarded` are the host
        names that a trusted proxy forwards. A proxy that is not trusted may have replaced `Host` or
        its port: then the browser's own `same-origin` counts, if the origin has our name.
        """
        site = None if sec_fetch_site is None else sec_fetch_site.strip().lower()
        if origin is not None:
            if self._is_known(origin, host, forwarded):
                return False
            return site != b"same-origin" or not self._has_our_name(origin)
        if site in {b"same-origin", b"none"}:
            return False
        if site is not None and (site != b"same-site" or not referer):
            return True  # another name of the same site is another site, unless it says which
        return not self._is_known(_origin_of(referer), host, forwarded) if referer else False

    def _is_known(self, origin: bytes, host: bytes | None, forwarded: Sequence[bytes]) -> bool:
        return self.is_allowed(origin, host) or any(_is_same(origin, name) for name in forwarded)

    def _has_our_name(self, origin: bytes) -> bool:
        scheme, _, authority = origin.partition(b"://")
        is_web = scheme.lower() in {b"http", b"https"}
        return is_web and not is_page_host(authority) and self.is_our_host(authority)

    # CORS

    def cors(self, origin: bytes | None) -> Fields:
        """Return the headers that let a listed origin read a response; no others may.

        They replace those of the upstream: two `Access-Control-Allow-Origin` are an error.
        Credentials are never allowed: pages have to send their key themselves.
        """
        if origin is None:
            return ()
        if not self.is_allowed(origin, None):
            return ((b"Vary", b"Origin"),)
        return (
            (b"Access-Control-Allow-Origin", origin),
            (b"Access-Control-Expose-Headers", _EXPOSED),
            (b"Vary", b"Origin"),
        )

    def preflight(self, request: Request) -> Fields:
        """Return the headers of the 204 that answers any `OPTIONS`."""
        header = request.header
        asked = header(b"access-control-request-headers")
        fields: list[Field] = [
            (b"Access-Control-Allow-Methods", _METHODS),
            (b"Access-Control-Allow-Headers", _accepted_headers(asked)),
            (b"Access-Control-Max-Age", b"86400"),
            (b"Vary", _VARY),
        ]
        origin = header(b"origin")
        if origin is not None and self.is_allowed(origin, header(b"host")):
            fields.insert(0, (b"Access-Control-Allow-Origin", origin))
            private = header(b"access-control-request-private-network") or b""
            if private.strip().lower() == b"true":
                fields.append((b"Access-Control-Allow-Private-Network", b"true"))
        return tuple(fields)


def _is_same(origin: bytes, host: bytes) -> bool:
    scheme, _, authority = origin.decode("latin-1").partition("://")
    return scheme.lower() in {"http", "https"} and _without_usual_port(
        authority
    ) == _without_usual_port(host.decode("latin-1"))


def _origin_of(url: bytes) -> bytes:
    try:
        parts = urlsplit(url.decode("latin-1"))
    except ValueError:
        return b"null"
    return f"{parts.scheme}://{parts.netloc}".encode("latin-1")


def _accepted_headers(asked: bytes | None) -> bytes:
    if asked is None:
        return _USUAL_HEADERS
    names = (name.strip() for name in asked.decode("latin-1").split(","))
    return ", ".join(name for name in names if _TOKEN.fullmatch(name)).encode("latin-1")
