"""Which sites may talk to us."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from modelswap.api.hosts.host_and_cors import HostAndOriginRules


@pytest.mark.parametrize(
    ("host", "ours"),
    [
        (None, True),
        (b"localhost", True),
        (b"LocalHost:8080", True),
        (b"localhost.:8080", True),
        (b"127.0.0.1:8080", True),
        (b"127.9.9.9", True),
        (b"[::1]:8080", True),
        (b"[::ffff:127.0.0.1]", True),
        (b"app.localhost", True),
        (b"nas.local", True),
        (b"llm.internal:80", True),
        (b"modelswap:8080", True),
        (b"ai.example.org", True),
        (b"x.example.com", True),
        (b"192.168.1.5:8080", True),
        (b"192.168.1.6:8080", False),
        (b"8.8.8.8", False),
        (b"evil.com", False),
        (b"evil.com:8080", False),
        (b"localhost.evil.com", False),
        (b"127.0.0.1.evil.com", False),
        (b"evillocalhost.com", False),
        (b"example.com", False),
        (b"badexample.com", False),
        (b"", False),
        (b"localhost:x", False),
        (b"localhost@evil.com", False),
        (b"evil.com/localhost", False),
        (b"localhost, evil.com", False),
        (b"\xff", False),
        (b"[::1", False),
    ],
)
def test_hosts(host: bytes | None, ours: bool) -> None:  # noqa: FBT001 -- it is the expectation
    """Loopback, local names, our own addresses and the listed names; nothing else."""
    rules = HostAndOriginRules(
        hosts=["ai.example.org:443", "*.example.com"], listening=["127.0.0.1", "192.168.1.5"]
    )
    assert rules.is_our_host(host) is ours
    assert rules.is_our_host(host) is ours


@pytest.mark.parametrize("address", ["0.0.0.0", "::", ""])
def test_listening_everywhere(address: str) -> None:
    """On all interfaces any address may be ours, but no name."""
    rules = HostAndOriginRules(listening=[address])
    assert rules.is_our_host(b"192.168.1.6:8080")
    assert not rules.is_our_host(b"evil.com")


def test_addresses_may_be_named() -> None:
    """`allowedHosts` takes addresses, too: those of a forwarded port or another container's host."""
    rules = HostAndOriginRules(hosts=["192.168.1.20", "[fd00::5]", "0.0.0.0"])
    assert rules.is_our_host(b"192.168.1.20:8080")
    assert rules.is_our_host(b"[fd00::5]:8080")
    assert not rules.is_our_host(b"192.168.1.21:8080")


def test_any_host() -> None:
    """`*` switches the rule off."""
    assert HostAndOriginRules(hosts=["*"]).is_our_host(b"evil.com")


def test_memory_is_bounded() -> None:
    """Endless names do not fill the memory."""
    rules = HostAndOriginRules()
    for n in range(3000):
        rules.is_our_host(b"h%d.com" % n)
        rules.is_allowed(b"http://h%d.com" % n, None)
    assert len(rules._host_verdicts) <= 1024
    assert len(rules._origin_verdicts) <= 1024


@pytest.mark.parametrize(
    ("origin", "allowed"),
    [
        (b"http://localhost:3000", True),
        (b"https://127.0.0.1", True),
        (b"http://[::1]:5173", True),
        (b"https://tauri.localhost", True),
        (b"tauri://localhost", True),
        (b"app://obsidian.md", True),
        (b"file://", True),
        (b"vscode-webview://abc", True),
        (b"chrome-extension://abc", True),
        (b"moz-extension://abc", True),
        (b"capacitor://localhost", True),
        (b"https://chat.example.org", True),
        (b"https://CHAT.example.org", True),
        (b"http://chat.example.org", False),
        (b"https://chat.example.org:444", False),
        (b"https://evil.com", False),
        (b"http://localhost.evil.com", False),
        (b"http://localhost:3000@evil.com", False),
        (b"http://nas.local", False),
        (b"http://8.8.8.8", False),
        (b"http://[bad", False),
        (b"null", False),
        (b"", False),
        (b"localhost", False),
    ],
)
def test_origins(origin: bytes, allowed: bool) -> None:  # noqa: FBT001 -- it is the expectation
    """Local origins, applications and the listed ones; `null` only when listed."""
    rules = HostAndOriginRules(origins=["https://Chat.example.org/"])
    assert rules.is_allowed(origin, None) is allowed
    assert rules.is_allowed(origin, None) is allowed
    assert HostAndOriginRules(origins=["null"]).is_allowed(b"null", None)
    assert HostAndOriginRules(origins=["*"]).is_allowed(origin, None)


