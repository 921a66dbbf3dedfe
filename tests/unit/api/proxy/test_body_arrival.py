"""Which way a body comes, without a connection."""

from __future__ import annotations

import gzip
from typing import TYPE_CHECKING, Any

import pytest

from modelswap.api.auth.identity import Identity
from modelswap.api.proxy.body_arrival import BodyArrival
from modelswap.api.routing.filters import FormEdits
from modelswap.core.naming.names import LocalTarget, PeerTarget
from support.proxy_units import FakeExchange, FakeServices, M, context_of, request_of, snapshot_of

if TYPE_CHECKING:
    from modelswap.errors import ReplyError

SNAPSHOT = snapshot_of()
LARGE = 9 << 20
AUDIO = (("Content-Type", "audio/wav"),)
JSON = (("Content-Type", "application/json"),)
GZIP = (*JSON, ("Content-Encoding", "gzip"))
FORM_TYPE = (("Content-Type", "multipart/form-data; boundary=x"),)
FORM = b'--x\r\nContent-Disposition: form-data; name="model"\r\n\r\nfar/big\r\n--x--\r\n'
HERE = ("m", LocalTarget(M, "m"))
FAR = ("far/big", PeerTarget("far", "big", "far/big", "big"))
BARE = ("big", PeerTarget("far", "big", "big"))
LIMITED = Identity("key", models=("far/*",))


class Receiver:
    def __init__(self) -> None:
        self.got: list[tuple[str, Any]] = []

    def on_body(self, body: bytes) -> None:
        self.got.append(("body", body))

    def on_stream(self, beginning: bytes, source: Any) -> None:
        self.got.append(("stream", (len(beginning), source.length)))

    def on_form(self, fields: dict[str, bytes]) -> None:
        self.got.append(("form", dict(fields)))

    def fail(self, error: ReplyError) -> None:
        self.got.append(("fail", error.status))


def arrived(
    body: bytes,
    fields: tuple[tuple[str, str], ...],
    *,
    length: int | None = None,
    target: str = "/v1/audio/transcriptions",
    **facts: Any,
) -> tuple[BodyArrival, list[tuple[str, Any]]]:
    request = request_of("POST", target, fields, len(body) if length is None else length)
    exchange: Any = FakeExchange(request, body)
    receiver, services = Receiver(), FakeServices(SNAPSHOT)
    context = context_of(request, snapshot=SNAPSHOT, **facts)
    shared: Any = services
    arrival = BodyArrival(shared, exchange, context, receiver)
    arrival.begin()
    return arrival, receiver.got


@pytest.mark.parametrize(
    ("body", "fields", "facts", "expected"),
    [
        (b"RIFF", AUDIO, {}, ("body", b"RIFF")),
        (gzip.compress(b"{}", mtime=0), GZIP, {"codings": (b"gzip",)}, ("body", b"{}")),
        (b"no gzip", GZIP, {"codings": (b"gzip",)}, ("fail", 400)),
        (FORM, FORM_TYPE, {}, ("form", {"model": b"far/big"})),
        (b"no form", FORM_TYPE, {}, ("fail", 400)),
        (b"--x", (("Content-Type", "multipart/form-data"),), {}, ("fail", 400)),
        (b"{}", JSON, {"unleased": "polls"}, ("body", b"")),
        (b"any", AUDIO, {"named": HERE}, ("body", b"any")),
        (FORM, FORM_TYPE, {"named": HERE}, ("body", FORM)),
        (FORM, FORM_TYPE, {"named": FAR}, ("form", {"model": b"far/big"})),
        (b"no form", FORM_TYPE, {"named": BARE}, ("body", b"no form")),
        (FORM, FORM_TYPE, {"named": FAR, "identity": LIMITED}, ("body", FORM)),
    ],
)
def test_small_bodies(
    body: bytes, fields: tuple[tuple[str, str], ...], facts: Any, expected: tuple[str, Any]
) -> None:
    assert arrived(body, fields, **facts)[1] == [expected]


@pytest.mark.parametrize(
    ("fields", "target", "facts", "expected"),
    [
        (AUDIO, "/v1/x?model=m", {}, ("stream", (65536, LARGE))),
        (AUDIO, "/v1/x", {}, ("body", 65536)),  # nothing names a model: it may be JSON after all
        (AUDIO, "/v1/x?model=far/big", {"identity": LIMITED}, ("body", 65536)),
        (JSON, "/upstream/m/x", {"named": HERE}, ("stream", (0, LARGE))),
        (JSON, "/upstream/far/big/x", {"named": FAR}, ("body", 65536)),
        (AUDIO, "/upstream/far/big/x", {"named": FAR}, ("stream", (0, LARGE))),
    ],
)
def test_large_bodies_are_collected_only_where_they_may_name_a_model(
    fields: tuple[tuple[str, str], ...], target: str, facts: Any, expected: tuple[str, Any]
) -> None:
    [(kind, got)] = arrived(b"x" * 65536, fields, length=LARGE, target=target, **facts)[1]
    assert (kind, len(got) if isinstance(got, bytes) else got) == expected


def test_a_form_is_sent_with_its_edits() -> None:
    arrival, _ = arrived(FORM, FORM_TYPE)
    sent = arrival.form_body(FormEdits({"model": b"big"}, frozenset()))
    assert sent == FORM.replace(b"far/big", b"big")
    assert arrival.form_body(FormEdits({}, frozenset())) == FORM
    arrival.close()
