"""The bare name for a peer that the path named in full."""

from __future__ import annotations

import pytest

from modelswap.api.routing.filters import EditedRequest
from modelswap.api.routing.peer_names import bare_form, bare_request
from modelswap.core.naming.names import PeerTarget

FAR = PeerTarget("far", "big", "far/big", rewrite="big")
JSON = "application/json"


@pytest.mark.parametrize(
    ("method", "content_type", "query", "body", "expected"),
    [
        (
            "POST",
            JSON,
            "",
            b'{"model":"far/big","x":1}',
            EditedRequest(b'{"model":"big","x":1}', ""),
        ),
        ("POST", JSON, "a=1", b'{"model":"other"}', EditedRequest(b'{"model":"other"}', "a=1")),
        ("POST", JSON, "", b"no JSON", EditedRequest(b"no JSON", "")),
        ("POST", None, "", b"\x1f\x8b", EditedRequest(b"\x1f\x8b", "")),
        ("GET", None, "model=far%2Fbig", b"", EditedRequest(b"", "model=big")),
        ("GET", None, "model=x&model=far/big", b"", EditedRequest(b"", "model=x&model=far/big")),
    ],
)
def test_only_the_name_in_full_is_changed(
    method: str, content_type: str | None, query: str, body: bytes, expected: EditedRequest
) -> None:
    assert bare_request(FAR, method, content_type, query, body) == expected


def test_so_in_a_form() -> None:
    assert bare_form(FAR, {"model": b"far/big"}).values == {"model": b"big"}
    assert bare_form(FAR, {"model": b"big"}).values == {}
    assert bare_form(FAR, {}).values == {}
