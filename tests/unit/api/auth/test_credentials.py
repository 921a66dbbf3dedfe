"""Where keys stand in a request, and which fields go on to an upstream."""

from __future__ import annotations

import base64

import pytest

from modelswap.api.auth.credentials import keys_of, without_any, without_keys
from modelswap.http.message.head import parse_request
from modelswap.http.message.request import Request

UPGRADE = "Upgrade: websocket", "Connection: Upgrade"
PROTOCOLS = "Sec-WebSocket-Protocol: realtime, openai-insecure-api-key.k1, openai-beta.realtime-v1"


def request(*lines: str) -> Request:
    head = "\r\n".join(["GET / HTTP/1.1", "Host: h", *lines, "", ""])
    return Request(parse_request(head.encode("latin-1")), "1.1.1.1", "http")


def basic(text: str) -> str:
    return "Authorization: Basic " + base64.b64encode(text.encode()).decode()


@pytest.mark.parametrize(
    ("lines", "keys"),
    [
        ([], []),
        (["Authorization: Bearer k1"], [b"k1"]),
        (["Authorization: bEARER  k1 ", "x-api-key: k2"], [b"k1", b"k2"]),
        (["X-Api-Key: k2", "Api-Key: k3", "Authorization: Bearer k1"], [b"k1", b"k2", b"k3"]),
        (["Authorization: Bearer a b"], [b"a b"]),
        (["Authorization: Bearer ", "X-Api-Key: k1"], [b"k1"]),
        (["Authorization: Token x", "X-Api-Key: k1"], [b"k1"]),
        (["Authorization: Bearer a", "Authorization: Bearer b"], [b"a", b"b"]),
        ([basic("user:k1")], [b"k1"]),
        ([basic("k:1:2")], [b"1:2"]),
        ([basic("nocolon")], []),
        (["Authorization: Basic !!!"], []),
        ([basic(":"), "X-Api-Key: "], []),
        (["Authorization: k1", "Cookie: key=k1", "Proxy-Authorization: Bearer k1"], []),
        ([*UPGRADE, PROTOCOLS], [b"k1"]),
        ([PROTOCOLS], []),
    ],
)
def test_where_the_keys_are(lines: list[str], keys: list[bytes]) -> None:
    """Basic's password or Bearer's token, `x-api-key`, `api-key`, a WebSocket's subprotocol."""
    assert list(keys_of(request(*lines))) == keys


@pytest.mark.parametrize(
    ("line", "left"),
    [
        ("Authorization: Bearer k1", None),
        ("Authorization: Token k1", None),
        ("Authorization: Bearer  k1", None),
        ("Authorization: k1", None),
        ("Authorization: Bearer k1, Bearer foreign", None),
        ('Authorization: Token "k1"', None),
        (basic("u:k1"), None),
        (basic("k1:"), None),
        ("x-api-key: k1", None),
        ("x-api-key: Bearer k1", None),
        ("api-key: k1", None),
        (PROTOCOLS, "Sec-WebSocket-Protocol: realtime, openai-beta.realtime-v1"),
        ("Sec-WebSocket-Protocol: openai-insecure-api-key.k1", None),
        ("Authorization: Bearer foreign", "the same"),
        (basic("u:foreign"), "the same"),
        ("x-api-key: foreign", "the same"),
        ("api-key: foreign", "the same"),
        ("Sec-WebSocket-Protocol: realtime,  openai-insecure-api-key.foreign", "the same"),
        ("X-Other: k1", "the same"),
    ],
)
def test_our_keys_stay_here(line: str, left: str | None) -> None:
    """What holds a key of ours is left out, in whatever form; the rest goes on as it came."""
    fields = request(line).headers
    found = without_keys(fields, lambda key: key == b"k1")
    expected = line if left == "the same" else left
    shown = [f"{name.decode()}: {value.decode()}" for name, value in found[1:]]
    assert shown == ([] if expected is None else [expected])


def test_a_target_s_own_key_replaces_them_all() -> None:
    """Nothing of the client's credentials is left; other fields and subprotocols are."""
    fields = request(
        "Authorization: Bearer x", "x-api-key: y", "API-Key: z", PROTOCOLS, "X-Other: 1"
    ).headers
    assert [name for name, _ in without_any(fields)] == [
        b"Host",
        b"Sec-WebSocket-Protocol",
        b"X-Other",
    ]
    assert dict(without_any(fields))[b"Sec-WebSocket-Protocol"] == (
        b"realtime, openai-beta.realtime-v1"
    )
