"""How long models stay loaded by what requests ask for, and the model that is loaded when none is used."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from support.server import wait_until
from support.streams import error_of, model

if TYPE_CHECKING:
    from support.server import Modelswap
    from support.streams import Serve


def row(server: Modelswap, name: str) -> dict[str, Any]:
    rows = server.ask("GET", "/running").json()["running"]
    (found,) = [one for one in rows if one["model"] == name]
    assert isinstance(found, dict)
    return found


def left(server: Modelswap, name: str) -> float | None:
    """Seconds until the model is unloaded, as `/running` says."""
    at = row(server, name)["expires_at"]
    return None if at is None else (datetime.fromisoformat(at) - datetime.now(UTC)).total_seconds()


ASKED = f"""
requestTTL: {{min: 0, max: 2h}}
groups: {{all: {{swap: false, members: [free, timed, bounded, silent]}}}}
models:
{model("free")}
{model("timed", ttl=600)}
{model("bounded", ttl=600, requestTTL={"min": 300, "max": 900})}
{model("silent", aliases=["nick"])}
"""


@pytest.fixture(scope="module")
def server(serve: Serve) -> Modelswap:
    return serve(ASKED)


def test_keep_alive_of_a_body(server: Modelswap) -> None:
    """The latest time counts; `/running` shows when that is; 0 unloads after the response."""
    assert server.chat("free", keep_alive="30m").status == 200
    assert 1790 < (left(server, "free") or 0) <= 1800
    assert server.chat("free", keep_alive="5m").status == 200
    assert (left(server, "free") or 0) > 1700
    assert server.chat("free", keep_alive=-1).status == 200
    assert 7000 < (left(server, "free") or 0) <= 7200  # as long as may be
    assert server.chat("free", keep_alive=0).status == 200
    wait_until(lambda: "free" not in server.running())


def test_the_body_goes_on_unchanged(server: Modelswap) -> None:
    """The model server gets the field, too."""
    body = {"model": "free", "keep_alive": "10m"}
    echo = server.ask("POST", "/v1/rerank", body).json()
    assert json.loads(echo["body"]) == body


def test_other_forms(server: Modelswap) -> None:
    """LM Studio's `ttl`, and a header for requests whose body is no JSON."""
    assert server.chat("nick", ttl=60).status == 200
    assert (left(server, "silent") or 0) <= 60
    headers = {"X-Modelswap-TTL": "0"}
    assert server.ask("GET", "/upstream/silent/stub/state", headers=headers).status == 200
    wait_until(lambda: "silent" not in server.running())


def test_the_ttl_beside_it(server: Modelswap) -> None:
    """A request that says nothing asks for the ttl; bounds of a model come before the common ones."""
    assert server.chat("timed").status == 200
    assert server.chat("timed", keep_alive="1m").status == 200
    assert 590 < (left(server, "timed") or 0) <= 600
    assert server.chat("bounded", keep_alive=0).status == 200
    assert 290 < (left(server, "bounded") or 0) <= 300
    assert server.chat("bounded", keep_alive="1h").status == 200
    assert 890 < (left(server, "bounded") or 0) <= 900


def test_what_is_no_time(server: Modelswap) -> None:
    """400 with what was expected and found; nothing is loaded for it."""
    server.ask("POST", "/unload")
    answer = server.chat("free", keep_alive="soon")
    assert answer.status == 400
    assert error_of(answer)["message"] == (
        "keep_alive: expected seconds, a duration such as 5m or 1h30m, a negative one for ever, "
        'or 0 to unload the model; found "soon"'
    )
    assert server.running() == {}


def test_without_the_key_nothing_changes(serve: Serve) -> None:
    """As in llama-swap: the field is the model server's alone, right or wrong."""
    server = serve(f"models:\n{model('a')}")
    for said in (0, "soon", -1, {"a": 1}):
        assert server.chat("a", keep_alive=said).status == 200
    assert server.running() == {"a": "ready"}
    assert row(server, "a")["expires_at"] is None


IDLE = """
globalTTL: 1
hooks: {on_idle: {model: chat, after: AFTER}}
models:
"""


def test_the_idle_model(serve: Serve) -> None:
    """It is loaded when no model was used for a while, in the place of another, and stays."""
    text = IDLE.replace("AFTER", "1.5").replace("globalTTL: 1", "globalTTL: 0")
    server = serve(text + model("chat") + model("code"))
    wait_until(lambda: server.running() == {"chat": "ready"})
    assert server.chat("code").status == 200
    assert server.running() == {"code": "ready"}
    wait_until(lambda: server.running() == {"chat": "ready"})
    assert row(server, "chat")["expires_at"] is None


def test_an_unloaded_idle_model(serve: Serve) -> None:
    """An order to unload it holds until a request comes; a reload can name another."""
    text = IDLE.replace("AFTER", "0.5")
    server = serve(text + model("chat") + model("code"), "--watch-config")
    wait_until(lambda: server.running() == {"chat": "ready"})
    server.ask("POST", "/unload")
    with pytest.raises(AssertionError, match="not within"):
        wait_until(server.running, seconds=1.5)
    assert server.chat("code").status == 200
    wait_until(lambda: server.running() == {"chat": "ready"})
    server.write_config(text.replace("model: chat", "model: code") + model("chat") + model("code"))
    wait_until(lambda: server.running() == {"code": "ready"})
