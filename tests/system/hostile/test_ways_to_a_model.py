"""A key that is limited to some models is checked on every way to a model."""

from __future__ import annotations

import gzip
import json
from typing import TYPE_CHECKING

import pytest

from support.raw_http import JSON, bearer, status_of, statuses

if TYPE_CHECKING:
    from support.server import Modelswap
    from support.streams import RecordingPeer, Serve

KEY, ALL = "limited-key", "whole-key"
FORM = {"Content-Type": "application/x-www-form-urlencoded"}
MULTIPART = {"Content-Type": "multipart/form-data; boundary=b"}
CHAT = "/v1/chat/completions"


@pytest.fixture(scope="module")
def server(serve: Serve, peer: RecordingPeer) -> Modelswap:
    """Two models that cannot start, a peer's two, a selector and a profile for each."""
    return serve(
        f"""
apiKeys:
  - {ALL}
  - {{name: some, key: {KEY}, models: ["open*", "far/free"]}}
includeAliasesInList: true
models:
  open-model: {{cmd: "/no/such/program ${{PORT}}", aliases: [nick]}}
  shut-model: {{cmd: "/no/such/program ${{PORT}}", aliases: [dark]}}
peers:
  far: {{proxy: "{peer.url}", models: [free, locked]}}
selectors:
  open-choice: {{strategy: pin, targets: [far/free]}}
  bad-choice: {{strategy: pin, targets: [far/locked]}}
profiles:
  night:
    pins: {{dusk: far/locked, dawn: far/free}}
"""
    )


def form(model: str) -> bytes:
    return (
        f'--b\r\nContent-Disposition: form-data; name="model"\r\n\r\n{model}\r\n--b--\r\n'.encode()
    )


def ways(model: str) -> dict[str, tuple[str, str, bytes | None, dict[str, str]]]:
    """Each way in which a request can name a model."""
    text = json.dumps({"model": model}).encode()
    escaped = b'{"\\u006dodel":' + json.dumps(model).encode() + b"}"
    return {
        "json": ("POST", CHAT, text, JSON),
        "json without type": ("POST", CHAT, text, {"Content-Type": "text/plain"}),
        "escaped key": ("POST", CHAT, escaped, JSON),
        "form": ("POST", CHAT, f"model={model}".encode(), FORM),
        "escaped form": ("POST", CHAT, f"%6dodel={model}".encode(), FORM),
        "multipart": ("POST", "/v1/audio/transcriptions", form(model), MULTIPART),
        "multipart, query": (
            "POST", f"/v1/audio/transcriptions?model={model}", form("far/free"), MULTIPART),
        "query": ("GET", f"/v1/audio/voices?model={model}", None, {}),
        "versionless": ("POST", "/v/chat/completions", text, JSON),
        "path": ("GET", f"/upstream/{model}/x", None, {}),
        "escaped path": ("GET", f"/upstream/{model.replace('/', '%2F')}/x", None, {}),
        "poll": ("GET", f"/slots?model={model}", None, {}),
    }  # fmt: skip


@pytest.mark.parametrize("way", ways("x"))
@pytest.mark.parametrize("model", ["shut-model", "dark", "far/locked", "locked", "bad-choice"])
def test_no_way_reaches_a_model_that_is_not_granted(
    server: Modelswap, peer: RecordingPeer, model: str, way: str
) -> None:
    """403, and the model gets no request; an unlimited key reaches it in the same way."""
    method, path, body, headers = ways(model)[way]
    before = len(peer.requests)
    status = status_of(server, method, path, body, {**headers, **bearer(KEY)})
    if model == "bad-choice" and "path" in way:
        assert status == 404  # selectors are not looked at in paths
    else:
        assert status == 403
    assert len(peer.requests) == before
    assert status_of(server, method, path, body, {**headers, **bearer(ALL)}) not in {401, 403}


@pytest.mark.parametrize("way", ways("x"))
@pytest.mark.parametrize("model", ["far/free", "open-choice"])
def test_a_granted_model_is_reached(
    server: Modelswap, peer: RecordingPeer, model: str, way: str
) -> None:
    """By its own name, or by the granted name of a selector that leads to another."""
    if model == "open-choice" and "path" in way:
        return
    method, path, body, headers = ways(model)[way]
    before = len(peer.requests)
    assert status_of(server, method, path, body, {**headers, **bearer(KEY)}) == 200
    assert len(peer.requests) == before + 1


def test_a_pin_reaches_no_other_model(server: Modelswap, peer: RecordingPeer) -> None:
    """A profile's pin to a model that is not granted is 403, to a granted one it works."""
    assert server.ask("PUT", "/api/profiles/active", {"name": "night"}, bearer(ALL)).status == 200
    try:
        before = len(peer.requests)
        refused = server.ask("POST", CHAT, {"model": "dusk"}, bearer(KEY))
        assert (refused.status, len(peer.requests)) == (403, before)
        assert server.ask("POST", CHAT, {"model": "dawn"}, bearer(KEY)).status == 200
    finally:
        server.ask("PUT", "/api/profiles/active", {"name": None}, bearer(ALL))


