"""What a request means, found without a socket."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from modelswap.api.auth.identity import Identity
from modelswap.api.proxy.resolve import resolve, resolve_form, resolve_stream
from modelswap.core.models.lifecycle import Phase
from modelswap.core.naming.names import LocalTarget, PeerTarget
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
