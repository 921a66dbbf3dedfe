"""TLS that is loaded when a connection needs it: OpenSSL costs 5 MB, and 10 ms of the start.

asyncio and uvloop import `ssl` whether it will be used or not. Here they find something else in its place.
uvloop keeps that: its own TLS is not usable then, and connections get asyncio's.

Guarantees: what is to be encrypted is encrypted, or it is refused.
Does not: change a process that has imported `ssl`, or uvloop, before.
"""

from __future__ import annotations

import sys
from importlib import import_module, reload
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final, TypeVar

if TYPE_CHECKING:
    import asyncio
    import ssl
    from collections.abc import Callable

_Protocol = TypeVar("_Protocol", bound="asyncio.BaseProtocol")


class _MissingError(Exception):
    """Stands for what uvloop needs for TLS: its classes of errors, and what it calls."""

    def __init__(self, *_args: object, **_named: object) -> None:
        super().__init__("uvloop was imported without TLS")


_AT_IMPORT: Final[dict[str, object]] = {
    **dict.fromkeys(
        (
            "CertificateError", "MemoryBIO", "SSLContext", "SSLError", "SSLSyscallError",
            "SSLWantReadError", "SSLZeroReturnError", "create_default_context",
        ),
        _MissingError,
    ),
    "SSL_ERROR_SYSCALL": 5,  # numbers of OpenSSL
    "SSL_ERROR_WANT_READ": 2,
    "SSL_ERROR_WANT_WRITE": 3,
}  # fmt: skip
"""What both take out of `ssl` when they are imported."""


class _Later(ModuleType):
    """Stands in for `ssl` at an import; later, what is asked of it is the module's."""

    is_in_uvloop = False

    def __getattr__(self, name: str) -> object:
        if name.startswith("__"):
            raise AttributeError(name)
        is_importing = sys.modules.get("ssl") is self
        if is_importing and name in _AT_IMPORT:
            return _AT_IMPORT[name]
        if is_importing:
            del sys.modules["ssl"]  # another version of uvloop: it gets the module
        import ssl  # noqa: PLC0415 - the point of this module

        return getattr(ssl, name)


_LATER: Final = _Later("ssl")


class _Without:
    """While this is open, who imports `ssl` for the first time gets the stand-in."""

    def __enter__(self) -> None:
        sys.modules.setdefault("ssl", _LATER)

    def __exit__(self, *_: object) -> None:
        if sys.modules.get("ssl") is _LATER:
            del sys.modules["ssl"]


def import_asyncio() -> None:
    with _Without():
        import_module("asyncio")


def import_uvloop(*, is_tls_used: bool) -> ModuleType:
    """Return it, with TLS of its own if *is_tls_used*. May raise ImportError."""
    if is_tls_used:
        load()
    is_first = "uvloop" not in sys.modules and "ssl" not in sys.modules
    try:
        with _Without():
            import uvloop  # noqa: PLC0415 - not there on every system
    except ImportError:
        load()  # the loop will be asyncio's
        raise
    _LATER.is_in_uvloop = is_first
    return uvloop


def load() -> None:
    """Import `ssl`, and let asyncio have it. It takes some 10 ms."""
    import_module("ssl")
    from asyncio import sslproto  # noqa: PLC0415 - as above

    if vars(sslproto)["ssl"] is _LATER:
        reload(sslproto)


def default_context() -> ssl.SSLContext:
    """Return a context that trusts whom this system trusts. It takes tens of milliseconds: call it in a thread."""
    load()
    import ssl  # noqa: PLC0415 - as above

    return ssl.create_default_context()


async def create_connection(
    loop: asyncio.AbstractEventLoop,
    factory: Callable[[], _Protocol],
    context: ssl.SSLContext | None,
    *,
    server_hostname: str | None,
    handshake_timeout: float | None = None,
    **to: Any,
) -> tuple[asyncio.Transport, _Protocol]:
    """Do what `loop.create_connection` does, on every loop; without a context there is no TLS."""
    if context is None:
        return await loop.create_connection(factory, **to)
    if not _LATER.is_in_uvloop:
        tls: dict[str, Any] = {"ssl": context, "server_hostname": server_hostname}
        return await loop.create_connection(
            factory, **tls, ssl_handshake_timeout=handshake_timeout, **to
        )
    load()
    from asyncio import sslproto  # noqa: PLC0415 - it may have been loaded anew

    protocol = factory()
    is_shaken = loop.create_future()
    untyped: Any = sslproto  # typeshed: a timeout is a whole number
    encrypted = untyped.SSLProtocol(
        loop,
        protocol,
        context,
        is_shaken,
        server_hostname=server_hostname,
        ssl_handshake_timeout=handshake_timeout,
    )
    transport, _ = await loop.create_connection(lambda: encrypted, **to)
    try:
        await is_shaken
    except BaseException:
        transport.close()
        raise
    return encrypted._get_app_transport(), protocol  # noqa: SLF001 - asyncio's own loops do this
