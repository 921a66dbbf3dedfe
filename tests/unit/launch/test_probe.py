"""Where and how often a probe looks."""

from __future__ import annotations

import asyncio
import ssl
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelswap.launch import probe

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.mark.parametrize(
    ("url", "check", "expected"),
    [
        ("http://localhost:5800", "/health", ("localhost", 5800, "/health", False)),
        ("http://h/base/", "health?x=1", ("h", 80, "/base/health?x=1", False)),
        ("https://[::1]/v1", "/", ("::1", 443, "/v1/", True)),
    ],
)
def test_target(url: str, check: str, expected: tuple[str, int, str, bool]) -> None:
    """The base path and the check endpoint are joined by one slash, the query kept."""
    where = probe.target(url, check)
    assert (where.host, where.port, where.path, where.tls) == expected


def test_what_is_told_holds_no_query() -> None:
    """Keys stand in queries and before the host; every client may read the short form."""
    where = probe.target("http://u:s3cret@h:1/base", "/health?key=s3cret")
    seen = probe.judge(where, b"HTTP/1.1 404 Not Found").as_observation()
    assert "http://h:1/base/health?… last answered 404" in seen.text
    assert "endpoint /base/health?… last answered 404" in seen.brief
    assert "s3cret" not in seen.text + seen.brief


async def test_an_unknown_host_is_named_in_the_long_form_only() -> None:
    """Clients that may not read logs are not seen names of machines."""
    where = probe.target("http://gpu.internal:1", "/health")
    seen = (await probe.probe_once(where, [], None)).as_observation()
    assert "gpu.internal" in seen.text
    assert "host name is not known" in seen.brief
    assert "gpu.internal" not in seen.brief


@pytest.mark.parametrize(
    ("url", "check"),
    [("ftp://h", "/"), ("http://", "/"), ("http://h:99999", "/"), ("http://h", "/a\r\nb")],
)
def test_impossible_target(url: str, check: str) -> None:
    """What is no HTTP URL, or would break the request line, is refused."""
    with pytest.raises(ValueError, match=r".+"):
        probe.target(url, check)


@given(st.floats(0, 1e6))
def test_deadlines_are_bounded(waited: float) -> None:
    """Every look has a deadline."""
    assert probe.MIN_DEADLINE <= probe.deadline_after(waited) <= probe.MAX_DEADLINE


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (b"HTTP/1.1 200 OK\r\n\r\n", True),
        (b"HTTP/1.0 200\r\n\r\n", True),
        (b"HTTP/1.1 201 Created\r\n\r\n", False),
        (b"HTTP/1.1 503 x\r\n\r\n", False),
        (b"HTTP/1.1 2000\r\n\r\n", False),
        (b"200 OK\r\n", False),
        (b"", False),
        (b"x" * 100_000, False),
    ],
)
async def test_only_a_plain_200_counts(answer: bytes, expected: bool) -> None:  # noqa: FBT001 - a parameter
    """A look passes for exactly 200; anything else, silence and garbage included, does not."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await reader.readuntil(b"\r\n\r\n")
        assert request.startswith(b"GET /ok HTTP/1.1\r\nHost: 127.0.0.1:")
        writer.write(answer)
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        where = probe.target(f"http://127.0.0.1:{port}", "/ok")
        result = await probe.probe_once(where, ["::1", "127.0.0.1"], None)
        assert result.is_ready is expected


async def test_untrusted_certificate_is_not_ready(port: int) -> None:
    """TLS that cannot be spoken is "not yet", like a refused connection."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"no TLS here")
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", port):
        where = probe.target(f"https://localhost:{port}", "/")
        trust = ssl.create_default_context()
        result = await probe.probe_once(where, await probe.addresses_of(where), trust)
        assert not result.is_ready
        assert "failed the TLS handshake" in result.as_observation().text


async def test_unknown_host_is_not_ready() -> None:
    """A name that cannot be resolved gives no address, and no exception."""
    where = probe.target("http://" + "a" * 70 + ".invalid", "/")
    assert await probe.addresses_of(where) == []


class NotedPace:
    """Ends the wait at the second pause; holds what the pauses were."""

    def __init__(self) -> None:
        self.is_local: list[bool] = []

    async def pause(self, *, was_accepted: bool, is_local: bool) -> None:
        assert not was_accepted
        self.is_local.append(is_local)
        if len(self.is_local) > 1:
            raise EOFError


@pytest.mark.parametrize(
    ("host", "addresses", "is_local"),
    [
        ("127.0.0.1", ["127.0.0.1"], True),
        ("gpu.internal", ["127.0.0.1"], False),
        ("gpu.internal", [], False),
        ("127.internal", [], False),
        ("unix", [], True),
    ],
)
async def test_what_leaves_the_machine_is_asked_less_often(
    port: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    host: str,
    addresses: list[str],
    *,
    is_local: bool,
) -> None:
    """Other machines that refuse, and names that the resolver does not know."""

    async def found(_: probe.ProbeTarget) -> list[str]:
        return addresses

    url = f"http://{host}:{port}"
    if host == "unix":
        url = f"unix:{tmp_path}/none.sock"
    else:
        monkeypatch.setattr(probe, "addresses_of", found)
    pace = NotedPace()
    with pytest.raises(EOFError):
        await probe.wait_until_ready(
            probe.target(url, "/"),
            lambda: None,
            lambda _: None,
            pace,  # type: ignore[arg-type]  # all that it uses
        )
    assert pace.is_local == [is_local, is_local]


def test_leaves_nothing_is_real(survivors: Callable[[], list[int]]) -> None:
    """The search for survivors finds none where none was started."""
    assert survivors() == []
