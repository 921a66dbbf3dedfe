"""The host names of models' web pages, and the ports at which model servers serve them directly."""

from __future__ import annotations

import contextlib
import re
import socket
from functools import lru_cache
from ipaddress import ip_address
from typing import TYPE_CHECKING, Final

from modelswap.core.naming.names import LocalTarget, PeerTarget
from modelswap.digest import sha256
from modelswap.http import Address

if TYPE_CHECKING:
    from modelswap.config.plan import Plan

_MARK: Final = "upstream--"
"""The host name of a page is `upstream--<name>--<hash>.localhost`."""
_MAX_SLUG: Final = 32
"""Characters of a model's name in a label, which DNS limits to 63 in all."""
_HASH_DIGITS: Final = 12
"""Hex digits of the hash in a label: 48 bits, so that two models of one file never share one."""


def is_page_host(host: bytes | None) -> bool:
    """Tell whether a `Host` or an origin's authority is of the form that models' pages have.

    By form, not by configuration: the page of a removed model must not get modelswap's own page.
    """
    if host is None or b"--" not in host:
        return False
    labels = host.decode("latin-1").lower().partition(":")[0].rstrip(".").split(".")
    return labels[-1] == "localhost" and any(label.startswith(_MARK) for label in labels)


def page_label(target: LocalTarget | PeerTarget) -> str:
    """Return the label of a model's own host name: the same at every start."""
    is_peer = isinstance(target, PeerTarget)
    name = f"{target.peer}/{target.model}" if isinstance(target, PeerTarget) else target.model
    slug = re.sub("[^a-z0-9]+", "-", name.lower())[:_MAX_SLUG].strip("-") or "model"
    digest = sha256(f"{is_peer} {name}".encode("utf-8", "surrogatepass")).hexdigest()
    return f"{_MARK}{slug}--{digest[:_HASH_DIGITS]}"


def page_ports(plan: Plan) -> set[int]:
    """Return the ports at which browsers can reach the pages of model servers directly.

    A page there has a loopback origin. Applications on this machine have one too, and may use the API.
    """
    proxies = [model.proxy for model in plan.models.values() if not model.trust_page]
    proxies += [peer.proxy for peer in plan.peers.values() if not peer.trust_page]
    ports = (loopback_port(proxy) for proxy in proxies)
    return {port for port in ports if port is not None}


@lru_cache(maxsize=4096)  # addresses: a reload asks for those of all models, on the loop
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
