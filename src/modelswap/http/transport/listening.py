"""Where the server listens: `HOST:PORT` or `unix:/path`, parsed and bound.

`:80` and `[::]:80` answer IPv4 and IPv6, from two sockets, so that IPv4 clients keep their own
addresses. `localhost` is `127.0.0.1` and, where the machine has it, `::1`.
"""

from __future__ import annotations

import asyncio
import errno
import os
import re
import socket
from contextlib import ExitStack
from ipaddress import IPv4Address, IPv6Address
from typing import cast

from modelswap.deferred import dataclass, regex
from modelswap.net.address import socket_path_problem
from modelswap.net.unix_sockets import listen

LISTEN_EXPECTED = "HOST:PORT (127.0.0.1:8080, :8080 for all interfaces, [::1]:8080) or unix:/PATH"
_MAX_PORT = 65535  # ports have 16 bits
_UNIX = "unix:"
_HOST_NAME = regex(r"[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_.])?")
_MAX_NAME = 253
"""Characters of a name in the DNS; a part of it between dots has 63 at most."""
_MAX_PART = 63  # see above
_MISSING = frozenset({errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL})
"""The machine does not have this family, or it is switched off."""
_TRIES = 8
"""Attempts to find a free port that both families have: the second seldom fails."""


class ListenError(Exception): ...


@dataclass(frozen=True, slots=True)
class ListenAddress:
    host: str
    """Without brackets; empty: every interface."""
    port: int
    socket_path: str = ""
    """Of a Unix socket: then host and port mean nothing."""

    @classmethod
    def parse(cls, text: str) -> ListenAddress:
        """Raise ValueError that says what was found."""
        if text.lower().startswith(_UNIX):
            path = text[len(_UNIX) :].removeprefix("//")
            wrong = socket_path_problem(path)
            if wrong:
                raise ValueError(wrong)
            return cls("", 0, path)
        if "://" in text:
            raise ValueError("a URL, not an address")
        if text.isascii() and text.isdigit():
            raise ValueError(f"a port without a colon before it: write :{text}")
        if _is_ipv6(text):
            raise ValueError("an IPv6 address without brackets")
        if text.startswith("[") and text.endswith("]"):
            raise ValueError("no port")
        host, colon, port = text.rpartition(":")
        if not colon:
            raise ValueError("no port")
        return cls(_host(host), _port(port))

    def __str__(self) -> str:
        """For the state directory."""
        return f"unix:{self.socket_path}" if self.socket_path else f"{self.host}:{self.port}"

    @property
    def shown(self) -> str:
        """For messages, as it is written behind `--listen`."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else str(self)


def _port(text: str) -> int:
    if not text:
        raise ValueError("no port behind the colon")
    if not (text.isascii() and text.isdigit()):
        raise ValueError(f"the port {text!r}, which is not a number")
    if int(text[:6]) > _MAX_PORT or len(text) > len(str(_MAX_PORT)):
        raise ValueError(f"the port {text}, which is above {_MAX_PORT}")
    return int(text)


def _host(text: str) -> str:
    if text.startswith("[") or text.endswith("]"):
        inner = text[1:-1]
        if not (text.startswith("[") and text.endswith("]") and _is_ipv6(inner)):
            raise ValueError(f"the host {text!r}, which is not an IPv6 address in brackets")
        return inner
    if ":" in text:
        hint = f": write [{text}]" if _is_ipv6(text) else ""
        raise ValueError(f"the host {text!r}, which has a colon but no brackets{hint}")
    if re.fullmatch(r"[0-9.]+", text):
        try:
            return str(IPv4Address(text))
        except ValueError:
            raise ValueError(f"the host {text!r}, which is not an IPv4 address") from None
    parts = text.removesuffix(".").split(".")
    fits = len(text) <= _MAX_NAME and all(0 < len(part) <= _MAX_PART for part in parts)
    if text and not (fits and _HOST_NAME.fullmatch(text)):
        raise ValueError(f"the host {text!r}, which is neither an address nor a name")
    return text


def _is_ipv6(text: str) -> bool:
    try:
        IPv6Address(text)
    except ValueError:
        return False
    return True


async def bound(address: ListenAddress) -> list[socket.socket]:
    """Raise ListenError."""
    try:
        if address.socket_path:
            return [listen(address.socket_path)]
        return _all_bound(await _candidates(address.host, address.port), address.port)
    except FileNotFoundError as error:
        raise ListenError("its folder does not exist") from error
    except OSError as error:
        own_words = error.strerror is not None and error.errno == errno.EADDRINUSE
        why = error.strerror if own_words or not error.errno else os.strerror(error.errno)
        raise ListenError((why or str(error)).lower()) from error


_SocketAddress = tuple[str | int, ...]
_Candidate = tuple[int, _SocketAddress]
"""Family and socket address."""


async def _candidates(host: str, port: int) -> list[_Candidate]:
    if host == "" or (_is_ipv6(host) and IPv6Address(host).is_unspecified):
        return [(socket.AF_INET6, ("::", port)), (socket.AF_INET, ("0.0.0.0", port))]  # noqa: S104 - asked for
    if host.lower() == "localhost":
        return [(socket.AF_INET, ("127.0.0.1", port)), (socket.AF_INET6, ("::1", port))]
    try:
        infos = await asyncio.get_running_loop().getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
    except (OSError, UnicodeError) as error:
        raise ListenError(f"the name {host!r} is not known here") from error
    return list(dict.fromkeys((int(info[0]), cast("_SocketAddress", info[4])) for info in infos))


def _all_bound(candidates: list[_Candidate], port: int) -> list[socket.socket]:
    """Bind them all to one port; one that this machine does not have is left out."""
    for _ in range(_TRIES - 1):
        try:
            return _bound_once(candidates)
        except OSError as error:
            if port or error.errno != errno.EADDRINUSE:
                raise
    return _bound_once(candidates)


def _bound_once(candidates: list[_Candidate]) -> list[socket.socket]:
    sockets: list[socket.socket] = []
    missing: OSError | None = None
    with ExitStack() as undo:
        for family, (host, port, *rest) in candidates:
            port = sockets[0].getsockname()[1] if sockets else port  # noqa: PLW2901 - 0 is one port for all
            try:
                one = _bound_one(family, (host, port, *rest))
            except OSError as error:
                if error.errno not in _MISSING:
                    raise
                missing = error
                continue
            undo.callback(one.close)
            sockets.append(one)
        if not sockets and missing is not None:
            raise missing
        undo.pop_all()
    return sockets


def _bound_one(family: int, address: _SocketAddress) -> socket.socket:
    one = socket.socket(family, socket.SOCK_STREAM)
    try:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        one.settimeout(0)
        one.bind(address)
    except OSError:
        one.close()
        raise
    return one
