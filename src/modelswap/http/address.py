"""Where an upstream is: a parsed `http(s)://host:port/base?query`.

Law: an address is checked once, when it is read, and never again. It refuses
credentials in the URL, fragments, and everything that could end up as a
second line in a request.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import urlsplit

_PORTS = {"http": 80, "https": 443}
_VISIBLE = re.compile(r"[\x21-\x7e]+")
_MAX_PORT = 65535


@dataclass(frozen=True, slots=True)
class Address:
    scheme: str
    host: str
    """Without brackets, also for IPv6."""
    port: int
    base_path: str = ""
    """Prefix of every path, without a slash at its end."""
    query: str = ""

    @classmethod
    def parse(cls, url: str) -> Address:
        """Read a URL; raise ValueError that says what is wrong with it."""
        if not _VISIBLE.fullmatch(url):
            raise ValueError(
                "the address holds spaces, control or non-ASCII characters, or is empty"
            )
        parts = urlsplit(url)
        if parts.scheme not in _PORTS:
            raise ValueError("the address must start with http:// or https://")
        if not parts.hostname:
            raise ValueError("the address names no host")
        if parts.username is not None or parts.password is not None:
            raise ValueError("the address must not hold a user name or password")
        if parts.fragment:
            raise ValueError("the address must not hold a fragment (#…)")
        return cls(
            scheme=parts.scheme,
            host=parts.hostname,
            port=_port(parts.port, parts.scheme),
            base_path=parts.path.rstrip("/"),
            query=parts.query,
        )

    @property
    def authority(self) -> str:
        """What belongs into `Host`: the port is left out where it is the scheme's own."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS[self.scheme] else f"{host}:{self.port}"

    def join(self, path: str, query: str = "") -> bytes:
        """Make the target of a request: base path + `path`, own query before `query`."""
        whole = self.base_path + path
        query = "&".join(part for part in (self.query, query) if part)
        return f"{whole}?{query}".encode("ascii") if query else whole.encode("ascii")


def _port(port: int | None, scheme: str) -> int:
    if port is None:
        return _PORTS[scheme]
    if not 0 < port <= _MAX_PORT:
        raise ValueError("the port must be between 1 and 65535")
    return port