@pytest.mark.parametrize(
    ("facts", "foreign"),
    [
        ({}, False),
        ({"origin": b"https://evil.com"}, True),
        ({"origin": b"null"}, True),
        ({"origin": b"http://localhost:3000"}, False),
        ({"origin": b"http://nas.lan:8080", "host": b"nas.lan:8080"}, False),
        ({"origin": b"https://nas.lan", "host": b"NAS.lan:443"}, False),
        ({"origin": b"http://nas.lan:81", "host": b"nas.lan:8080"}, True),
        ({"origin": b"ftp://nas.lan", "host": b"nas.lan"}, True),
        ({"sec_fetch_site": b"cross-site"}, True),
        ({"sec_fetch_site": b"Cross-Site ", "referer": b"http://localhost/"}, True),
        ({"sec_fetch_site": b"same-origin"}, False),
        ({"sec_fetch_site": b"none"}, False),
        ({"sec_fetch_site": b"cross-site", "origin": b"app://x"}, False),
        ({"referer": b"http://evil.com/page"}, True),
        ({"referer": b"http://[bad"}, True),
        ({"referer": b"http://nas.lan:8080/ui/", "host": b"nas.lan:8080"}, False),
    ],
)
def test_foreign_pages(facts: dict[str, bytes], foreign: bool) -> None:  # noqa: FBT001 -- it is the expectation
    """What a page of another site sends is recognised; programs and our own pages are not."""
    got = HostAndOriginRules().is_cross_site(
        origin=facts.get("origin"),
        host=facts.get("host"),
        sec_fetch_site=facts.get("sec_fetch_site"),
        referer=facts.get("referer"),
    )
    assert got is foreign


OWN = b"https://models.example.org"


@pytest.mark.parametrize(
    ("facts", "foreign"),
    [
        ({"host": b"models.example.org"}, False),
        ({"host": b"models.example.org:443"}, False),
        ({"host": b"models.example.org:8080"}, True),
        ({"host": b"models.example.org:8080", "sec_fetch_site": b"same-origin"}, False),
        ({"host": b"127.0.0.1:8080", "sec_fetch_site": b"same-origin"}, False),
        ({"host": b"127.0.0.1:8080", "sec_fetch_site": b"Same-Origin "}, False),
        ({"host": b"127.0.0.1:8080", "sec_fetch_site": b"same-site"}, True),
        ({"host": b"127.0.0.1:8080", "sec_fetch_site": b"cross-site"}, True),
        ({"host": b"127.0.0.1:8080"}, True),
        ({"host": b"127.0.0.1:8080", "forwarded": (b"models.example.org",)}, False),
        ({"host": b"127.0.0.1:8080", "forwarded": (b"proxy.lan", b"models.example.org")}, False),
        ({"host": b"127.0.0.1:8080", "forwarded": (b"proxy.lan",)}, True),
        (
            {"origin": b"https://evil.com", "host": b"127.0.0.1", "sec_fetch_site": b"same-origin"},
            True,
        ),
        ({"origin": b"null", "host": b"127.0.0.1", "sec_fetch_site": b"same-origin"}, True),
        (
            {"origin": b"ftp://models.example.org", "sec_fetch_site": b"same-origin"},
            True,
        ),
        ({"origin": None, "sec_fetch_site": b"same-origin", "host": b"127.0.0.1"}, False),
        (
            {"origin": None, "referer": OWN + b"/x", "forwarded": (b"models.example.org",)},
            False,
        ),
        ({"origin": None, "referer": OWN + b"/x", "host": b"127.0.0.1"}, True),
    ],
)
def test_our_pages_behind_a_proxy(facts: dict[str, Any], foreign: bool) -> None:  # noqa: FBT001 -- it is the expectation
    """A proxy may replace `Host`: the browser's `same-origin` with a name of ours is no foreign page."""
    rules = HostAndOriginRules(hosts=["models.example.org"])
    assert rules.is_cross_site(**{"host": None, "origin": OWN, **facts}) is foreign


