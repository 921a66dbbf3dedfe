"""Probes a server: it is ready when its check endpoint answers exactly 200.

The first probe is immediate; `probe_pace` says when the others follow. Each probe has its own deadline, so
an endpoint that accepts and never answers cannot use up the whole time.

Does not: decide how long to go on; the caller cancels.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from dataclasses import field
from typing import TYPE_CHECKING, Final

from modelswap.core.failure import ProbeObservation
from modelswap.deferred import dataclass
from modelswap.net.address import Address, is_unix, split_url
from modelswap.net.tls import create_connection, default_context
from modelswap.net.unix_sockets import name_of
from modelswap.units import Seconds

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable

    from .probe_pace import ProbePace

MIN_DEADLINE: Final = Seconds(1.0)
"""A health endpoint answers within milliseconds, unless the server is busy loading."""
MAX_DEADLINE: Final = Seconds(5.0)
"""Some servers answer their health between two long steps of loading."""
_MAX_LINE: Final = 4096
"""Bytes of a status line; more is not HTTP."""
_CONNECTED: Final = frozenset({0, errno.EISCONN})
_UNDECIDED: Final = frozenset({errno.EINPROGRESS, errno.EALREADY, errno.EAGAIN, errno.EINTR})


def deadline_after(waited: float) -> Seconds:
    """Return how long one probe may take; slow endpoints get more as time goes by."""
    return Seconds(min(max(waited / 4, MIN_DEADLINE), MAX_DEADLINE))


@dataclass(frozen=True, slots=True)
class ProbeTarget:
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
        unix = Address.parse(url)
        path = _joined(unix.base_path, check)
        where = unix.socket_path
        return ProbeTarget(
            unix.host, 0, path, unix.authority, tls=False, key=key, socket_path=where
        )
    parts = split_url(url)
    if parts.scheme not in {"http", "https"} or not parts.host:
        raise ValueError("not an http or https URL")
    path = _joined(parts.path.rstrip("/"), check)
    tls = parts.scheme == "https"
    port = parts.port if parts.port is not None else (443 if tls else 80)
    return ProbeTarget(parts.host, port, path, parts.authority, tls, key)


def _joined(base: str, check: str) -> str:
    path = f"{base}/{check.lstrip('/')}"
    if any(c <= " " or c == "\x7f" for c in path):
        raise ValueError("the check endpoint holds a space or a control character")
    return path


@dataclass(frozen=True, slots=True)
class ProbeResult:
    target: ProbeTarget
    text: str
    """What the endpoint did, as the rest of a sentence; empty: it answered 200."""
    advice: str = ""
    is_lasting: bool = False
    has_answered: bool = False
    """It spoke HTTP, so a server listens where it should."""
    was_accepted: bool = True
    """Something listens there, whatever it did then."""

    @property
    def is_ready(self) -> bool:
        return not self.text

    def as_observation(self) -> ProbeObservation:
        """Put it into a sentence, with and without the address; a query may hold a secret."""
        end = f"last {self.text}{self.advice}"
        target = self.target
        path, mark, _ = target.path.partition("?")
        path += "?…" if mark else ""
        scheme = "https" if target.tls else "http"
        url = f"{scheme}://{target.authority}{path}"
        if target.socket_path:
            url = f"{path} of unix:{target.socket_path}"
        said = f"the check endpoint {path} {end}"
        return ProbeObservation(f"the check endpoint {url} {end}", said, self.is_lasting)


_NO_ANSWER: Final = "closed the connection without an answer"
_REFUSED: Final = "refused the connection"
_ADVICE_REFUSED: Final = "; does the server listen at that address and port?"
_ADVICE: Final = {
    401: "; it wants a key: set the model's `apiKey`, or `checkEndpoint: none`",
    403: "; it wants a key: set the model's `apiKey`, or `checkEndpoint: none`",
    429: "",
    503: "; it is still loading, or `healthCheckTimeout` is too short",
}
_SET_ENDPOINT: Final = "; set `checkEndpoint` to a path that answers 200, or to `none`"
_PASSING: Final = frozenset({408, 425, 429})
"""Status codes that ask for a later try."""


def judge(target: ProbeTarget, status_line: bytes) -> ProbeResult:
    version, _, rest = status_line.strip().partition(b" ")
    code = rest[:3]
    is_http = version in {b"HTTP/1.1", b"HTTP/1.0"} and code.isdigit() and not rest[3:4].isdigit()
    if not status_line:
        return ProbeResult(target, _NO_ANSWER)
    if not is_http:
        return ProbeResult(target, "answered, but not in HTTP", is_lasting=True)
    status = int(code)
    if status == 200:  # noqa: PLR2004 -- the one status that means ready
        return ProbeResult(target, "")
    is_lasting = 200 < status < 500 and status not in _PASSING  # noqa: PLR2004 -- the classes of HTTP
    redirect = ", a redirect" if 300 <= status < 400 else ""  # noqa: PLR2004 -- the class of redirects
    advice = _ADVICE.get(status, _SET_ENDPOINT if is_lasting else "")
    what = f"answered {status}{redirect} (expected 200)"
    return ProbeResult(target, what, advice, is_lasting, has_answered=True)


async def probe_once(
    target: ProbeTarget,
    addresses: list[str],
    trust: ssl.SSLContext | None,
    on_sent: Callable[[], object] = lambda: None,
) -> ProbeResult:
    """Probe once; of several addresses the first that accepts a connection counts.

    *on_sent* is called when a connection was accepted and the request is on its way.
    """
    if not addresses:
        return ProbeResult(
            target, "could not be reached: its host name is not known", was_accepted=False
        )
    refused = _REFUSED
    for address in addresses:
        connection = await _connect(target, address)
        if isinstance(connection, OSError):
            if not isinstance(connection, ConnectionRefusedError) and connection.strerror:
                refused = f"could not be reached: {connection.strerror.lower()}"
            continue
        return await _request_once(target, connection, trust, on_sent)
    advice = _ADVICE_REFUSED if refused is _REFUSED else ""
    return ProbeResult(target, refused, advice, was_accepted=False)


async def _request_once(
    target: ProbeTarget,
    connection: socket.socket,
    trust: ssl.SSLContext | None,
    on_sent: Callable[[], object],
) -> ProbeResult:
    try:
        reader, writer = await _streams(target, connection, trust)
    except OSError as error:
        connection.close()
        return _failed(target, error)
    try:
        writer.write(target.request)
        on_sent()
        return judge(target, await reader.readline())
    except ValueError:  # a line without end
        return judge(target, b"?")
    except OSError as error:
        return _failed(target, error)
    finally:
        writer.close()


async def _streams(
    target: ProbeTarget, connection: socket.socket, trust: ssl.SSLContext | None
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Do what `asyncio.open_connection` does."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=_MAX_LINE, loop=loop)
    protocol = asyncio.StreamReaderProtocol(reader, loop=loop)
    transport, _ = await create_connection(
        loop, lambda: protocol, trust, server_hostname=target.host, sock=connection
    )
    return reader, asyncio.StreamWriter(transport, protocol, reader, loop)


def _failed(target: ProbeTarget, error: OSError) -> ProbeResult:
    reason: object = getattr(error, "reason", None)
    if target.tls and hasattr(error, "reason"):  # an `ssl.SSLError`
        said = (
            str(getattr(error, "verify_message", "") or reason or "unknown")
            .lower()
            .replace("_", " ")
        )
        return ProbeResult(target, f"failed the TLS handshake ({said})", is_lasting=True)
    return ProbeResult(target, _NO_ANSWER)


async def _connect(target: ProbeTarget, address: str) -> socket.socket | OSError:
    """Connect without the resolver; nearly all probes end here, so a refusal has to be cheap."""
    found: tuple[str, int] | str = (address, target.port)
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    if target.socket_path:
        family, found = socket.AF_UNIX, name_of(address)
    try:
        connection = socket.socket(family, socket.SOCK_STREAM)
    except OSError as error:
        return error  # the machine does not have this family, or no descriptor is left
    connection.settimeout(0)
    try:
        if not _is_connected_at_once(connection, found):
            await asyncio.get_running_loop().sock_connect(connection, found)
    except BaseException as error:
        connection.close()
        if isinstance(error, OSError):
            return error
        raise
    return connection


def _is_connected_at_once(connection: socket.socket, address: tuple[str, int] | str) -> bool:
    """Connect within this machine; raise `OSError` when it is refused. `False`: that is not known yet.

    Linux decides at once within the machine, and says so at the second attempt.
    """
    code = connection.connect_ex(address)
    if code == errno.EINPROGRESS:
        code = connection.connect_ex(address)
    if code in _UNDECIDED:
        return False
    if code not in _CONNECTED:
        raise OSError(code, os.strerror(code))
    return True


async def addresses_of(target: ProbeTarget) -> list[str]:
    """Resolve once: a probe every few milliseconds must not ask the resolver each time."""
    if target.socket_path:
        return [target.socket_path]
    if target.host == "localhost":
        return ["127.0.0.1", "::1"]
    try:
        infos = await asyncio.get_running_loop().getaddrinfo(
            target.host, target.port, type=socket.SOCK_STREAM
        )
    except (OSError, UnicodeError):
        return []
    return list(dict.fromkeys(str(info[4][0]) for info in infos))


async def wait_until_ready(
    target: ProbeTarget,
    on_sent: Callable[[], object],
    on_result: Callable[[ProbeResult], None],
    pace: ProbePace,
) -> None:
    """Return as soon as the endpoint answers 200; give the result of each probe to `on_result`."""
    clock = asyncio.get_running_loop().time
    began = clock()
    trust = await asyncio.to_thread(default_context) if target.tls else None
    addresses: list[str] = []
    while True:
        addresses = addresses or await addresses_of(target)
        deadline = deadline_after(clock() - began)
        try:
            async with asyncio.timeout(deadline):
                result = await probe_once(target, addresses, trust, on_sent)
        except TimeoutError:
            result = ProbeResult(target, f"gave no answer within {deadline:.1f} s")
        on_result(result)
        if result.is_ready:
            return
        is_local = bool(addresses) and (target.is_loopback or bool(target.socket_path))
        await pace.pause(was_accepted=result.was_accepted, is_local=is_local)
