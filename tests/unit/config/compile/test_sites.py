"""`allowedHosts` and `allowedOrigins`: entries that can never match."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from support.config import LoadText

NEVER_MATCH = [
    ("allowedHosts:\n  - https://example.org/path", "c.yaml:2: allowedHosts[0]: expected a host's name, or *.NAME for all below it; found 'https://example.org/path', which never matches (write 'example.org'"),
    ("allowedHosts: [example.org/path]", "which never matches"),
    ("allowedHosts: ['*example.org']", "which never matches"),
    ("allowedHosts: ['example.*']", "which never matches"),
    ("allowedHosts: ['example.org:*']", "which never matches"),
    ("allowedHosts: ['']", "which never matches"),
    ("allowedHosts: ['a b']", "which never matches"),
    ("allowedHosts: [10.0.0.0/8]", "which never matches"),
    ("allowedHosts: [bücher.example]", "xn--"),
    ("allowedHosts: [..example.org]", "which never matches"),
    ("allowedOrigins: [https://example.org/path]", "which never matches (without a path: https://example.org)"),
    ("allowedOrigins: [example.org]", "an origin has a scheme"),
    ("allowedOrigins: ['http://*']", "there are no patterns"),
    ("allowedOrigins: ['https://*.example.org']", "there are no patterns"),
    ("allowedOrigins: ['http://localhost:*']", "there are no patterns"),
    ("allowedOrigins: ['https://example.org:443']", "browsers leave the usual port out: https://example.org"),
    ("allowedOrigins: ['http://example.org:80']", "browsers leave the usual port out"),
    ("allowedOrigins: ['https://.example.org']", "which never matches"),
    ("allowedOrigins: ['https://bücher.example']", "xn--"),
    ("allowedOrigins: ['']", "an origin has a scheme"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "message"), NEVER_MATCH)
def test_an_entry_that_never_matches(loaded: LoadText, text: str, message: str) -> None:
    """It is accepted, with a warning that says what to write."""
    found = loaded(text)
    assert found.plan is not None, found.lines()
    assert message in "\n".join(found.lines())
    assert not found.is_good(strict=True)


MATCH = [
    "allowedHosts: [example.org, '*.example.org', '.example.org', '*', EXAMPLE.org, 'example.org:8443', example.org.]",
    "allowedHosts: [192.168.1.5, '[::1]', '::1', my_host, a]",
    "allowedOrigins: [https://example.org, 'https://example.org/', 'http://a:8080', 'null', app://x, 'http://[::1]:3']",
    "allowedOrigins: ['chrome-extension://*', 'https://EXAMPLE.org']",
]  # fmt: skip


@pytest.mark.parametrize("text", MATCH)
def test_an_entry_that_can_match(loaded: LoadText, text: str) -> None:
    """It has no warning."""
    assert loaded(text).lines() == []


def test_a_leading_dot_is_a_domain_and_all_below_it(loaded: LoadText) -> None:
    """`.example.org` means what it means to cookies and to other servers."""
    plan = loaded("allowedHosts: [.Example.org, b]").plan
    assert plan is not None
    assert plan.settings.allowed_hosts == ("example.org", "*.example.org", "b")
