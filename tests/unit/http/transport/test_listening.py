"""Where the server listens: what is understood, what is bound, and what is said when it cannot be."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING

import pytest

from modelswap.config.schema.schema_root import Limits
from modelswap.http import Server
from modelswap.http.transport.listening import ListenAddress, ListenError, bound
from support.sockets import error, get, read_answer

if TYPE_CHECKING:
    from pathlib import Path

    from modelswap.http import Exchange


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("127.0.0.1:8080", ListenAddress("127.0.0.1", 8080)),
        (":8080", ListenAddress("", 8080)),
        ("0.0.0.0:0", ListenAddress("0.0.0.0", 0)),
        ("[::]:8080", ListenAddress("::", 8080)),
        ("[::1]:8080", ListenAddress("::1", 8080)),
        ("[fe80::1%lo]:80", ListenAddress("fe80::1%lo", 80)),
        ("localhost:65535", ListenAddress("localhost", 65535)),
        ("my_host.example.:80", ListenAddress("my_host.example.", 80)),
        ("unix:/run/m.sock", ListenAddress("", 0, "/run/m.sock")),
        ("unix:///run/m.sock", ListenAddress("", 0, "/run/m.sock")),
        ("UNIX:/run/m.sock", ListenAddress("", 0, "/run/m.sock")),
        ("unix:/run/a b:8080", ListenAddress("", 0, "/run/a b:8080")),
        ("unix:@m", ListenAddress("", 0, "@m")),
    ],
)
def test_an_address_is_understood(text: str, meant: ListenAddress) -> None:
    """Go's and Docker's spellings."""
    assert ListenAddress.parse(text) == meant


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", "no port"),
        ("nonsense", "no port"),
        ("127.0.0.1", "no port"),
        ("[::1]", "no port"),
        ("127.0.0.1:", "no port behind the colon"),
        ("8080", "write :8080"),
        ("::1:80", "IPv6 address without brackets"),
        ("::", "IPv6 address without brackets"),
        ("a:b:80", "'a:b', which has a colon but no brackets"),
        ("[::1:80", "'[::1', which is not an IPv6 address in brackets"),
        ("::1]:80", "which is not an IPv6 address in brackets"),
        ("[nonsense]:80", "which is not an IPv6 address in brackets"),
        ("[127.0.0.1]:80", "which is not an IPv6 address in brackets"),
        ("256.1.1.1:80", "'256.1.1.1', which is not an IPv4 address"),
        ("127.1:80", "'127.1', which is not an IPv4 address"),
        ("..:80", "which is not an IPv4 address"),
        ("foo bar:80", "'foo bar', which is neither an address nor a name"),
        (" 127.0.0.1:80", "neither an address nor a name"),
        ("a..b:80", "neither an address nor a name"),
        ("-a:80", "neither an address nor a name"),
        ("*:80", "neither an address nor a name"),
        ("a\nb:80", "'a\\nb', which is neither"),
        ("b\u00fccher.de:80", "neither an address nor a name"),
        ("a" * 64 + ":80", "neither an address nor a name"),
        ("a." * 130 + "a:80", "neither an address nor a name"),
        ("host:99999", "the port 99999, which is above 65535"),
        ("host:65536", "above 65535"),
        ("host:" + "9" * 5000, "above 65535"),
        ("host:-1", "'-1', which is not a number"),
        ("host:+80", "'+80', which is not a number"),
        ("host:http", "'http', which is not a number"),
        ("host:0x50", "not a number"),
        ("host:8 0", "not a number"),
        ("host:\u0663", "not a number"),
        ("http://127.0.0.1:80", "a URL"),
        ("unix:", "not absolute: ''"),
        ("unix:m.sock", "not absolute: 'm.sock'"),
        ("unix://m.sock", "not absolute: 'm.sock'"),
        ("unix:/", "without a name"),
        ("unix:/run/", "without a name"),
        ("unix:@", "without a name"),
        ("unix:/a\0b", "control characters"),
        ("unix:/" + "a" * 107, "has 108 bytes; 107 is the most"),
        ("unix:/" + "\u00fc" * 54, "has 109 bytes"),
    ],
)
def test_what_is_no_address_is_said(text: str, found: str) -> None:
    """One line that names the part that is wrong."""
    with pytest.raises(ValueError, match=r".+") as caught:
        ListenAddress.parse(text)
    assert found in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("host", "families"),
    [
        ("", {socket.AF_INET, socket.AF_INET6}),
        ("::", {socket.AF_INET, socket.AF_INET6}),
        ("0:0::0", {socket.AF_INET, socket.AF_INET6}),
        ("localhost", {socket.AF_INET, socket.AF_INET6}),
        ("0.0.0.0", {socket.AF_INET}),
        ("127.0.0.1", {socket.AF_INET}),
        ("::1", {socket.AF_INET6}),
    ],
)
async def test_every_interface_is_both_families(host: str, families: set[int]) -> None:
    """One port for all of them, also one that the system chooses; an explicit address is that alone."""
    sockets = await bound(ListenAddress(host, 0))
    try:
        assert {one.family for one in sockets} == families
        assert len({one.getsockname()[1] for one in sockets}) == 1
    finally:
        for one in sockets:
            one.close()


@pytest.mark.parametrize("host", ["", "::", "localhost"])
async def test_clients_of_both_families_are_served(host: str) -> None:
    """IPv4 clients of `[::]` are seen with their own address, not with one that is mapped to IPv6."""
    seen: list[str] = []

    def handler(exchange: Exchange) -> None:
        seen.append(exchange.request.client)
        exchange.reply(200, [])

    server = Server(handler, limits=Limits(), error=error)
    _, port = await server.bind(ListenAddress(host, 0))
    await server.accept()
    try:
        for client in ("127.0.0.1", "::1"):
            reader, writer = await asyncio.open_connection(client, port)
            writer.write(get())
            assert (await read_answer(reader))[0] == 200
            writer.close()
    finally:
        await server.close()
    assert seen == ["127.0.0.1", "::1"]


@pytest.mark.parametrize(
    ("host", "said"),
    [
        ("nosuchhost.invalid", "the name 'nosuchhost.invalid' is not known here"),
        ("1.2.3.4", "cannot assign requested address"),
        ("2001:db8::1", "cannot assign requested address"),
    ],
)
async def test_an_address_that_cannot_be_had_is_said(host: str, said: str) -> None:
    """In words, not in numbers."""
    with pytest.raises(ListenError) as caught:
        await bound(ListenAddress(host, 0))
    assert str(caught.value) == said


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
async def test_a_port_that_one_family_lacks_is_taken(family: int) -> None:
    """`[::]:P` needs both: half a port would answer with another program's voice."""
    with socket.socket(family, socket.SOCK_STREAM) as other:
        if family == socket.AF_INET6:
            other.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        other.bind(("", 0))
        other.listen()
        with pytest.raises(ListenError, match="address already in use"):
            await bound(ListenAddress("::", other.getsockname()[1]))


async def test_the_file_of_a_socket_that_was_handed_over_stays(tmp_path: Path) -> None:
    """Python 3.13 and later remove it with the server that closes."""

    def never(exchange: Exchange) -> None:
        raise AssertionError(exchange)

    path = tmp_path / "a.sock"
    server = Server(never, limits=Limits(), error=error)
    await server.bind(ListenAddress("", 0, str(path)))
    await server.accept()
    server.hand_over()
    await server.close()
    assert path.exists()
