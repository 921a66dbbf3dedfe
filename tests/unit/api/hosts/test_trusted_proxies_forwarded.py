"""What a trusted proxy says of the request that it received."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from modelswap.api.hosts.trusted_proxies import TrustedProxies, forwarded_hosts, forwarded_prefix


def request(client: str, **headers: str) -> Any:
    fields = {name.replace("_", "-").encode(): value.encode() for name, value in headers.items()}
    return SimpleNamespace(
        client=client,
        header=fields.get,
        header_values=lambda name: [fields[name]] if name in fields else [],
    )


@pytest.mark.parametrize(
    ("prefix", "read"),
    [
        ("/llm", "/llm"),
        ("/llm/", "/llm"),
        ("/a/b-c_d.e~f", "/a/b-c_d.e~f"),
        ("/a, /b/", "/a/b"),
        ("/", ""),
        ("", ""),
        ("llm", ""),
        ("//evil.example", ""),
        ("/, //evil.example", ""),
        ("/a//b", ""),
        ("/\\evil.example", ""),
        ("\\\\evil.example", ""),
        ("https://evil.example", ""),
        ("javascript:alert(1)", ""),
        ("/a/../b", ""),
        ("/..", ""),
        ("/a b", ""),
        ("/a\tb", ""),
        ("/a?b", ""),
        ("/a#b", ""),
        ("/ä", ""),
        ("/" + "a" * 5000, ""),
    ],
)
def test_prefixes(prefix: str, read: str) -> None:
    """A plain absolute path of a trusted proxy counts; nothing else does."""
    proxies = TrustedProxies(["10.0.0.0/8"])
    assert forwarded_prefix(request("10.0.0.1", x_forwarded_prefix=prefix), proxies) == read
    assert forwarded_prefix(request("9.9.9.9", x_forwarded_prefix=prefix), proxies) == ""


def test_hosts() -> None:
    """Each name in the list of a trusted proxy counts; a list of another client does not."""
    proxies = TrustedProxies(["10.0.0.0/8"])
    forwarded = request("10.0.0.1", x_forwarded_host="a.example, b.example")
    assert forwarded_hosts(forwarded, proxies) == [b"a.example", b"b.example"]
    assert forwarded_hosts(request("9.9.9.9", x_forwarded_host="a.example"), proxies) == []
