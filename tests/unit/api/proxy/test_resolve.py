"""What a request means, found without a socket."""

from __future__ import annotations

from math import inf
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from modelswap.api.auth.identity import Identity
from modelswap.api.proxy.resolve import resolve, resolve_form, resolve_stream
from modelswap.core.models.lifecycle import Phase
from modelswap.core.naming.names import LocalTarget, PeerTarget
from modelswap.units import Seconds
from support.proxy_units import JSON, FakeFleet, M, context_of, request_of, snapshot_of

if TYPE_CHECKING:
    from modelswap.api.proxy.context import ResolvedRequest

FORM = (("Content-Type", "multipart/form-data; boundary=x"),)
MARK = b"\xef\xbb\xbf"
SNAPSHOT = snapshot_of()
FAR = PeerTarget("far", "big", "far/big", rewrite="big")
LIMITED = Identity("key", models=("m",))


def state(profile: str | None = None, phase: Phase = Phase.READY) -> Any:
    return SimpleNamespace(profile=profile, fleet=FakeFleet(phase))


def resolved(body: bytes, profile: str | None = None, **facts: Any) -> ResolvedRequest:
    context = context_of(request_of(length=9), snapshot=SNAPSHOT, **facts)
    return resolve(context, body, "", state(profile))


def status(found: ResolvedRequest) -> int | None:
    return None if found.refusal is None else found.refusal.status


@pytest.mark.parametrize("body", [b'{"model":"m","x":"\xff"}', b'{"model":"m","x":"\xc0\xae"}'])
def test_a_body_that_is_not_utf8_is_refused(body: bytes) -> None:
    """Also where the model's name could be read all the same: no exception, a 400."""
    assert status(resolved(body)) == 400


def test_a_plain_name_leads_to_its_model_and_is_kept() -> None:
    context = context_of(request_of(length=9), snapshot=SNAPSHOT)
    first = resolve(context, b'{"model":"nick","stream":true}', "", state())
    assert (first.target, first.stream, first.body) == (LocalTarget(M, "nick"), True, None)
    assert resolve(context, b'{"stream":true,"model":"nick"}', "", state()) is first
    assert resolve(context, b'{"model":"nick"}', "", state()) is not first
    assert resolve(context, b'{"model":"nick"}', "", state("work")).target == FAR


@pytest.mark.parametrize(
    ("body", "name", "code"),
    [
        (b"{", "", 400),
        (b"{}", "", 404),
        (b'{"model":"m","x":"\xff"}', "", 400),
        (b'{"model":"nobody"}', "nobody", 404),
        (b'{"model":"' + b"x" * 2000 + b'"}', "", 400),
        (MARK + MARK + b'{"model":"m"}', "", 400),
    ],
)
def test_a_refusal_says_what_is_known(body: bytes, name: str, code: int) -> None:
    found = resolved(body)
    assert (found.name, found.target, status(found)) == (name, None, code)


def test_the_profile_switches_off_and_pins() -> None:
    assert status(resolved(b'{"model":"m"}', "work")) == 404
    pinned = resolved(b'{"model":"nick"}', "work")
    assert (pinned.target, pinned.body) == (FAR, b'{"model":"big"}')


def test_edits_are_made_and_failures_named() -> None:
    found = resolved(b'{"model":"renamed","temperature":1}')
    assert (found.body, found.failed_edits) == (b'{"model":"real"}', ())


def test_a_byte_order_mark_is_removed() -> None:
    context = context_of(request_of(length=9), snapshot=SNAPSHOT)
    for _ in range(2):  # also for a name that is known already
        found = resolve(context, MARK + b'{"model":"m"}', "", state())
        assert (found.name, found.body) == ("m", b'{"model":"m"}')
    assert resolve(context, b'{"model":"m"}', "", state()).body is None


def test_a_selector_counts_until_it_is_released() -> None:
    snapshot = snapshot_of()
    context = context_of(request_of(length=9), snapshot=snapshot)
    found = resolve(context, b'{"model":"any"}', "", state())
    assert found.selection is not None
    assert found.selection[0] == "any"
    assert found.body is not None
    assert b"any" not in found.body
    assert not context.known
    snapshot.selectors.decrement(*found.selection)


