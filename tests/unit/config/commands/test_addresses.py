"""Models with one address: they swap, with a warning where that could surprise."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from modelswap.config.commands import addresses
from modelswap.config.commands.addresses import address_of, fixed_ports
from modelswap.core.placement.policy import NO_EVICTIONS, Question, stop
from modelswap.core.spec import ModelId

if TYPE_CHECKING:
    from support.config import LoadText

A, B = ModelId("a"), ModelId("b")

ONE_ADDRESS = [
    ("http://localhost:9000", "http://127.0.0.1:9000/v1"),
    ("http://[::1]:9000", "http://0.0.0.0:9000"),
    ("http://LOCALHOST:9000", "http://[::]:9000"),
    ("http://127.0.0.2:9000", "http://x.localhost:9000"),
    ("http://box:9000", "http://BOX.:9000/base"),
    ("http://h", "http://h:80"),
    ("https://h", "https://h:443"),
    ("unix:/run/a.sock", "unix:///run/a.sock"),
    ("unix:/run/a.sock", "unix:/run/a.sock:/base"),
]


@pytest.mark.parametrize(("one", "other"), ONE_ADDRESS)
def test_spellings_of_one_address(one: str, other: str) -> None:
    """Spellings of one address are one."""
    assert address_of(one) == address_of(other) != ""


@pytest.mark.parametrize("other", ["http://localhost:9001", "http://box:9000", "unix:/9000", ""])
def test_other_addresses(other: str) -> None:
    """Another host or port is another address."""
    assert address_of("http://localhost:9000") != address_of(other)


def _pair(first: str, second: str, routing: str) -> str:
    return f"models:\n  a: {{{first}}}\n  b:\n    {second}\n{routing}"


FIXED = "cmd: srv --port 9000, proxy: 'http://localhost:9000'"
SECOND = "cmd: srv -p 9000:8080\n    proxy: http://127.0.0.1:9000"
TOGETHER = [
    "groups: {g: {swap: no, members: [a, b]}}",
    "groups: {g: {members: [a], exclusive: no}, h: {members: [b], exclusive: no}}",
    "groups: {g: {members: [a], persistent: yes}, h: {members: [b]}}",
    "matrix: {sets: {s: a & b}}",
    "profiles: {p: [a, b]}",
]


@pytest.mark.parametrize("routing", TOGETHER)
def test_models_with_one_address_swap(loaded: LoadText, routing: str) -> None:
    """Whatever the routing, one is unloaded for the other; there is one warning."""
    found = loaded(_pair(FIXED, SECOND, routing))
    assert found.plan is not None, found.lines()
    policy = found.plan.policy
    assert policy(Question(B, [A])) == stop(frozenset({A}))
    assert policy(Question(A, [B])) == stop(frozenset({B}))
    (warning,) = [w for w in found.warnings if w.key == "models.b.proxy"]
    assert warning.mark.line == 5
    assert "found that of 'a', so one is unloaded for the other" in warning.message


def test_models_that_swap_anyway_are_fine(loaded: LoadText) -> None:
    """Where groups never let them run together, there is no warning."""
    assert loaded(_pair(FIXED, SECOND, "")).lines() == []


APART = [
    (
        "cmd: sleep 99, proxy: 'http://localhost:9000'",
        "cmd: sleep 99\n    proxy: http://localhost:9000",
    ),
    (FIXED, "cmd: srv --port 9001\n    proxy: http://localhost:9001"),
    ("cmd: 'srv ${PORT}'", "cmd: srv ${PORT}"),
    (FIXED, "proxy: http://localhost:9000"),
    ("cmd: srv --port 19000, proxy: 'http://localhost:9000'", SECOND),
]


@pytest.mark.parametrize(("first", "second"), APART)
def test_models_that_stay_together(loaded: LoadText, first: str, second: str) -> None:
    """Commands that stand for another program's server, and models with own ports, run together."""
    found = loaded(_pair(first, second, TOGETHER[0]))
    assert found.plan is not None
    assert found.plan.policy(Question(B, [A])) == NO_EVICTIONS


@pytest.mark.parametrize("url", ["http://[::1", "http://h:99999", "ftp://h", ""])
def test_what_is_no_address_is_none(url: str) -> None:
    """Such a URL shares nothing with another one."""
    assert address_of(url) == ""


def test_ports_that_are_always_in_use(loaded: LoadText) -> None:
    """A fixed port that the command names is one; `${PORT}` and another machine's are not."""
    found = loaded(
        f"models:\n  a: {{{FIXED}}}\n  b: {{cmd: 'srv ${{PORT}}'}}\n"
        "  c: {cmd: srv --port 9002, proxy: 'http://box:9002'}"
    )
    assert found.plan is not None
    assert fixed_ports(found.plan.models) == {9000}


def test_an_address_is_read_once(loaded: LoadText, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reload asks again for the addresses of all models; those that it knows cost a lookup."""
    found = loaded(f"models:\n  a: {{{FIXED}}}\n  b: {{cmd: 'srv ${{PORT}}'}}")
    assert found.plan is not None
    monkeypatch.setattr(addresses, "split_url", lambda _: pytest.fail("read again"))
    assert fixed_ports(found.plan.models) == {9000}
