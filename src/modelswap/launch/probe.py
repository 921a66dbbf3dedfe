"""When is a server ready: when its check endpoint answers exactly 200.

The first look is immediate. The pause between looks is a small share of the time already waited, so
that the delay it adds stays at a few per cent, and a server that is ready at once is seen at once. Each
look has its own deadline, so an endpoint that accepts and never answers cannot eat the whole time.

How long to go on is not decided here: the caller cancels. What each look saw is handed to the caller,
so that it can be told when the time is over.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from modelswap.core.failure import ProbeObservation
from modelswap.net.address import Address, is_unix, split_url
from modelswap.net.unix_sockets import name_of

if TYPE_CHECKING:
    from collections.abc import Callable

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
class ProbeTarget:
    """Where to look."""

    host: str
    port: int
    path: str
    authority: str
    tls: bool
    key: str = field(default="", repr=False)
    """Sent as Bearer; empty: nothing."""
    socket_path: str = ""
    """Of a Unix socket; then host and port mean nothing."""

    @property
    def is_loopback(self) -> bool:
        return self.host in {"localhost", "::1", "0.0.0.0", "::"} or self.host.startswith("127.")  # noqa: S104 - compared, not bound

    @property
    def request(self) -> bytes:
        key = f"Authorization: Bearer {self.key}\r\n" if self.key else ""
        return (
            f"GET {self.path} HTTP/1.1\r\nHost: {self.authority}\r\n{key}"
            "User-Agent: modelswap-probe\r\nAccept: */*\r\nConnection: close\r\n\r\n"
        ).encode("utf-8", "surrogateescape")


def target(url: str, check: str, key: str = "") -> ProbeTarget:
    """Join the base path of `url` with `check`; raise `ValueError` for what is no HTTP URL."""
    if is_unix(url):
        return _unix_target(Address.parse(url), check, key)
    parts = split_url(url)
    if parts.scheme not in {"http", "https"} or not parts.host:
        raise ValueError("not an http or https URL")
    path = parts.path.rstrip("/") + "/" + check.lstrip("/")
    if any(c <= " " or c == "\x7f" for c in path):
        raise ValueError("the check endpoint holds a space or a control character")
    tls = parts.scheme == "https"
    port = parts.port if parts.port is not None else (443 if tls else 80)
    return ProbeTarget(
        host=parts.host, port=port, path=path, authority=parts.authority, tls=tls, key=key
    )


def _unix_target(address: Address, check: str, key: str) -> ProbeTarget:
    path = f"{address.base_path}/{check.lstrip('/')}"
    if any(c <= " " or c == "\x7f" for c in path):
        raise ValueError("the check endpoint holds a space or a control character")
    return ProbeTarget(
        host=address.host,
        port=0,
        path=path,
        authority=address.authority,
        tls=False,
        key=key,
        socket_path=address.socket_path,
    )


@dataclass(frozen=True, slots=True)
class Glance:
    """What one look at a check endpoint saw."""

    where: ProbeTarget
    what: str
    """What the endpoint did, as the rest of a sentence; empty: it answered 200."""
    advice: str = ""
    is_lasting: bool = False
    """It is no matter of time."""
    has_answered: bool = False
    """It spoke HTTP, so a server listens where it should."""

    @property
    def is_ready(self) -> bool:
        return not self.what

    def told(self) -> ProbeObservation:
        """Put it into a sentence, with and without the address; a query may hold a secret."""
        end = f"last {self.what}{self.advice}"
        where = self.where
        path, mark, _ = where.path.partition("?")
        path += "?…" if mark else ""
        scheme = "https" if where.tls else "http"
        url = f"{scheme}://{where.authority}{path}"
        if where.socket_path:
            url = f"{path} of unix:{where.socket_path}"
        return ProbeObservation(
            f"the check endpoint {url} {end}",
            f"the check endpoint {path} {end}",
            self.is_lasting,
        )


_NO_ANSWER: Final = "closed the connection without an answer"
_ADVICE: Final = {
    401: "; it wants a key: set the model's `apiKey`, or `checkEndpoint: none`",
    403: "; it wants a key: set the model's `apiKey`, or `checkEndpoint: none`",
    429: "",
    503: "; it is still loading, or `healthCheckTimeout` is too short",
}
_SET_ENDPOINT: Final = "; set `checkEndpoint` to a path that answers 200, or to `none`"
_PASSING: Final = frozenset({408, 425, 429})


def answered(where: ProbeTarget, status_line: bytes) -> Glance:
    """Judge the first line of an answer."""
    version, _, rest = status_line.strip().partition(b" ")
    code = rest[:3]
    is_http = version in {b"HTTP/1.1", b"HTTP/1.0"} and code.isdigit() and not rest[3:4].isdigit()
    if not status_line:
        return Glance(where, _NO_ANSWER)
    if not is_http:
        return Glance(where, "answered, but not in HTTP", is_lasting=True)
    status = int(code)
    if status == 200:  # noqa: PLR2004 -- the one status that means ready
        return Glance(where, "")
    is_lasting = 200 < status < 500 and status not in _PASSING  # noqa: PLR2004 -- the classes of HTTP
    redirect = ", a redirect" if 300 <= status < 400 else ""  # noqa: PLR2004 -- the class of redirects
    advice = _ADVICE.get(status, _SET_ENDPOINT if is_lasting else "")
    what = f"answered {status}{redirect} (expected 200)"
    return Glance(where, what, advice, is_lasting, has_answered=True)


async def look(where: ProbeTarget, addresses: list[str], trust: ssl.SSLContext | None) -> Glance:
    """Take one look; of several addresses the first that lets us connect counts."""
    if not addresses:
        return Glance(where, "could not be reached: its host name is not known")
    refused = _REFUSED
    for address in addresses:
        connection = await _connected(where, address)
        if isinstance(connection, OSError):
            if not isinstance(connection, ConnectionRefusedError) and connection.strerror:
                refused = f"could not be reached: {connection.strerror.lower()}"
            continue
        return await _asked(where, connection, trust)
    return Glance(where, refused, _ADVICE_REFUSED if refused is _REFUSED else "")


_REFUSED: Final = "refused the connection"
_ADVICE_REFUSED: Final = "; does the server listen at that address and port?"


async def _asked(
    where: ProbeTarget, connection: socket.socket, trust: ssl.SSLContext | None
) -> Glance:
    try:
        reader, writer = await asyncio.open_connection(
            sock=connection,
            limit=_LONGEST_LINE,
            ssl=trust,
            server_hostname=None if trust is None else where.host,
        )
    except OSError as error:
        connection.close()
        return _broken(where, error)
    try:
        writer.write(where.request)
        return answered(where, await reader.readline())
    except ValueError:  # a line without end
        return answered(where, b"?")
    except OSError as error:
        return _broken(where, error)
    finally:
        writer.close()


def _broken(where: ProbeTarget, error: OSError) -> Glance:
    if isinstance(error, ssl.SSLError):
        why = getattr(error, "verify_message", "") or error.reason or "unknown"
        said = str(why).lower().replace("_", " ")
        return Glance(where, f"failed the TLS handshake ({said})", is_lasting=True)
    return Glance(where, _NO_ANSWER)


async def _connected(where: ProbeTarget, address: str) -> socket.socket | OSError:
    """Connect without the resolver: nearly all looks end here, so a refusal has to be cheap."""
    found: tuple[str, int] | str = (address, where.port)
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    if where.socket_path:
        family, found = socket.AF_UNIX, name_of(address)
    try:
        connection = socket.socket(family, socket.SOCK_STREAM)
    except OSError as error:
        return error  # the machine does not have this family, or we have no descriptor left
    connection.settimeout(0)
    try:
        await asyncio.get_running_loop().sock_connect(connection, found)
    except OSError as error:
        connection.close()
        return error
    except BaseException:
        connection.close()
        raise
    return connection


async def addresses_of(where: ProbeTarget) -> list[str]:
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


async def until_ready(where: ProbeTarget, note: Callable[[Glance], None]) -> None:
    """Return as soon as the endpoint answers 200; look for as long as it takes.

    `note` hears what each look saw.
    """
    clock = asyncio.get_running_loop().time
    began = clock()
    trust = ssl.create_default_context() if where.tls else None
    addresses: list[str] = []
    while True:
        addresses = addresses or await addresses_of(where)
        deadline = deadline_after(clock() - began)
        try:
            async with asyncio.timeout(deadline):
                glance = await look(where, addresses, trust)
        except TimeoutError:
            glance = Glance(where, f"gave no answer within {deadline:.1f} s")
        note(glance)
        if glance.is_ready:
            return
        await asyncio.sleep(pause_after(clock() - began))
