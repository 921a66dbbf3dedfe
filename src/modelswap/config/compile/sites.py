"""`allowedHosts` and `allowedOrigins`: an entry that can never match is reported.

Does not: compare hosts and origins of requests; `api.hosts.host_and_cors` does.
"""

from __future__ import annotations

from ipaddress import ip_address
from typing import TYPE_CHECKING, Final

from modelswap.deferred import regex
from modelswap.net.address import split_url

if TYPE_CHECKING:
    from modelswap.config.messages.diagnostics import Diagnostics

_NAME: Final = r"[a-z0-9_](?:[a-z0-9_.-]*[a-z0-9_])?"
_HOST = regex(rf"(?:\*|(?:\*\.)?{_NAME}\.?(?::\d{{1,5}})?|\[[0-9a-f:.]+\](?::\d{{1,5}})?)")
_AUTHORITY = regex(rf"(?:{_NAME}|\[[0-9a-f:.]+\])(?::\d{{1,5}})?")
_SCHEME = regex(r"[a-z][a-z0-9+.-]*")
_USUAL: Final = {"http": ":80", "https": ":443"}
_NO_MATCH: Final = "which never matches"


def hosts(names: tuple[str, ...], diagnostics: Diagnostics) -> tuple[str, ...]:
    """Return the names as they are compared: `.example.org` is the domain and all names below it."""
    found: list[str] = []
    for index, name in enumerate(names):
        host = name.strip().lower()
        if host.startswith(".") and _HOST.fullmatch(host[1:]):
            found += [host[1:], f"*{host}"]
            continue
        found.append(name)
        if not _HOST.fullmatch(host) and not _is_address(host):
            what = "a host's name, or *.NAME for all below it"
            path = ("allowedHosts", index)
            diagnostics.tolerated(path, what, _NO_MATCH, _host_hint(host), value=name)
    return tuple(found)


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def _host_hint(host: str) -> str:
    if "://" in host:
        return f"write {_host_of(host)!r}: a name without http:// and path"
    if "/" in host:
        return "a name without a path"
    if not host.isascii():
        return "browsers send such a name as xn--…"
    return "* alone allows every name" if "*" in host else ""


def _host_of(url: str) -> str:
    try:
        return split_url(url).host or url
    except ValueError:
        return url


def origins(entries: tuple[str, ...], diagnostics: Diagnostics) -> tuple[str, ...]:
    """Return the origins as written; warn of each that no browser sends."""
    for index, entry in enumerate(entries):
        origin = entry.strip().lower().rstrip("/")
        path = ("allowedOrigins", index)
        if origin == "*":
            hint = "any web page could use the models"
            message = "expected the origins of your pages; found '*', so every origin is let in"
            diagnostics.warn(path, message, hint)
        elif origin != "null":
            hint = _origin_hint(origin)
            if hint:
                what = "an origin as a browser sends it, such as https://chat.example.org"
                diagnostics.tolerated(path, what, _NO_MATCH, hint, value=entry)
    return entries


def _origin_hint(origin: str) -> str:
    scheme, separator, rest = origin.partition("://")
    if not separator or not _SCHEME.fullmatch(scheme):
        return "an origin has a scheme: https:// before it"
    if scheme not in _USUAL:
        return ""  # apps send schemes of their own
    if "*" in rest:
        return "one entry for each origin: there are no patterns"
    if "/" in rest or "?" in rest or "#" in rest:
        return f"without a path: {scheme}://{rest.partition('/')[0]}"
    if rest.endswith(_USUAL[scheme]):
        return f"browsers leave the usual port out: {scheme}://{rest.removesuffix(_USUAL[scheme])}"
    if not rest.isascii():
        return "browsers send such a name as xn--…"
    return "" if _AUTHORITY.fullmatch(rest) else "a scheme, a name and maybe a port"
