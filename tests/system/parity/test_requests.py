"""Where the model of a request is found, which routes there are, and how errors look.

`/rerank` and other paths the stub does not know are echoed: the response shows
what the model server got.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from support.streams import NO_MODEL, error_of, model, rows

if TYPE_CHECKING:
    from support.server import Answer, Modelswap
    from support.streams import Serve

CONFIG = f"""
logLevel: warn
groups: {{all: {{swap: false, members: [a, b, "5"]}}}}
models:
{model("a", aliases=["nick"], filters={"setParamsByID": {"a:high": {"effort": "high"}}})}
{model("b")}
{model("5")}
"""
FORM = {"Content-Type": "application/x-www-form-urlencoded"}
JSON = {"Content-Type": "application/json"}


@pytest.fixture(scope="module")
def server(serve: Serve) -> Modelswap:
    return serve(CONFIG)


def asked(server: Modelswap, body: bytes | str, kind: str | None, query: str = "") -> Answer:
    headers = {} if kind is None else {"Content-Type": kind}
    return server.ask("POST", f"/v1/rerank{query}", body, headers)


def multipart(**fields: str) -> tuple[bytes, str]:
    parts = "".join(
        f'--XX\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
        for name, value in fields.items()
    )
    return f"{parts}--XX--\r\n".encode(), "multipart/form-data; boundary=XX"


def port_of(server: Modelswap, name: str) -> int:
    rows = server.ask("GET", "/running").json()["running"]
    return next(int(row["proxy"].rpartition(":")[2]) for row in rows if row["model"] == name)


def served_by(server: Modelswap, answer: Answer) -> set[str]:
    """Which models' requests grew; the caller compares."""
    assert answer.status == 200, answer.body
    newest = rows(server, "?limit=1")[0]
    return {newest["model"]}


# Where the model is


def test_json_names_the_model(server: Modelswap) -> None:
    """The top-level `model` of a JSON body chooses."""
    assert served_by(server, asked(server, '{"model":"a"}', "application/json")) == {"a"}


@pytest.mark.parametrize("kind", ["APPLICATION/JSON", "application/json; charset=utf-8", None])
def test_json_is_understood_whatever_its_type_says(server: Modelswap, kind: str | None) -> None:
    """Better than llama-swap: a JSON body needs no exact content type (§16, 2 and 7)."""
    assert served_by(server, asked(server, '{"model":"b"}', kind)) == {"b"}


def test_what_curl_sends_is_understood(server: Modelswap) -> None:
    """`curl -d '{"model":…}'` declares urlencoded and sends JSON."""
    answer = server.ask("POST", "/v1/rerank", '{"model":"b"}', FORM)
    assert served_by(server, answer) == {"b"}


def test_a_number_is_a_name(server: Modelswap) -> None:
    """Scalars become text: 5 → "5"."""
    assert served_by(server, asked(server, '{"model":5}', "application/json")) == {"5"}


def test_two_model_keys_are_refused(server: Modelswap) -> None:
    """Better: proxy and backend could choose differently (§16, 4)."""
    answer = asked(server, '{"model":"a","model":"b"}', "application/json")
    assert (answer.status, error_of(answer)["code"]) == (400, "bad_request")


@pytest.mark.parametrize("body", ['{"model":"a", broken', '{"broken', '{"model":"a"} x'])
def test_broken_json_is_refused(server: Modelswap, body: str) -> None:
    """Better: a body that two programs could read differently is refused."""
    answer = asked(server, body, "application/json")
    assert (answer.status, error_of(answer)["code"]) == (400, "bad_request")


@pytest.mark.parametrize("body", ["", "null", "[]", '{"model":""}', '{"model":null}', "{}"])
def test_json_without_a_model(server: Modelswap, body: str) -> None:
    """404 for whatever names none."""
    answer = asked(server, body, "application/json")
    assert (answer.status, error_of(answer)["message"]) == (404, NO_MODEL)


def test_the_query_is_not_looked_at_for_json(server: Modelswap) -> None:
    """A JSON body without a model has none, whatever the query says."""
    answer = asked(server, '{"x":1}', "application/json", "?model=a")
    assert (answer.status, error_of(answer)["message"]) == (404, NO_MODEL)


