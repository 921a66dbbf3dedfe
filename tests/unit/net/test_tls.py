"""TLS that is loaded after the loop: in a process of its own, as a program that started without it."""

from __future__ import annotations

import asyncio
import ssl
import subprocess
import sys
from typing import TYPE_CHECKING, Final

import pytest
import trustme

from support.sockets import serving

if TYPE_CHECKING:
    from pathlib import Path

    from modelswap.http import Exchange

CLIENT: Final = """
import sys
from modelswap.net import tls

tls.import_asyncio()
import asyncio
{loop}
assert {has_ssl} is ("_ssl" in sys.modules)
port, name, authority = sys.argv[1:]

async def main():
    context = await asyncio.to_thread(tls.default_context)
    if authority:
        context.load_verify_locations(authority)
    reader = asyncio.StreamReader()
    transport, protocol = await tls.create_connection(
        asyncio.get_running_loop(),
        lambda: asyncio.StreamReaderProtocol(reader),
        context,
        server_hostname=name,
        handshake_timeout=5.0,
        host="127.0.0.1",
        port=port,
    )
    assert transport.get_extra_info("cipher")
    body = b"!" * 1_000_000
    transport.write(b"POST / HTTP/1.1\\r\\nHost: a\\r\\nContent-Length: 1000000\\r\\n\\r\\n" + body)
    await reader.readuntil(b"\\r\\n\\r\\n")
    assert await reader.readexactly(1_000_005) == b"https" + body
    transport.close()
    print("served")

asyncio.Runner(loop_factory=new_loop).run(main())
"""
MISTAKEN: Final = """
from modelswap.net import tls

tls.import_asyncio()
import asyncio

class Writing(asyncio.Protocol):
    def connection_made(self, transport):
        transport.write(b"to be encrypted")

loop = tls.import_uvloop(is_tls_used=False).new_event_loop()
call = loop.{call}(Writing, "127.0.0.1", {port}, ssl=tls.default_context())
try:
    loop.run_until_complete(call)
except Exception as error:
    print("refused", repr(error))
"""
LOOPS: Final = {
    "uvloop without ssl": (
        "new_loop = tls.import_uvloop(is_tls_used=False).new_event_loop",
        False,
    ),
    "uvloop with ssl": ("new_loop = tls.import_uvloop(is_tls_used=True).new_event_loop", True),
    "asyncio's": ("new_loop = None", False),
}


def said_by_client(code: str, *arguments: object) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.stdout + done.stderr


@pytest.fixture(params=LOOPS)
def client(request: pytest.FixtureRequest) -> str:
    if "uvloop" in request.param:
        pytest.importorskip("uvloop")
    loop, has_ssl = LOOPS[request.param]
    return CLIENT.format(loop=loop, has_ssl=has_ssl)


def echo(exchange: Exchange) -> None:
    exchange.read_body(
        lambda body: exchange.reply(200, [], exchange.request.scheme.encode() + body)
    )


async def test_a_loop_speaks_tls_that_is_loaded_later(client: str, tmp_path: Path) -> None:
    """Both ways, a megabyte."""
    authority = trustme.CA()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("engine.test").configure_cert(context)
    authority.cert_pem.write_to_path(tmp_path / "authority.pem")
    async with serving(echo, ssl_context=context) as (_, port):
        said = await asyncio.to_thread(
            said_by_client, client, port, "engine.test", tmp_path / "authority.pem"
        )
        assert said == "served\n"


@pytest.mark.parametrize(("name", "is_trusted"), [("engine.test", False), ("other.test", True)])
async def test_a_server_that_is_not_trusted_gets_nothing(
    client: str, tmp_path: Path, name: str, *, is_trusted: bool
) -> None:
    """Neither by an unknown authority nor for another name."""
    authority = trustme.CA()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("engine.test").configure_cert(context)
    authority.cert_pem.write_to_path(tmp_path / "authority.pem")
    trusted = tmp_path / "authority.pem" if is_trusted else ""
    async with serving(echo, ssl_context=context) as (_, port):
        said = await asyncio.to_thread(said_by_client, client, port, name, trusted)
        assert "SSLCertVerificationError" in said
        assert "served" not in said


async def test_uvloop_refuses_tls_of_its_own_where_it_has_none() -> None:
    """A mistake in this program ends in an error, never in plain text."""
    pytest.importorskip("uvloop")
    received = list[bytes]()

    async def reading(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        received.append(await reader.read())
        writer.close()

    async with await asyncio.start_server(reading, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        for call, to in (("create_server", 0), ("create_connection", port)):
            said = await asyncio.to_thread(said_by_client, MISTAKEN.format(call=call, port=to))
            assert said.startswith("refused")
    assert b"".join(received) == b""
