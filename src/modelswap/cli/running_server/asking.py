"""Asks a running server over HTTP, for the commands that show what it says.

Guarantees: what goes wrong is one line on standard error and exit code 1. The key is in no message.
"""

from __future__ import annotations

import http.client
import json
import socket
import ssl
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeVar
from urllib.parse import SplitResult, urlencode, urlsplit

import click

from modelswap.cli.commands import Option
from modelswap.cli.terminal import fail
from modelswap.units import Seconds

from .finding import front_options, running_front

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from modelswap.launch.local.fronts import RunningFront

_Function = TypeVar("_Function", bound="Callable[..., Any]")

KEY: Final = "MODELSWAP_API_KEY"
ADDRESS: Final = "MODELSWAP_URL"
_TIMEOUT: Final = Seconds(30.0)
"""For an answer that the server has at once; a busy disk may delay it."""
_ANYWHERE: Final = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - an address to connect to instead
"""Where a server is reached that listens on all interfaces."""
_OK: Final = 200  # HTTP status


def server_options(command: _Function) -> _Function:
    """Add the options that say which server is asked, and with which key."""
    command = click.option(
        "--json", "is_json", is_flag=True, help="Print the server's answer as it is."
    )(command)
    command = click.option(
        "--api-key",
        metavar="KEY",
        envvar=KEY,
        help=f"A key with the scope read.  [default: ${KEY}]",
        cls=Option,
    )(command)
    command = click.option(
        "--url",
        metavar="URL",
        envvar=ADDRESS,
        help=f"The server's address, such as https://host:8443.  [default: ${ADDRESS}, else the server "
        "that runs here]",
        cls=Option,
    )(command)
    return front_options(command)


@dataclass(frozen=True, kw_only=True)
class Server:
    """Which server a command asks; as its options say."""

    name: str
    """Of the command, for messages."""
    url: str | None
    api_key: str | None
    listen: str | None
    config: Path | None
    state_dir: Path | None

    def ask(self, path: str, query: Mapping[str, object]) -> Any:
        """Return the JSON of the answer, or exit and say why there is none."""
        connection, prefix, shown = self._connection()
        headers = {"Accept": "application/json"}
        if self.api_key:
            headers["Authorization"] = f"Bearer {self.api_key}"
        try:
            connection.request("GET", f"{prefix}{path}?{urlencode(query)}", headers=headers)
            response = connection.getresponse()
            body = response.read()
        except (OSError, http.client.HTTPException) as error:
            why = str(error) or type(error).__name__
            fail(f"modelswap {self.name}: {shown} does not answer: {why}{self._hint()}")
        except UnicodeEncodeError:
            fail(f"modelswap {self.name}: the key holds characters that no header can hold")
        finally:
            connection.close()
        try:
            found = json.loads(body)
        except ValueError:
            found = None
        if response.status != _OK:
            fail(f"modelswap {self.name}: {_reason(response.status, found, shown)}")
        if found is None:
            fail(f"modelswap {self.name}: {shown} answered with something that is no JSON")
        return found

    def _hint(self) -> str:
        return "" if self.url else f"; with TLS, say where it is: --url https://… or ${ADDRESS}"

    def _connection(self) -> tuple[http.client.HTTPConnection, str, str]:
        """Return a connection, what stands before each path, and the address as text."""
        if self.url:
            return self._to_url(self.url)
        front = running_front(self.name, self.listen, self.config, self.state_dir)
        return _to_front(front), "", front.listen

    def _to_url(self, url: str) -> tuple[http.client.HTTPConnection, str, str]:
        parts = urlsplit(url)
        port = _port(parts)
        if parts.scheme not in {"http", "https"} or not parts.hostname or port == 0:
            expected = "expected http://HOST:PORT or https://HOST:PORT"
            fail(f"modelswap {self.name}: --url {url!r}: {expected}")
        prefix = parts.path.rstrip("/")
        shown = f"{parts.scheme}://{parts.hostname}" + ("" if port is None else f":{port}")
        if parts.scheme == "http":
            return http.client.HTTPConnection(parts.hostname, port, timeout=_TIMEOUT), prefix, shown
        context = ssl.create_default_context()
        connection = http.client.HTTPSConnection(
            parts.hostname, port, timeout=_TIMEOUT, context=context
        )
        return connection, prefix, shown


def _port(parts: SplitResult) -> int | None:
    """Return the port of a URL; 0: it is none."""
    try:
        return parts.port
    except ValueError:
        return 0


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=_TIMEOUT)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def _to_front(front: RunningFront) -> http.client.HTTPConnection:
    from modelswap.app.options import parse_listen  # noqa: PLC0415 - with --url it is not needed

    address = parse_listen(front.listen, tls=False)
    if address.socket_path:
        return _UnixConnection(address.socket_path)
    host = _ANYWHERE.get(address.host, address.host)
    return http.client.HTTPConnection(host, address.port, timeout=_TIMEOUT)


def _reason(status: int, found: Any, shown: str) -> str:
    """Say why the server refused."""
    try:
        said = str(found["error"]["message"])
    except (KeyError, TypeError):
        said = f"{shown} answered {status}"
    if status == 401:  # noqa: PLR2004 - HTTP: a key is needed, or a right one
        return f"{said}; give a key with --api-key or ${KEY}"
    return said
