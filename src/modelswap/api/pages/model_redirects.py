"""Decides where a model server may redirect a browser.

A browser attributes a redirected request to the page that began it, or to the user who typed the
address. So a model server could send the browser to `/unload` or to another model in their name.

Guarantees: for a browser (`Sec-Fetch-Site`), the `Location` of a model that is not trusted stays only
if it leads below the model's own path, or to another server, however browsers read it.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from modelswap.deferred import regex

from .model_pages import trusts_page

if TYPE_CHECKING:
    from collections.abc import Callable

    from modelswap.api.hosts.host_and_cors import HostAndOriginRules
    from modelswap.api.snapshot import ConfigSnapshot
    from modelswap.core.naming.names import LocalTarget, PeerTarget
    from modelswap.http import Request

_ELSEWHERE: Final = regex(
    rb"https?://([a-z0-9_.-]+|\[[0-9a-f:.]+\])(?::(\d+))?(?:[/?#][^\t\\]*)?", re.IGNORECASE
)
_NUMBER: Final = regex(rb"(?:.*\.)?(?:0x[0-9a-f]*|\d+)\.?", re.IGNORECASE)
"""Browsers take such a host for an IPv4 address, also `127.1` and `0x7f.1`."""
_FOUR: Final = regex(rb"[1-9]\d*(?:\.(?:0|[1-9]\d*)){3}")
_PLAIN: Final = regex(rb"[^\t\\]*")
"""Browsers take a backslash for a slash, and leave tabs out."""
_CLIMBS: Final = regex(rb"(?:^|/)(?:\.|%2e){1,2}(?:[/?#]|$)", re.IGNORECASE)
_RELATIVE: Final = regex(rb"(?:\./)?(?:[?#].*|[^/:?#]+(?:[/?#].*)?)?", re.DOTALL)


def redirect_rule(
    snapshot: ConfigSnapshot, request: Request, target: LocalTarget | PeerTarget, path: str
) -> Callable[[bytes], bool] | None:
    """Return what tells whether a `Location` of the model may stay; `None`: any may.

    `path` is the upstream path: the end of the request's own path, below the model's.
    """
    if request.header(b"sec-fetch-site") is None or trusts_page(snapshot, target):
        return None
    asked = request.target.partition(b"?")[0]
    rest = path.encode("latin-1", "replace")
    home = asked.removesuffix(rest) + b"/" if rest and asked.endswith(rest) else b"/"
    host = request.header(b"host") or b""
    return lambda location: may_lead_to(location, home, host, snapshot.site_rules)


def may_lead_to(location: bytes, home: bytes, host: bytes, rules: HostAndOriginRules) -> bool:
    """Tell whether a `Location` stays below `home` (`/`: there is no such path), or leaves modelswap."""
    elsewhere = _ELSEWHERE.fullmatch(location)
    if elsewhere is not None:
        name, port = elsewhere[1], elsewhere[2] or b""
        if _NUMBER.fullmatch(name) and not _FOUR.fullmatch(name):
            return False
        ours = host.rpartition(b":")[2] if re.search(rb":\d+$", host) else b""
        return not rules.is_our_host(name) or _usual(port) != _usual(ours)
    path = re.split(rb"[?#]", location, maxsplit=1)[0].removeprefix(b"./")
    if home == b"/" or not _PLAIN.fullmatch(location) or _CLIMBS.search(path):
        return False
    return location.startswith(home) or _RELATIVE.fullmatch(location) is not None


def _usual(port: bytes) -> bytes:
    return b"" if port in {b"80", b"443"} else port.lstrip(b"0")
