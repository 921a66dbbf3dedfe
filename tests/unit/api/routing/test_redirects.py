"""Where the program's own redirects lead."""

from __future__ import annotations

from types import SimpleNamespace
from urllib.parse import urljoin

import pytest

from modelswap.api.hosts.trusted_proxies import TrustedProxies
from modelswap.api.routing.redirects import location, relative


@pytest.mark.parametrize(
    ("base", "to", "reference"),
    [
        ("/", "/ui", "ui"),
        ("/ui", "/ui/", "ui/"),
        ("/upstream", "/ui/models", "ui/models"),
        ("/logs", "/ui/", "ui/"),
        ("/upstream/a", "/upstream/a/", "a/"),
        ("/upstream/a/b", "/upstream/a/b/", "b/"),
        ("/upstream/qwen3:8b", "/upstream/qwen3:8b/", "./qwen3:8b/"),
        ("/upstream/a\\b", "/upstream/a\\b/", "a%5Cb/"),
        ("/x/y/z", "/", "../../"),
        ("/x", "/", "./"),
        ("/.", "/", "./"),
        ("//", "/", "../"),
        ("//v1/models", "/v1/models", "../../v1/models"),
        ("/v1//models", "/v1/models", "../../v1/models"),
        ("/v1/./models", "/v1/models", "../v1/models"),
        ("/v1/x/../models", "/v1/models", "../v1/models"),
        ("/v1/x/..", "/v1/", "../../v1/"),
        ("/a/../../x", "/x", "x"),
    ],
)
def test_relative(base: str, to: str, reference: str) -> None:
    """A relative reference resolves to the path, at the root and below a prefix."""
    assert relative(base, to) == reference
    assert urljoin(f"http://h{base}", reference) == f"http://h{to}".replace("\\", "%5C")
    if "//" not in base and ".." not in base:
        assert urljoin(f"http://h/llm{base}", reference) == f"http://h/llm{to}".replace("\\", "%5C")


def asked(path: str, query: str = "", client: str = "10.0.0.1", **headers: str) -> SimpleNamespace:
    fields = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return SimpleNamespace(
        path=path,
        query=query,
        client=client,
        header=dict(fields).get,
        header_values=lambda name: [value for key, value in fields if key == name],
    )


def test_locations() -> None:
    """The query is kept; a trusted prefix stands before the path."""
    proxies = TrustedProxies(["10.0.0.0/8"])
    plain = asked("/upstream/a", "x=1&y=%2F")
    assert location(plain, "/upstream/a/", proxies) == "a/?x=1&y=%2F"  # type: ignore[arg-type]  # see above
    behind = asked("/upstream/a", "x=1", x_forwarded_prefix="/llm")
    assert location(behind, "/upstream/a/", proxies) == "/llm/upstream/a/?x=1"  # type: ignore[arg-type]  # see above