@pytest.mark.parametrize(
    ("body", "query", "code"),
    [
        (b'{"model":"m"}', "", None),
        (b'{"model":"renamed"}', "", 403),
        (b'{"model":"m"}', "model=renamed", 403),
    ],
)
def test_a_limited_key_names_its_models_only(body: bytes, query: str, code: int | None) -> None:
    context = context_of(request_of(length=9), snapshot=SNAPSHOT, identity=LIMITED)
    found = resolve(context, body, query, state())
    assert (status(found), found.name != "") == (code, True)
    assert not context.known, "each request's names are checked"


def test_a_poll_names_its_model_in_the_query() -> None:
    request = request_of("GET", "/slots?model=far/big", ())
    context = context_of(request, snapshot=SNAPSHOT, unleased="polls")
    found = resolve(context, b"", "model=far/big", state())
    assert (found.target, found.query) == (FAR, "model=big")


def test_a_large_body_is_named_in_the_query() -> None:
    request = request_of(fields=(("Content-Type", "audio/wav"),), length=9 << 20)
    context = context_of(request, snapshot=SNAPSHOT)
    found = resolve_stream(context, b"RIFF", "model=far/big", state())
    assert (found.target, found.query, found.body) == (FAR, "model=big", None)
    assert status(resolve_stream(context, b"RIFF", "model=no", state())) == 404


def test_a_form_is_edited_while_it_is_sent() -> None:
    context = context_of(request_of(fields=FORM, length=99), snapshot=SNAPSHOT)
    found = resolve_form(context, {"model": b"renamed"}, "", state())
    assert found.form is not None
    assert (found.form.values, found.form.remove) == (
        {"model": b"real"},
        frozenset({"temperature"}),
    )
    by_query = resolve_form(context, {}, "model=far/big", state())
    assert (by_query.query, by_query.form and by_query.form.values) == ("model=big", {})
    assert status(resolve_form(context, {}, "", state())) == 404


class TestPath:
    """Requests below `/upstream/<model>`."""

    def test_a_local_model_gets_everything_as_it_is(self) -> None:
        here = ("nick", LocalTarget(M, "nick"))
        found = resolved(b"anything", named=here)
        assert (found.name, found.target, found.body, found.query) == (*here, None, None)

    def test_a_peer_knows_its_bare_name(self) -> None:
        found = resolved(b'{"model":"far/big"}', named=("far/big", FAR))
        assert found.body == b'{"model":"big"}'
        assert resolved(b'{"model":"other"}', named=("far/big", FAR)).body == b'{"model":"other"}'
        assert resolved(b"\0", named=("far/big", FAR)).body == b"\0"

    def test_so_in_forms_and_queries(self) -> None:
        request = request_of(fields=FORM, length=99)
        context = context_of(request, snapshot=SNAPSHOT, named=("far/big", FAR))
        form = resolve_form(context, {"model": b"far/big"}, "model=far/big", state())
        assert (form.form and form.form.values, form.query) == ({"model": b"big"}, "model=big")
        other = resolve_form(context, {"model": b"x"}, "", state())
        assert (other.form and other.form.values) == {}
        assert resolve_stream(context, b"", "model=far/big", state()).query == "model=big"

    def test_a_limited_key_names_no_other_model_to_a_peer(self) -> None:
        key = Identity("key", models=("far/big",))
        context = context_of(
            request_of(fields=JSON, length=9),
            snapshot=SNAPSHOT,
            identity=key,
            named=("far/big", FAR),
        )
        assert status(resolve(context, b'{"model":"far/big"}', "", state())) is None
        assert status(resolve(context, b'{"model":"m"}', "", state())) == 403


# How long the model stays loaded

KEPT = """
requestTTL: {min: 0}
models:
  m: {cmd: "x ${PORT}", aliases: [nick]}
  edited: {cmd: "x ${PORT}", filters: {stripParams: keep_alive}}
  other: {cmd: "x ${PORT}"}
selectors: {any: {strategy: pin, targets: [m]}}
"""
ASKS = b'{"model":"m","keep_alive":"5m"}'


