"""Bodies that are coded, marked, or too large to be held: what the model server gets."""

from __future__ import annotations

import gzip
import hashlib
import json
import zlib
from typing import TYPE_CHECKING, Any

import pytest

from support.streams import RecordingPeer, error_of, model

if TYPE_CHECKING:
    from support.server import Modelswap
    from support.streams import Serve

MIB = 1 << 20
MARK = b"\xef\xbb\xbf"
BODY = b'{"model":"a","text":"' + b"gr\xc3\xbc\xc3\x9fe " * 50 + b'"}'
LONG = b'{"model":"a","text":"' + b"x" * (3 * MIB) + b'"}'
KIND = {"Content-Type": "application/json"}


@pytest.fixture(scope="module")
def server(serve: Serve, peer: RecordingPeer) -> Modelswap:
    return serve(
        f"limits: {{body: 4MB}}\nmodels:\n{model('a', aliases=['b'])}"
        f"{model('set', filters={'setParams': {'seed': 7}})}"
        f'peers:\n  far: {{proxy: "{peer.url}", models: [m]}}\nprofiles: {{p: {{pins: {{x: a}}}}}}\n'
    )


def seen(answer: Any) -> dict[str, Any]:
    assert answer.status == 200, answer.body
    found = answer.json()
    found["headers"] = {name.lower(): value for name, value in found["headers"]}
    assert isinstance(found, dict)
    return found


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize("body", [BODY, LONG], ids=["small", "long"])
@pytest.mark.parametrize(
    ("coding", "packed"),
    [
        ("gzip", gzip.compress),
        ("x-gzip", gzip.compress),
        ("GZIP", gzip.compress),
        ("deflate", zlib.compress),
        ("identity", bytes),
        ("deflate, gzip", lambda body: gzip.compress(zlib.compress(body))),
    ],
)
def test_a_coded_body(server: Modelswap, coding: str, packed: Any, body: bytes) -> None:
    """The model server gets the body itself, with its length and without the coding."""
    headers = {**KIND, "Content-Encoding": coding}
    got = seen(server.ask("POST", "/v1/rerank", packed(body), headers))
    assert got["body_sha256"] == sha(body)
    assert got["headers"]["content-length"] == str(len(body))
    assert got["headers"].get("content-encoding") in (None, "identity")


def test_a_coded_chunked_body(server: Modelswap) -> None:
    """With any framing, and again on the same connection."""
    packed = gzip.compress(LONG)
    framed = b"".join(
        b"%x\r\n%b\r\n" % (len(packed[at : at + 700]), packed[at : at + 700])
        for at in range(0, len(packed), 700)
    )
    head = (
        b"POST /v1/rerank HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        b"Content-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n"
    )
    request = head + b"\r\n" + framed + b"0\r\n\r\n"
    got = server.raw(request + head + b"Connection: close\r\n\r\n" + framed + b"0\r\n\r\n")
    assert got.count(b"HTTP/1.1 200 ") == 2
    assert got.count(sha(LONG).encode()) == 2


def test_filters_see_the_body_itself(server: Modelswap) -> None:
    """A coded body is edited like another."""
    headers = {**KIND, "Content-Encoding": "gzip"}
    got = seen(server.ask("POST", "/v1/rerank", gzip.compress(b'{"model":"set"}'), headers))
    assert json.loads(got["body"]) == {"model": "set", "seed": 7}


