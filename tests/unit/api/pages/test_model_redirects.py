"""Where a model server may lead a browser."""

from __future__ import annotations

import pytest

from modelswap.api.hosts.host_and_cors import HostAndOriginRules
from modelswap.api.pages.model_redirects import may_lead_to

HOME = b"/upstream/a%2Fb/"
HOST = b"localhost:8080"


@pytest.mark.parametrize(
    "location",
    [
        b"/upstream/a%2Fb/",
        b"/upstream/a%2Fb/login?next=/../x",
        b"login",
        b"./login",
        b"deep/er?x=http://y",
        b"?page=2",
        b"#top",
        b"",
        b"https://huggingface.co/login",
        b"http://example.com:8080",
        b"http://localhost:5800/",
        b"http://192.0.2.7/x",
    ],
)
def test_where_it_may(location: bytes) -> None:
    """Below its own path, and to servers that we are not."""
    assert may_lead_to(location, HOME, HOST, HostAndOriginRules())


@pytest.mark.parametrize(
    "location",
    [
        b"/unload",
        b"/",
        b"/upstream/other/",
        b"/upstream/a%2Fb",
        b"/upstream/a%2Fb/../other/",
        b"/upstream/a%2Fb/%2e%2E/other/",
        b"/upstream/a%2Fb/x/..",
        b"/upstream/a%2Fb/.\t./other/",
        b"/upstream/a%2Fb/..\\other/",
        b"../other/",
        b"./../other/",
        b"..",
        b"\\unload",
        b"\t/unload",
        b"//localhost:8080/unload",
        b"///unload",
        b"http:/unload",
        b"http:unload",
        b"http:\\\\localhost:8080/unload",
        b"http://localhost:8080/unload",
        b"HTTP://LOCALHOST:8080/unload",
        b"http://localhost:08080/unload",
        b"http://me@localhost:8080/unload",
        b"http://example.com@localhost:8080/unload",
        b"http://127.0.0.1:8080/unload",
        b"http://[::1]:8080/unload",
        b"http://127.1:8080/unload",
        b"http://0x7f.0.0.1:8080/unload",
        b"http://2130706433:8080/unload",
        b"http://upstream--other--000000000000.localhost:8080/upstream/other/",
        b"http:///localhost:8080/unload",
        b"javascript:alert(1)",
        b"data:text/html,x",
    ],
)
def test_where_it_may_not(location: bytes) -> None:
    """To our API, our page, another model, or what a browser may read as one of them."""
    assert not may_lead_to(location, HOME, HOST, HostAndOriginRules())


def test_no_place_of_its_own() -> None:
    """Where the model's answer is our route's, only other servers are left."""
    assert not may_lead_to(b"x", b"/", HOST, HostAndOriginRules())
    assert not may_lead_to(b"/v1/x", b"/", HOST, HostAndOriginRules())
    assert may_lead_to(b"https://example.com/", b"/", HOST, HostAndOriginRules())