def test_a_body_says_how_long() -> None:
    """Each request by its own body, also when the model's name is known already; the body goes on as it is."""
    context = context_of(request_of(length=9), snapshot=snapshot_of(KEPT))
    bodies = (
        b'{"model":"m"}',
        ASKS,
        b'{"model":"m","keep_alive":-1}',
        b'{"model":"m","ttl":7}',
        b'{"model":"m"}',
    )
    found = [resolve(context, body, "", state()) for body in (*bodies, *bodies)]
    assert [one.ttl for one in found] == [None, 300, inf, 7, None] * 2
    assert {one.body for one in found} == {None}
    assert all(one.straight == LocalTarget(M, "m") for one in found)


def test_what_is_no_time_is_refused() -> None:
    """400 under the model's name, whether that is known or not."""
    context = context_of(request_of(length=9), snapshot=snapshot_of(KEPT))
    for _ in range(2):
        found = resolve(context, b'{"model":"m","keep_alive":"soon"}', "", state())
        assert (found.name, status(found), found.straight) == ("m", 400, None)
        assert status(resolve(context, b'{"model":"m"}', "", state())) is None


def test_a_body_that_is_edited_says_it_too() -> None:
    """What a filter removes from the body is read before."""
    context = context_of(request_of(length=9), snapshot=snapshot_of(KEPT))
    found = resolve(context, b'{"model":"edited","keep_alive":"5m"}', "", state())
    assert (found.ttl, found.body) == (Seconds(300), b'{"model":"edited"}')
    found = resolve(context, b'{"model":"any","keep_alive":"5m"}', "", state())
    assert found.ttl == Seconds(300)
    assert found.selection is not None


def test_the_header_comes_before_the_body() -> None:
    """It counts for every kind of request: JSON, forms, streams, and paths that name the model."""
    snapshot = snapshot_of(KEPT)
    fields = (*JSON, ("X-Modelswap-TTL", "60"))
    context = context_of(request_of(length=9, fields=fields), snapshot=snapshot)
    for _ in range(2):
        assert resolve(context, ASKS, "", state()).ttl == Seconds(60)
    assert resolve_stream(context, ASKS, "", state()).ttl == Seconds(60)
    assert resolve_form(context, {"model": b"m"}, "", state()).ttl == Seconds(60)
    below = context_of(
        request_of(length=9, fields=fields), snapshot=snapshot, named=("m", LocalTarget(M, "m"))
    )
    assert resolve(below, b"", "", state()).ttl == Seconds(60)
    assert resolve_form(below, {}, "", state()).ttl == Seconds(60)


def test_a_header_that_is_no_time_is_refused() -> None:
    """400, also where the path names the model; an empty header says nothing."""
    snapshot = snapshot_of(KEPT)
    fields = (*JSON, ("X-Modelswap-TTL", "soon"))
    context = context_of(request_of(length=9, fields=fields), snapshot=snapshot)
    assert status(resolve(context, b'{"model":"m"}', "", state())) == 400
    below = context_of(
        request_of(length=9, fields=fields), snapshot=snapshot, named=("m", LocalTarget(M, "m"))
    )
    assert status(resolve(below, b"", "", state())) == 400
    empty = context_of(
        request_of(length=9, fields=(*JSON, ("X-Modelswap-TTL", ""))), snapshot=snapshot
    )
    assert resolve(empty, ASKS, "", state()).ttl == Seconds(300)


def test_without_bounds_nothing_is_read() -> None:
    """Where the configuration allows no say, neither body nor header counts, right or wrong."""
    fields = (*JSON, ("X-Modelswap-TTL", "soon"))
    context = context_of(request_of(length=9, fields=fields), snapshot=SNAPSHOT)
    plain = resolve(context, b'{"model":"m"}', "", state())
    for said in (b'"5m"', b'"soon"', b"{}"):
        assert resolve(context, b'{"model":"m","keep_alive":' + said + b"}", "", state()) is plain
    assert (plain.ttl, plain.refusal) == (None, None)
