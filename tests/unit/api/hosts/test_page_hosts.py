"""Host names of models' pages."""

from __future__ import annotations

import re

import pytest

from modelswap.api.hosts.page_hosts import is_page_host, loopback_port, page_label
from modelswap.core.naming.names import LocalTarget, PeerTarget
from modelswap.core.spec import ModelId


@pytest.mark.parametrize(
    ("host", "is_page"),
    [
        (b"upstream--a--0123.localhost", True),
        (b"upstream--a--0123.localhost:8080", True),
        (b"UPSTREAM--a--0123.LocalHost.:8080", True),
        (b"x.upstream--a--0123.localhost", True),
        (b"upstream--.localhost", True),
        (b"upstream--a.localhost.evil.com", False),
        (b"upstream--a.evil.com", False),
        (b"upstream.localhost", False),
        (b"my-upstream--a.localhost", False),
        (b"localhost", False),
        (b"[::1]:8080", False),
        (b"", False),
        (None, False),
    ],
)
def test_page_hosts(host: bytes | None, is_page: bool) -> None:  # noqa: FBT001 -- it is the expectation
    """A name is known by its form."""
    assert is_page_host(host) is is_page


NAMES = [
    "a", "b", "a/b", "a-b", "A-B", "Qwen/Qwen3-Coder-30B-A3B-Instruct-GGUF:Q4_K_M", "ü", "模型", "-", "",
    "x" * 900, "--", "xn--a",
]  # fmt: skip


def test_labels() -> None:
    """Each model has one valid DNS label of its own, the same at every start."""
    labels = [page_label(LocalTarget(ModelId(name), name)) for name in NAMES]
    labels += [page_label(PeerTarget("a", name, name)) for name in NAMES]
    assert len(set(labels)) == len(labels)
    for label in labels:
        assert re.fullmatch(r"upstream--[a-z0-9-]*[a-z0-9]--[0-9a-f]{12}", label)
        assert len(label) <= 63
        assert is_page_host(f"{label}.localhost:1".encode())
    assert page_label(LocalTarget(ModelId("a"), "nick")) == page_label(
        LocalTarget(ModelId("a"), "a")
    )
    assert page_label(LocalTarget(ModelId("a/b"), "a/b")) != page_label(PeerTarget("a", "b", "b"))


@pytest.mark.parametrize(
    ("proxy", "port"),
    [
        ("http://localhost:5800", 5800),
        ("http://127.0.0.1:5800/base", 5800),
        ("http://[::1]:5800", 5800),
        ("https://127.0.0.2", 443),
        ("http://0.0.0.0:5800", 5800),
        ("http://[::]:5800", 5800),
        ("http://[::ffff:127.0.0.1]:5800", 5800),
        ("http://127.1:5800", 5800),
        ("http://localhost.:5800", 5800),
        ("http://gpu.localhost", 80),
        ("unix:/run/model.sock", None),
        ("http://gpu.lan:3000", None),
        ("http://10.0.0.2:3000", None),
        ("", None),
        ("nonsense", None),
    ],
)
def test_ports_of_this_machine(proxy: str, port: int | None) -> None:
    """Only a server on this machine has a port that a local origin could have."""
    assert loopback_port(proxy) == port
