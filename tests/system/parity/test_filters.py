"""What a model's filters make of a request, byte by byte."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from support.streams import model

if TYPE_CHECKING:
    from support.server import Answer, Modelswap
    from support.streams import Serve

CONFIG = f"""
macros: {{heat: 0.7}}
groups: {{all: {{swap: false, members: [m, n, legacy, plain]}}}}
models:
{
    model(
        "m",
        aliases=["nick"],
        useModelName="upstream-name",
        filters={
            "stripParams": "top_k, model ,temperature,,nested.inner",
            "setParams": {
                "temperature": "${heat}",
                "chat_template_kwargs.x": False,
                "model": "ignored",
                "list": [1, {"a": None}],
            },
            "setParamsByID": {"m:low": {"effort": "low", "temperature": 0.1}},
        },
    )
}
{model("n", filters={"setParams": {"chat_template_kwargs.x": False}}, aliases=["alias-n"])}
{model("legacy", filters={"strip_params": "top_k"})}
{model("plain")}
"""
JSON = {"Content-Type": "application/json"}


@pytest.fixture(scope="module")
def server(serve: Serve) -> Modelswap:
    return serve(CONFIG)


def sent(server: Modelswap, text: str) -> str:
    """The body that arrived at the model server."""
    answer = server.ask("POST", "/v1/rerank", text, JSON)
    assert answer.status == 200, answer.body
    body = answer.json()["body"]
    assert isinstance(body, str)
    assert answer.json()["received"] == len(body)
    return body


def test_all_filters(server: Modelswap) -> None:
    """Rename, strip, set, in that order; stripped and set keys come back at the end."""
    body = sent(server, '{"model":"m","temperature":2,"top_k":1,"nested":{"inner":1,"x":2}}')
    assert json.loads(body) == {
        "model": "upstream-name",
        "temperature": 0.7,
        "nested": {"x": 2},
        "chat_template_kwargs": {"x": False},
        "list": [1, {"a": None}],
    }


def test_parameters_by_id_come_last(server: Modelswap) -> None:
    """`setParamsByID` of the requested name wins over `setParams`."""
    body = json.loads(sent(server, '{"model":"m:low"}'))
    assert (body["effort"], body["temperature"]) == ("low", 0.1)
    assert "effort" not in json.loads(sent(server, '{"model":"nick"}'))


def test_an_alias_keeps_its_name(server: Modelswap) -> None:
    """§16, 8: alias kept as `model`, the nested object made."""
    body = json.loads(sent(server, '{"model":"alias-n","a":1}'))
    assert body == {"model": "alias-n", "a": 1, "chat_template_kwargs": {"x": False}}


def test_what_no_edit_touches_keeps_its_bytes(server: Modelswap) -> None:
    """Order, blanks and the spelling of numbers stay."""
    text = '{ "model" : "n",\n  "f": 1.50, "e":1e2, "big": 123456789012345678901234567890,"u":"\\u00e9" }'
    body = sent(server, text)
    assert text.rstrip(" }") in body
    assert json.loads(body)["chat_template_kwargs"] == {"x": False}


def test_without_filters_nothing_changes(server: Modelswap) -> None:
    """A model without filters gets the bytes as they came."""
    text = '{"z":  1,\t"model":"plain" , "a":[ ] }\n'
    assert sent(server, text) == text


def test_the_old_spelling(server: Modelswap) -> None:
    """`strip_params` is understood."""
    assert json.loads(sent(server, '{"model":"legacy","top_k":1,"a":2}')) == {
        "model": "legacy",
        "a": 2,
    }


def test_upstream_is_not_filtered(server: Modelswap) -> None:
    """Below `/upstream` the body passes as it is."""
    text = '{"model":"m","top_k":1}'
    answer = server.ask("POST", "/upstream/m/v1/rerank", text, JSON)
    assert answer.json()["body"] == text


def test_urlencoded_bodies_are_not_filtered(server: Modelswap) -> None:
    """Neither renamed nor stripped."""
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    answer = server.ask("POST", "/v1/rerank", "model=m&top_k=1", headers)
    assert answer.json()["body"] == "model=m&top_k=1"


# Forms

FORM = (
    b'--B\r\nContent-Disposition: form-data; name="file"; filename="a b.wav"\r\n'
    b"Content-Type: audio/wav\r\nX-Part: kept\r\n\r\n\x00\x01\xff--B\r\n"
    b'--B\r\nContent-Disposition: form-data; name="model"\r\n\r\n%s\r\n'
    b'--B\r\nContent-Disposition: form-data; name="language"\r\n\r\nde\r\n--B--\r\n'
)


def form(server: Modelswap, name: bytes) -> Answer:
    headers = {"Content-Type": "multipart/form-data; boundary=B"}
    return server.ask("POST", "/v1/audio/voices", FORM % name, headers)


def test_a_form_without_rewriting(server: Modelswap) -> None:
    """Forwarded byte for byte."""
    assert form(server, b"plain").json()["body"] == (FORM % b"plain").decode("latin-1")


def test_a_renamed_form(server: Modelswap) -> None:
    """Better: `useModelName` changes the field; order, part types and file names stay."""
    got = form(server, b"nick").json()["body"].encode("latin-1")
    assert got.index(b'name="file"') < got.index(b'name="model"') < got.index(b'name="language"')
    assert b"\r\n\r\nupstream-name\r\n" in got
    assert b'filename="a b.wav"\r\nContent-Type: audio/wav\r\nX-Part: kept\r\n' in got
    assert b"\x00\x01\xff--B\r\n" in got


def test_a_malformed_form(server: Modelswap) -> None:
    """A form that cannot be read is a 400."""
    headers = {"Content-Type": "multipart/form-data"}
    answer = server.ask("POST", "/v1/audio/transcriptions", b"x", headers)
    assert answer.status == 400