def test_lists_show_what_is_granted(server: Modelswap) -> None:
    """`/v1/models` and its single records leave out the others; the aliases of a granted model stay."""
    listed = server.ask("GET", "/v1/models", headers=bearer(KEY)).json()["data"]
    assert {record["id"] for record in listed} == {"open-model", "nick", "far/free", "open-choice"}
    for hidden in ("shut-model", "dark", "far/locked", "bad-choice"):
        assert server.ask("GET", f"/v1/models/{hidden}", headers=bearer(KEY)).status == 404
        assert server.ask("GET", f"/v1/models/{hidden}", headers=bearer(ALL)).status == 200
    assert server.ask("GET", "/v1/models/nick", headers=bearer(KEY)).status == 200


def test_logs_of_others_stay_closed(server: Modelswap) -> None:
    """The log of a granted model is open, those of others and the common ones are not."""
    for source in ("shut-model", "dark", "proxy", "upstream", "", "%70roxy"):
        assert status_of(server, "GET", f"/logs/stream/{source}", headers=bearer(KEY)) == 403
    for source in ("open-model", "nick"):
        assert status_of(server, "GET", f"/logs/stream/{source}", headers=bearer(KEY)) == 200
    assert status_of(server, "GET", "/logs/stream/shut-model", headers=bearer(ALL)) == 200


def test_loading_and_unloading_of_others_is_closed(server: Modelswap) -> None:
    """The control routes of one model check the key too."""
    for verb in ("load", "unload"):
        for model, allowed in (("shut-model", False), ("dark", False), ("open-model", True)):
            answer = server.ask("POST", f"/api/models/{verb}/{model}", headers=bearer(KEY))
            assert (answer.status != 403) is allowed, (verb, model)


def test_the_body_decides_and_not_the_query(server: Modelswap, peer: RecordingPeer) -> None:
    """Where body and query differ, the model that is checked is the one that is asked."""
    before = len(peer.requests)
    query = f"{CHAT}?model=far/free"
    assert (
        status_of(server, "POST", query, b'{"model":"far/locked"}', {**JSON, **bearer(KEY)}) == 403
    )
    assert len(peer.requests) == before


ASIDE = {
    "form behind the query": (
        "POST", "/v1/audio/transcriptions?model=far/free", form("far/locked"), MULTIPART),
    "query behind the form": (
        "POST", "/v1/audio/transcriptions?model=&model=locked", form("far/free"), MULTIPART),
    "query behind JSON": ("POST", f"{CHAT}?model=locked", b'{"model":"far/free"}', JSON),
    "two in the query": ("GET", "/v1/audio/voices?model=far/free&model=locked", None, {}),
    "JSON with a mark behind the query": (
        "POST", f"{CHAT}?model=far/free", b'\xef\xbb\xbf{"model":"locked"}', {"Content-Type": "text/plain"}),
    "compressed behind the query": (
        "POST", f"{CHAT}?model=far/free", gzip.compress(b'{"model":"locked"}'),
        {"Content-Type": "text/plain", "Content-Encoding": "gzip"}),
    "below a granted path": ("POST", f"/upstream/far/free{CHAT}", b'{"model":"locked"}', JSON),
    "below a granted path, compressed": (
        "POST", f"/upstream/far/free{CHAT}", gzip.compress(b'{"model":"locked"}'), {"Content-Encoding": "gzip"}),
    "below a granted path, form": ("POST", "/upstream/far/free/x", form("locked"), MULTIPART),
    "below a granted path, query": ("GET", "/upstream/far/free/x?model=locked", None, {}),
    "body of a GET": ("GET", "/v1/audio/voices?model=far/free", b'{"model":"locked"}', JSON),
}  # fmt: skip


@pytest.mark.parametrize("case", ASIDE)
def test_no_other_model_beside_the_granted_one(
    server: Modelswap, peer: RecordingPeer, case: str
) -> None:
    """Every place that a peer could read is checked; an unlimited key may send any."""
    method, path, body, headers = ASIDE[case]
    before = len(peer.requests)
    assert status_of(server, method, path, body, {**headers, **bearer(KEY)}) == 403
    assert len(peer.requests) == before
    assert status_of(server, method, path, body, {**headers, **bearer(ALL)}) == 200


def test_two_content_types_are_refused(server: Modelswap, peer: RecordingPeer) -> None:
    """Two programs could choose different ones: 400."""
    before = len(peer.requests)
    body = b'{"model":"far/locked"}'
    raw = server.raw(
        b"POST %b?model=far/free HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer %b\r\n"
        b"Content-Type: text/plain\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b"
        % (CHAT.encode(), KEY.encode(), len(body), body)
    )
    assert statuses(raw) == [400]
    assert len(peer.requests) == before


def test_the_granted_model_may_be_named_twice(server: Modelswap) -> None:
    """Below its own path, in the body and in the query."""
    for path in (f"/upstream/far/free{CHAT}?model=far/free", f"{CHAT}?model=far/free"):
        body = b'{"model":"far/free"}'
        assert status_of(server, "POST", path, body, {**JSON, **bearer(KEY)}) == 200
