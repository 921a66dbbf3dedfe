"""When is a server ready: when its check endpoint answers exactly 200.

The first look is immediate. The pause between looks is a small share of the time already waited, so
that the delay it adds stays at a few per cent, and a server that is ready at once is seen at once. Each
look has its own deadline, so an endpoint that accepts and never answers cannot eat the whole time.

How long to go on is not decided here: the caller cancels.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from modelswap.address import Address, is_unix
from modelswap.unix_sockets import name_of

FIRST_PAUSE: Final = 0.003
LAST_PAUSE: Final = 0.25
PAUSE_SHARE: Final = 0.015
FIRST_DEADLINE: Final = 1.0
LAST_DEADLINE: Final = 5.0
_LONGEST_LINE: Final = 4096


def pause_after(waited: float) -> float:
    """Seconds until the next look, after `waited` seconds since the first."""
    return min(max(waited * PAUSE_SHARE, FIRST_PAUSE), LAST_PAUSE)


def deadline_after(waited: float) -> float:
    """Seconds that one look may take; slow endpoints get more as time goes by."""
    return min(max(waited / 4, FIRST_DEADLINE), LAST_DEADLINE)


@dataclass(frozen=True, slots=True)
class Target:
    """Where to look."""

    host: str
    port: int
    path: str
    authority: str
    tls: bool
    socket_path: str = ""
    """Of a Unix socket; then host and port mean nothing."""

    @property
    def is_loopback(self) -> bool:
        return self.host in {"localhost", "::1", "0.0.0.0", "::"} or self.host.startswith("127.")  # noqa: S104 - compared, not bound

    @property
    def request(self) -> bytes:
        return (
            f"GET {self.path} HTTP/1.1\r\nHost: {self.authority}\r\n"
            "User-Agent: modelswap-probe\r\nAccept: */*\r\nConnection: close\r\n\r\n"
        ).encode("latin-1", "replace")


def target(url: str, check: str) -> Target:
    """Join the base path of `url` with `check`; raise `ValueError` for what is no HTTP URL."""
    if is_unix(url):
        return _unix_target(Address.parse(url), check)
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError("not an http or https URL")
    path = parts.path.rstrip("/") + "/" + check.lstrip("/")
    if any(c <= " " or c == "\x7f" for c in path):
        raise ValueError("the check endpoint holds a space or a control character")
    tls = parts.scheme == "https"
    port = parts.port if parts.port is not None else (443 if tls else 80)
    authority = parts.netloc.rpartition("@")[2]
    return Target(host=parts.hostname, port=port, path=path, authority=authority, tls=tls)


def _unix_target(address: Address, check: str) -> Target:
    path = f"{address.base_path}/{check.lstrip('/')}"
    if any(c <= " " or c == "\x7f" for c in path):
        raise ValueError("the check endpoint holds a space or a control character")
    return Target(
        host=address.host,
        port=0,
        path=path,
        authority=address.authority,
        tls=False,
        socket_path=address.socket_path,
    )


async def looks_ready(where: Target, addresses: list[str], trust: ssl.SSLContext | None) -> bool:
    """Take one look; whatever is not a plain 200 is "not yet"."""
    for address in addresses:
        connection = await _connected(where, address)
        if connection is None:
            continue
        try:
            reader, writer = await asyncio.open_connection(
                sock=connection,
                limit=_LONGEST_LINE,
                ssl=trust,
                server_hostname=None if trust is None else where.host,
            )
        except OSError:
            connection.close()
            continue
        try:
            writer.write(where.request)
            return _is_ok(await reader.readline())
        except (OSError, ValueError):  # ValueError: a line without end
            return False
        finally:
            writer.close()
    return False


async def _connected(where: Target, address: str) -> socket.socket | None:
    """Connect without the resolver: nearly all looks end here, so a refusal has to be cheap."""
    found: tuple[str, int] | str = (address, where.port)
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    if where.socket_path:
        family, found = socket.AF_UNIX, name_of(address)
    try:
        connection = socket.socket(family, socket.SOCK_STREAM)
    except OSError:
        return None  # the machine does not have this family, or we have no descriptor left
    connection.settimeout(0)
    try:
        await asyncio.get_running_loop().sock_connect(connection, found)
    except OSError:
        connection.close()
        return None
    except BaseException:
        connection.close()
        raise
    return connection


def _is_ok(status_line: bytes) -> bool:
    version, _, rest = status_line.partition(b" ")
    return version in {b"HTTP/1.1", b"HTTP/1.0"} and rest[:3] == b"200" and not rest[3:4].isdigit()


async def addresses_of(where: Target) -> list[str]:
    """Resolve once: a look every few milliseconds must not ask the resolver each time."""
    if where.socket_path:
        return [where.socket_path]
    if where.host == "localhost":
        return ["127.0.0.1", "::1"]
    try:
        infos = await asyncio.get_running_loop().getaddrinfo(
            where.host, where.port, type=socket.SOCK_STREAM
        )
    except (OSError, UnicodeError):
        return []
    return list(dict.fromkeys(str(info[4][0]) for info in infos))


async def until_ready(where: Target) -> None:
    """Return as soon as the endpoint answers 200; look for as long as it takes."""
    clock = asyncio.get_running_loop().time
    began = clock()
    trust = ssl.create_default_context() if where.tls else None
    addresses: list[str] = []
    while True:
        addresses = addresses or await addresses_of(where)
        try:
            async with asyncio.timeout(deadline_after(clock() - began)):
                if await looks_ready(where, addresses, trust):
                    return
        except TimeoutError:
            pass
        await asyncio.sleep(pause_after(clock() - began))
