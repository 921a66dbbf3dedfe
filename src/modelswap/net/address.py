"""The address of an upstream: a parsed `http(s)://host:port/base?query`, or a Unix socket.

Guarantees: an address is checked once, when it is parsed.
Does not: accept credentials in the URL, fragments, or anything that could become a second line in a
request; connect to anything.

A Unix socket is spelled as Docker, nginx and requests-unixsocket do: `unix:/run/a.sock`,
`unix:///run/a.sock`, `http://unix:/run/a.sock`, each with `:/base` behind it where paths need a
prefix, and `http+unix://%2Frun%2Fa.sock/base`. `@name` is a name in Linux' abstract namespace.
"""

from __future__ import annotations

import re
from dataclasses import field
from functools import lru_cache
from typing import Final
from urllib.parse import SplitResult, unquote, urlsplit

from modelswap.deferred import dataclass, regex
from modelswap.units import Bytes

DEFAULT_PORTS: Final = {"http": 80, "https": 443}
_VISIBLE = regex(r"[\x21-\x7e]+")
LAST_PORT: Final = 65_535  # the last port of TCP
_UNIX = regex(r"(http://|https://)?unix:(.*)", re.DOTALL | re.IGNORECASE)
_ENCODED_UNIX = regex(
    r"(https?)(?:\+unix://([^/?#]*)|://(%2f[^/?#]*))(.*)", re.DOTALL | re.IGNORECASE
)
_TCP_PORT = regex(r"[0-9]{1,5}(?:[/?].*)?", re.DOTALL)
_LONGEST_PATH = Bytes(107)
"""Of a Unix socket's path that every system takes: Linux has 108 with the NUL at the end."""


@dataclass(frozen=True, slots=True)
class UrlParts:
    """A URL in its parts; nothing is checked but the syntax."""

    scheme: str
    """In small letters."""
    authority: str
    """Host and port as written, without a user name."""
    host: str
    """In small letters, without brackets; empty where none is given."""
    path: str
    query: str
    fragment: str
    has_credentials: bool
    _split: SplitResult = field(repr=False)

    @property
    def port(self) -> int | None:
        """The port as written; raise ValueError where it is none."""
        return self._split.port

    @property
    def effective_port(self) -> int | None:
        """The port, or the scheme's own where none is given."""
        return self.port or DEFAULT_PORTS.get(self.scheme)


@lru_cache(maxsize=4096)  # as many URLs as a large configuration and its clients use
def split_url(url: str) -> UrlParts:
    """Split a URL; raise ValueError where its brackets are none."""
    parts = urlsplit(url)
    return UrlParts(
        scheme=parts.scheme,
        authority=parts.netloc.rpartition("@")[2],
        host=parts.hostname or "",
        path=parts.path,
        query=parts.query,
        fragment=parts.fragment,
        has_credentials=parts.username is not None,
        _split=parts,
    )


@dataclass(frozen=True, slots=True)
class Address:
    scheme: str
    host: str
    """Without brackets, also for IPv6; `localhost` for a Unix socket."""
    port: int
    base_path: str = ""
    """Prefix of every path, without a slash at its end."""
    query: str = ""
    socket_path: str = ""
    """Of a Unix socket; empty for TCP."""

    @classmethod
    def parse(cls, url: str) -> Address:
        """Parse a URL; raise ValueError that says what is wrong with it."""
        found = _unix_parts(url)
        if found is not None:
            return _unix_address(*found)
        if not _VISIBLE.fullmatch(url):
            raise ValueError(
                "the address holds spaces, control or non-ASCII characters, or is empty"
            )
        parts = split_url(url)
        if parts.scheme not in DEFAULT_PORTS:
            raise ValueError("the address must start with http://, https:// or unix:/")
        if not parts.host:
            raise ValueError("the address names no host")
        if parts.has_credentials:
            raise ValueError("the address must not hold a user name or password")
        if parts.fragment:
            raise ValueError("the address must not hold a fragment (#…)")
        port = DEFAULT_PORTS[parts.scheme] if parts.port is None else parts.port
        if not 0 < port <= LAST_PORT:
            raise ValueError("the port must be between 1 and 65535")
        return cls(
            scheme=parts.scheme,
            host=parts.host,
            port=port,
            base_path=parts.path.rstrip("/"),
            query=parts.query,
        )

    @property
    def authority(self) -> str:
        """The value of `Host`: without the port when it is the scheme's default."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"

    def join(self, path: str, query: str = "") -> bytes:
        """Make the target of a request: base path + `path`, own query before `query`."""
        whole = self.base_path + path
        query = "&".join(part for part in (self.query, query) if part)
        return f"{whole}?{query}".encode("ascii") if query else whole.encode("ascii")


def is_unix(url: str) -> bool:
    return _unix_parts(url) is not None


def socket_path_problem(path: str) -> str:
    """Say what is wrong with the path of a Unix socket; empty when nothing is."""
    if not path.startswith(("/", "@")):
        return f"a Unix socket whose path is not absolute: {path!r}"
    if path in {"/", "@"} or path.endswith("/"):
        return f"a Unix socket without a name: {path!r}"
    if not path.isprintable():
        return "a Unix socket whose path holds control characters"
    length = len(path.encode("utf-8", "surrogateescape"))
    if length > _LONGEST_PATH:
        return f"a Unix socket whose path has {length} bytes; {_LONGEST_PATH} is the most"
    return ""


def _unix_parts(url: str) -> tuple[str, str, str] | None:
    """Return scheme, socket path and the rest, for an address that means a Unix socket."""
    encoded = _ENCODED_UNIX.fullmatch(url)
    if encoded is not None:
        scheme, path, other, rest = encoded.groups("")
        return scheme.lower(), unquote(path or other), rest
    found = _UNIX.fullmatch(url)
    if found is None or _TCP_PORT.fullmatch(found[2]):
        return None  # `unix:8080` is port 8080 of a machine of that name
    scheme = (found[1] or "http://").partition(":")[0].lower()
    path, colon, rest = found[2].removeprefix("//").partition(":/")
    return scheme, path.removesuffix(":"), "/" + rest if colon else ""


def _unix_address(scheme: str, path: str, rest: str) -> Address:
    if scheme != "http":
        raise ValueError("TLS to a Unix socket, which is not supported: write unix:/path")
    wrong = socket_path_problem(path)
    if wrong:
        raise ValueError(wrong)
    if rest and not _VISIBLE.fullmatch(rest):
        raise ValueError("a Unix socket with spaces or non-ASCII characters in the path behind it")
    if "#" in rest:
        raise ValueError("an address with a fragment (#…)")
    base, _, query = rest.partition("?")
    return Address("http", "localhost", DEFAULT_PORTS["http"], base.rstrip("/"), query, path)