def form(size: int) -> tuple[bytes, dict[str, str]]:
    data = (
        b'--BB\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\n'
        + b"RIFF" * (size // 4)
        + b'\r\n--BB\r\nContent-Disposition: form-data; name="model"\r\n\r\na\r\n--BB--\r\n'
    )
    return data, {"Content-Type": "multipart/form-data; boundary=BB"}


@pytest.mark.parametrize("size", [400, 3 * MIB])
def test_a_coded_form(server: Modelswap, size: int) -> None:
    """Forms too, in memory and spooled."""
    data, kind = form(size)
    headers = {**kind, "Content-Encoding": "gzip"}
    got = seen(server.ask("POST", "/v1/videos", gzip.compress(data), headers))
    assert (got["received"], got["body_sha256"]) == (len(data), sha(data))
    assert "content-encoding" not in got["headers"]


@pytest.mark.parametrize("coding", ["br", "zstd", "gzip, br", "compress", "nonsense"])
@pytest.mark.parametrize("kind", ["application/json", "multipart/form-data; boundary=BB"])
def test_other_codings(server: Modelswap, coding: str, kind: str) -> None:
    """415 names the coding and says what is taken, in words and in `Accept-Encoding`."""
    headers = {"Content-Type": kind, "Content-Encoding": coding}
    answer = server.ask("POST", "/v1/rerank", b"\x1b\x2f whatever", headers)
    assert answer.status == 415
    assert answer.headers["accept-encoding"] == "gzip, deflate"
    assert coding.rsplit(", ", maxsplit=1)[-1] in error_of(answer)["message"]


@pytest.mark.parametrize(
    "make",
    [BODY, gzip.compress(BODY)[:-3], gzip.compress(BODY) + b"x"],
    ids=["not packed", "cut short", "more behind it"],
)
@pytest.mark.parametrize("kind", ["application/json", "multipart/form-data; boundary=BB"])
def test_broken_codings(server: Modelswap, make: bytes, kind: str) -> None:
    """400 that says so."""
    headers = {"Content-Type": kind, "Content-Encoding": "gzip"}
    answer = server.ask("POST", "/v1/rerank", make, headers)
    assert answer.status == 400
    message = error_of(answer)["message"]
    assert "gzip" in message or "compressed" in message or "multipart" in message


def test_a_body_that_grows_too_large(server: Modelswap) -> None:
    """`limits.body` is for the body itself: 413, for JSON, forms and control routes."""
    bomb = gzip.compress(b'{"model":"a","x":"' + b"\0" * (64 * MIB) + b'"}')
    headers = {**KIND, "Content-Encoding": "gzip"}
    assert server.ask("POST", "/v1/rerank", bomb, headers).status == 413
    data, kind = form(64 * MIB)
    headers = {**kind, "Content-Encoding": "gzip"}
    assert server.ask("POST", "/v1/videos", gzip.compress(data), headers).status == 413
    small = gzip.compress(b" " * MIB)
    headers = {**KIND, "Content-Encoding": "gzip"}
    assert server.ask("PUT", "/api/profiles/active", small, headers).status == 413


def test_control_routes_take_coded_and_marked_bodies(server: Modelswap) -> None:
    """Like the routes of models."""
    for body in (b'{"name":"p"}', MARK + b'{"name":"p"}'):
        assert server.ask("PUT", "/api/profiles/active", body, KIND).status == 200
    packed = gzip.compress(MARK + b'{"name":"p"}')
    headers = {**KIND, "Content-Encoding": "gzip"}
    assert server.ask("PUT", "/api/profiles/active", packed, headers).status == 200
    headers = {**KIND, "Content-Encoding": "br"}
    assert server.ask("PUT", "/api/profiles/active", packed, headers).status == 415
    assert server.ask("PUT", "/api/profiles/active", b'{"name":null}', KIND).status == 200


def test_below_upstream_it_goes_on_as_it_is(server: Modelswap, peer: RecordingPeer) -> None:
    """The path says which model: the body is not looked at, whatever its coding."""
    packed = gzip.compress(BODY)
    for coding in ("gzip", "br"):
        headers = {**KIND, "Content-Encoding": coding}
        got = seen(server.ask("POST", "/upstream/a/v1/rerank", packed, headers))
        assert got["body_sha256"] == sha(packed)
        assert got["headers"]["content-encoding"] == coding
    server.ask(
        "POST", "/v1/rerank", gzip.compress(b'{"model":"m"}'), {**KIND, "Content-Encoding": "gzip"}
    )
    assert peer.last.body == b'{"model":"m"}'


FORM = (
    b'--x\r\nContent-Disposition: form-data; name="model"\r\n\r\nfar/m\r\n'
    b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\nsound\r\n--x--\r\n'
)


@pytest.mark.parametrize("size", [100, 900_000, 1_200_000, 3_500_000])
@pytest.mark.parametrize("packed", [gzip.compress, zlib.compress])
def test_a_large_coded_form(server: Modelswap, packed: Any, size: int) -> None:
    """Every byte of it arrives, also where it outgrows memory while it is sent on."""
    form = FORM.replace(b"far/m", b"a").replace(b"sound", hashlib.shake_128().digest(size))
    coding = "gzip" if packed is gzip.compress else "deflate"
    headers = {"Content-Type": "multipart/form-data; boundary=x", "Content-Encoding": coding}
    got = seen(server.ask("POST", "/v1/rerank", packed(form), headers))
    assert got["received"] == len(form)
    assert got["body_sha256"] == sha(form)


@pytest.mark.parametrize("path", ["/upstream/far/m/v1/x", "/upstream/m/v1/x"])
@pytest.mark.parametrize("coding", ["gzip", "br"])
@pytest.mark.parametrize("kind", ["multipart/form-data; boundary=x", "application/json"])
def test_below_upstream_a_peer_gets_it_as_it_is(
    server: Modelswap, peer: RecordingPeer, path: str, coding: str, kind: str
) -> None:
    """A coded body cannot be looked into: it is no malformed form."""
    packed = gzip.compress(FORM)
    headers = {"Content-Type": kind, "Content-Encoding": coding}
    assert server.ask("POST", path, packed, headers).status == 200
    assert peer.last.body == packed


def test_a_byte_order_mark_below_upstream(server: Modelswap, peer: RecordingPeer) -> None:
    """The peer knows the model by its bare name, also behind a mark."""
    server.ask("POST", "/upstream/far/m/v1/rerank", MARK + b'{"model":"far/m"}', KIND)
    assert peer.last.body == b'{"model":"m"}'
    server.ask("POST", "/upstream/far/m/v1/rerank", MARK + b'{"model":"m"}', KIND)
    assert peer.last.body == MARK + b'{"model":"m"}'


@pytest.mark.parametrize("kind", ["application/json", "text/plain", ""])
@pytest.mark.parametrize("coding", ["", "gzip"])
def test_a_byte_order_mark(server: Modelswap, kind: str, coding: str) -> None:
    """Some programs on Windows write one before JSON: it is skipped, and not sent on."""
    headers = {"Content-Type": kind} if kind else {}
    body = MARK + BODY
    if coding:
        headers["Content-Encoding"] = coding
        body = gzip.compress(body)
    got = seen(server.ask("POST", "/v1/rerank", body, headers))
    assert got["body_sha256"] == sha(BODY)
    assert got["headers"]["content-length"] == str(len(BODY))


def test_a_marked_body_in_a_row(server: Modelswap) -> None:
    """The head is known by then; alias and filter work too."""
    for _ in range(3):
        assert (
            seen(server.ask("POST", "/v1/rerank", MARK + b'{"model":"b"}', KIND))["stub"] == "stub"
        )
    got = seen(server.ask("POST", "/v1/rerank", MARK + b'{"model":"set"}', KIND))
    assert json.loads(got["body"]) == {"model": "set", "seed": 7}


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_wide_json(server: Modelswap, encoding: str) -> None:
    """JSON is UTF-8: 400 says what it is instead."""
    answer = server.ask("POST", "/v1/rerank", '{"model":"a"}'.encode(encoding), KIND)
    assert answer.status == 400
    assert "UTF-16" in error_of(answer)["message"]


def test_what_is_no_json_behind_a_mark(server: Modelswap) -> None:
    """The usual errors."""
    for body, status in (
        (MARK, 404),
        (MARK * 2 + BODY, 400),
        (MARK + b"{", 400),
        (MARK + b"{}", 404),
    ):
        assert server.ask("POST", "/v1/rerank", body, KIND).status == status, body[:8]
