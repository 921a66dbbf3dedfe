"""Paths: shorter spellings, and those that lead elsewhere."""

from __future__ import annotations

import pytest

from modelswap.api.routing.paths import cleaned, escapes, forwarded_path, is_unclean


@pytest.mark.parametrize(
    ("path", "clean"),
    [
        ("//v1//models", "/v1/models"),
        ("/a/../b/./c/", "/b/c/"),
        ("/../..", "/"),
        ("/a/%2e%2e/b//", "/a/%2e%2e/b/"),
        ("//\\evil.example", "/%5Cevil.example"),
    ],
)
def test_a_shorter_spelling(path: str, clean: str) -> None:
    assert is_unclean(path)
    assert cleaned(path) == clean
    assert not is_unclean(clean)


@pytest.mark.parametrize(
    ("path", "leads_elsewhere"),
    [
        ("/a/b", False),
        ("/a%2Fb", False),
        ("/a/%2e%2e/b", True),
        ("/a\\..\\b", True),
        ("/%00", True),
    ],
)
def test_a_path_that_a_decoder_reads_differently(path: str, *, leads_elsewhere: bool) -> None:
    assert escapes(path) == leads_elsewhere


@pytest.mark.parametrize(
    ("path", "sent"),
    [("/v/messages", "/messages"), ("/audioapi/v1/tasks/run", "/v1/tasks/run"), ("/v1/x", "/v1/x")],
)
def test_what_the_upstream_gets(path: str, sent: str) -> None:
    assert forwarded_path(path) == sent
