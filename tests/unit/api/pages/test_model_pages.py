"""Browsers are redirected to the origins of models' pages."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from modelswap.api.hosts.page_hosts import page_label
from modelswap.api.pages.model_pages import SANDBOX, ModelPages, sandbox_fields
from modelswap.core.naming.names import LocalTarget
from modelswap.core.spec import ModelId
from modelswap.errors import ForbiddenError

A = LocalTarget(ModelId("a"), "a")
OWN = page_label(A).encode() + b".localhost:8080"
NAVIGATION = {b"sec-fetch-mode": b"navigate", b"sec-fetch-dest": b"document"}


class Pages:
    """The pages of one model, with a clock that the test moves."""

    def __init__(self, *, trusted: bool = False) -> None:
        self.now = 0.0
        self.warnings: list[str] = []
        self.pages = ModelPages(lambda: self.now, lambda _, text: self.warnings.append(text))
        models = {A.model: SimpleNamespace(trust_page=trusted)}
        self.snapshot: Any = SimpleNamespace(plan=SimpleNamespace(models=models))

    def move(self, **fields: Any) -> bytes | None:
        return self.pages.move(request(**fields), A, self.snapshot)


def request(host: bytes = b"localhost:8080", headers: dict[bytes, bytes] | None = None) -> Any:
    fields = {b"host": host, **(NAVIGATION if headers is None else headers)}
    return SimpleNamespace(
        method="GET",
        scheme="http",
        target=b"/upstream/a/x?y",
        header=fields.get,
        connection={b"keep-alive"},
    )


def test_a_navigation_is_redirected_once() -> None:
    """To the same path on the model's own host name, where the browser follows within its time."""
    pages = Pages()
    assert pages.move() == b"http://" + OWN + b"/upstream/a/x?y"
    there = request(OWN, NAVIGATION | {b"sec-fetch-site": b"cross-site"})
    assert pages.pages.follows_redirect(there)
    assert not pages.pages.follows_redirect(there)
    pages.move()
    pages.now = 301.0
    assert not pages.pages.follows_redirect(there)


def test_a_trusted_page_stays() -> None:
    """`trustPage` gives it modelswap's origin, without a sandbox."""
    pages = Pages(trusted=True)
    assert pages.move() is None
    assert sandbox_fields(pages.snapshot, request(), A) == ()


def test_where_no_redirect_is_possible_the_page_is_sandboxed() -> None:
    """A browser that came through another name gets the page in a sandbox, and the log says so."""
    pages = Pages()
    assert pages.move(host=b"llm.example", headers=NAVIGATION | {b"accept": b"text/html"}) is None
    assert len(pages.warnings) == 1
    assert sandbox_fields(pages.snapshot, request(b"llm.example"), A) == SANDBOX
    assert sandbox_fields(pages.snapshot, request(OWN), A) == ()


@pytest.mark.parametrize(
    ("host", "headers"),
    [
        (b"upstream--other--0.localhost:8080", None),
        (b"localhost:8080", {b"service-worker": b"script"}),
    ],
)
def test_what_a_page_may_not_do(host: bytes, headers: dict[bytes, bytes] | None) -> None:
    """No page of one model below another's name; no service worker on modelswap's origin."""
    with pytest.raises(ForbiddenError):
        Pages().move(host=host, headers=headers)
