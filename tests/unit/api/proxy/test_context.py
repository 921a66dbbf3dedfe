"""The facts of a head, without a server."""

from __future__ import annotations

from typing import Any

import pytest

from modelswap.api.proxy.context import ResolvedRequest
from modelswap.api.routing.model_selector import NameLocation
from modelswap.core.naming.names import LocalTarget, PeerTarget
from support.proxy_units import FakePool, M, context_of, request_of

FORM = (("Content-Type", "multipart/form-data; boundary=x"),)
HERE = ("m", LocalTarget(M, "m"))


@pytest.mark.parametrize(
    ("request_", "facts", "source", "is_plain"),
    [
        (request_of(length=9), {}, NameLocation.JSON, True),
        (request_of(length=9), {"codings": (b"gzip",)}, NameLocation.JSON, False),
        (request_of("GET", "/props?model=m", ()), {}, NameLocation.QUERY, True),
        (request_of(fields=FORM, length=9), {}, NameLocation.MULTIPART, False),
        (request_of(fields=(), length=9), {}, NameLocation.FORM, False),
        (request_of(length=9), {"named": HERE}, NameLocation.PATH, False),
        (request_of("GET", "/health", ()), {"named": HERE}, NameLocation.PATH, True),
        (request_of("HEAD", "/slots?model=m", ()), {"unleased": "polls"}, NameLocation.QUERY, True),
    ],
)  # fmt: skip
def test_where_the_model_is_and_how_the_body_is_read(
    request_: Any, facts: Any, source: NameLocation, *, is_plain: bool
) -> None:
    context = context_of(request_, **facts)
    assert (context.source, context.is_plain) == (source, is_plain)


def test_names_are_kept_apart_by_stream_and_bounded() -> None:
    """A client with endless names does not fill the memory."""
    context = context_of(request_of(length=9))
    context.remember(ResolvedRequest("m", "m", HERE[1], stream=True))
    assert (list(context.known), list(context.known_streams)) == ([], ["m"])
    for number in range(200):
        context.remember(ResolvedRequest(f"m{number}", "m", HERE[1]))
    assert len(context.known) <= 64


def test_only_a_request_that_takes_a_lease_goes_straight_to_its_model() -> None:
    """A poll uses a model that is ready, and loads none, each time that it comes."""
    for unleased, straight in (("", HERE[1]), ("polls", None)):
        context = context_of(request_of(length=9), unleased=unleased)
        resolved = ResolvedRequest("m", "m", HERE[1])
        context.remember(resolved)
        assert resolved.straight is straight


def test_the_request_for_an_upstream_is_kept() -> None:
    """Until the client has its headers, or the query was edited."""
    context = context_of(request_of(length=9))
    pool: Any = FakePool()
    usual = context.upstream_request(pool, "", HERE[1], started=False)
    assert context.upstream_requests == {pool: usual}
    edited = context.upstream_request(pool, "model=x", HERE[1], started=False)
    assert b"?model=x HTTP" in edited.block
    assert context.upstream_request(pool, "", HERE[1], started=True) is not usual
    assert context.upstream_requests == {pool: usual}


def test_a_peer_gets_its_own_host_and_what_is_meant_for_this_program() -> None:
    fields = (
        ("X-Modelswap-No-Swap", "yes"),
        ("X-Modelswap-TTL", "5m"),
        ("Authorization", "Bearer k"),
    )
    context = context_of(request_of(fields=fields))
    peer = PeerTarget("far", "big", "far/big", "big")
    pool: Any = FakePool()
    block = context.upstream_request(pool, "", peer, started=False).block
    assert b"Host: 127.0.0.1:9\r\n" in block
    assert b"X-Modelswap-No-Swap: true\r\n" in block
    assert block.count(b"X-Modelswap-TTL: 5m\r\n") == 1
    assert b"yes" not in block
    here = context.upstream_request(pool, "", HERE[1], started=False).block
    assert b"X-Modelswap" not in here