def test_cors_on_answers() -> None:
    """A listed origin may read the answer; others learn nothing; credentials are never allowed."""
    rules = HostAndOriginRules(origins=["*"])
    assert rules.cors(None) == ()
    assert HostAndOriginRules().cors(b"http://localhost:3000") == (
        (b"Access-Control-Allow-Origin", b"http://localhost:3000"),
        (
            b"Access-Control-Expose-Headers",
            b"Retry-After, X-Should-Retry, Request-Id, X-Request-Id",
        ),
        (b"Vary", b"Origin"),
    )
    assert HostAndOriginRules().cors(b"https://evil.com") == ((b"Vary", b"Origin"),)
    shown = dict(rules.cors(b"https://any.com"))
    assert b"Access-Control-Allow-Credentials" not in shown


def preflight(
    rules: HostAndOriginRules,
    origin: bytes | None,
    headers: bytes | None = None,
    private: bytes | None = None,
) -> dict[bytes, bytes]:
    fields = {
        b"origin": origin,
        b"access-control-request-headers": headers,
        b"access-control-request-private-network": private,
    }
    request: Any = SimpleNamespace(header=fields.get)
    return dict(rules.preflight(request))


def test_preflight() -> None:
    """Methods, headers and age for everyone; the origin only for listed ones."""
    fields = preflight(HostAndOriginRules(), b"app://x", b"X-A, bad header,,x-stainless-lang,a:b")
    assert fields[b"Access-Control-Allow-Origin"] == b"app://x"
    assert fields[b"Access-Control-Allow-Methods"] == b"GET, POST, PUT, PATCH, DELETE, OPTIONS"
    assert fields[b"Access-Control-Allow-Headers"] == b"X-A, x-stainless-lang"
    assert fields[b"Access-Control-Max-Age"] == b"86400"
    assert b"Access-Control-Allow-Private-Network" not in fields
    usual = preflight(HostAndOriginRules(), b"https://evil.com", None, b"true")
    assert usual[b"Access-Control-Allow-Headers"] == (
        b"Content-Type, Authorization, Accept, X-Requested-With"
    )
    assert b"Access-Control-Allow-Origin" not in usual
    assert b"Access-Control-Allow-Private-Network" not in usual
    assert b"Access-Control-Allow-Origin" not in preflight(HostAndOriginRules(), None)


def test_private_networks() -> None:
    """A listed page of the internet may reach into the local network."""
    rules = HostAndOriginRules(origins=["https://chat.example.org"])
    fields = preflight(rules, b"https://chat.example.org", b"", b"true")
    assert fields[b"Access-Control-Allow-Private-Network"] == b"true"
    assert fields[b"Access-Control-Allow-Headers"] == b""


def test_a_server_at_the_usual_port() -> None:
    """A browser leaves out the port where it is the scheme's own."""
    origins = HostAndOriginRules(servers={80, 443})
    for origin in (b"http://localhost", b"https://localhost", b"http://127.0.0.1:80"):
        assert not origins.is_allowed(origin, None)
    assert origins.is_allowed(b"http://localhost:3000", None)
