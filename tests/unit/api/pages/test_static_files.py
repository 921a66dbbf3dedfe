"""Static files, and the redirects that lead to them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from modelswap.api.control.control_request import ControlRequest, Reply
from modelswap.api.pages.static_files import PAGE_HEADER, is_page_poll, redirect, redirect_browsers


def control_request(accept: str = "") -> ControlRequest:
    nothing: Any = None
    headers = {b"accept": accept.encode()}
    asked: Any = SimpleNamespace(header=headers.get, query="")
    return ControlRequest(http_request=asked, services=nothing, identity=nothing)


async def test_a_redirect_cannot_be_framed() -> None:
    """It leads to the path, and no other page can hold it in a frame."""
    reply = await redirect("/there", 307)(control_request())
    assert reply.status == 307
    assert ("Location", "/there") in reply.headers
    assert ("X-Frame-Options", "DENY") in reply.headers


async def test_only_browsers_are_led_to_the_page() -> None:
    """Who accepts HTML gets the page; others get what the handler says."""

    async def text(_: ControlRequest) -> Reply:
        return Reply(200, b"text")

    handler = redirect_browsers("/page/", text)
    browser = await handler(control_request("text/html,*/*"))
    assert (browser.status, browser.headers) == (302, (("Location", "/page/"),))
    assert await handler(control_request("*/*")) == Reply(200, b"text")


@pytest.mark.parametrize(
    ("method", "path", "status", "marked", "expected"),
    [
        ("GET", "/page/app.js", 200, False, True),
        ("GET", "/page/", 200, False, False),
        ("GET", "/page/app.js", 404, False, False),
        ("GET", "/elsewhere/app.js", 200, False, False),
        ("GET", "/elsewhere", 200, True, True),
        ("POST", "/elsewhere", 200, True, False),
    ],
)
def test_what_the_page_polls(
    method: str, path: str, status: int, *, marked: bool, expected: bool
) -> None:
    """Files and reads of the page are polls; documents, changes and failures are not."""
    headers = {PAGE_HEADER: b"1"} if marked else {}
    request: Any = SimpleNamespace(method=method, path=path, header=headers.get)
    assert is_page_poll(request, status, "/page/") is expected