def test_a_form_prefers_the_query(server: Modelswap) -> None:
    """Multipart: the query's model wins, the form passes untouched (§16, 5)."""
    body, kind = multipart(model="b", prompt="x")
    answer = server.ask("POST", "/v1/rerank?model=a", body, {"Content-Type": kind})
    assert served_by(server, answer) == {"a"}
    assert answer.json()["body"] == body.decode()
    assert answer.json()["query"] == "model=a"


def test_a_form_field_names_the_model(server: Modelswap) -> None:
    """Multipart: the field `model`, byte for byte forwarded."""
    body, kind = multipart(file="zzz", model="b")
    answer = server.ask("POST", "/v1/audio/voices", body, {"Content-Type": kind})
    assert served_by(server, answer) == {"b"}
    assert answer.json()["body"] == body.decode()


def test_an_urlencoded_body_wins_over_the_query(server: Modelswap) -> None:
    """Urlencoded: the body first, then the query (§16, 6)."""
    assert served_by(server, server.ask("POST", "/rerank?model=a", "model=b", FORM)) == {"b"}
    assert served_by(server, server.ask("POST", "/rerank?model=a", "x=b", FORM)) == {"a"}


def test_an_alias_is_forwarded_as_it_is(server: Modelswap) -> None:
    """An alias finds its model; the body keeps the alias."""
    answer = asked(server, '{"model":"nick"}', "application/json")
    assert answer.json()["model"] == "nick"
    assert rows(server, "?limit=1")[0]["model"] == "a"


def test_parameters_by_id_make_an_alias(server: Modelswap) -> None:
    """A key of `setParamsByID` is an alias with parameters of its own."""
    answer = asked(server, '{"model":"a:high"}', "application/json")
    assert json.loads(answer.json()["body"]) == {"model": "a:high", "effort": "high"}


@pytest.mark.parametrize("path", ["/v1/audio/voices", "/sdapi/v1/loras", "/props"])
def test_get_routes_take_the_query(server: Modelswap, path: str) -> None:
    """GET: `?model=`, and the query goes on untouched; `/props` without is this server's own."""
    answer = server.ask("GET", f"{path}?model=a&x=%2F&autoload=true")
    assert answer.status == 200
    if path != "/props":
        assert answer.json()["query"] == "model=a&x=%2F&autoload=true"
    assert server.ask("GET", path).status == (200 if path == "/props" else 404)


# Every POST route

PLAIN = [
    "/v1/chat/completions",
    "/v1/completions",
    "/v1/responses",
    "/v1/messages",
    "/v1/messages/count_tokens",
    "/v1/embeddings",
    "/rerank",
    "/reranking",
    "/v1/rerank",
    "/v1/reranking",
    "/infill",
    "/completion",
    "/v1/audio/speech",
    "/v1/audio/voices",
    "/v1/images/generations",
    "/sdapi/v1/txt2img",
    "/sdapi/v1/img2img",
    "/v1/audio/transcriptions",
    "/v1/images/edits",
]
OURS = [
    "/tokenize",
    "/detokenize",
    "/apply-template",
    "/lora-adapters",
    "/props",
    "/embedding",
    "/embeddings",
    "/completions",
    "/chat/completions",
    "/v1/audio/translations",
    "/v1/images/variations",
    "/v1/chat/completions/input_tokens",
    "/v1/responses/r1/cancel",
    "/v1/score",
    "/score",
    "/v1/pooling",
    "/pooling",
    "/v1/classify",
    "/classify",
    "/v1/moderations",
    "/v1/videos",
    "/v1/videos/v1/remix",
]
CHANGED = {
    "/audioapi/v1/tasks/run": "/v1/tasks/run",
    "/v/chat/completions": "/chat/completions",
    "/v/completions": "/completions",
    "/v/responses": "/responses",
    "/v/messages": "/messages",
    "/v/messages/count_tokens": "/messages/count_tokens",
    "/v/embeddings": "/embeddings",
    "/v/rerank": "/rerank",
    "/v/reranking": "/reranking",
}


@pytest.mark.parametrize("path", [*PLAIN, *OURS, *CHANGED])
def test_every_model_route_reaches_its_model(server: Modelswap, path: str) -> None:
    """Each POST route answers 200, leaves a row under the path the upstream saw."""
    answer = server.ask("POST", path, {"model": "a"})
    assert answer.status == 200, answer.body
    (row,) = rows(server, "?limit=1")
    assert (row["req_path"], row["model"]) == (CHANGED.get(path, path), "a")
    if answer.headers["content-type"] == "application/json" and "path" in answer.json():
        assert answer.json()["path"] == CHANGED.get(path, path)
