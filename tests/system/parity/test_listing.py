"""`/v1/models`, `/running` and `/api/profiles`: every field of every kind of record."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import pytest

from support.streams import error_of, model

if TYPE_CHECKING:
    from support.server import Modelswap
    from support.streams import Serve

CONFIG = f"""
includeAliasesInList: true
globalTTL: 300
models:
{
    model(
        "plain",
        aliases=["nick", " padded "],
        name=" Plain ",
        description=" a model ",
        metadata={"port": "${PORT}", "type": "mine", "n": [1, {"x": True}]},
    )
}
{
    model(
        "rich",
        capabilities={
            "in": ["text", "image", "audio"],
            "out": ["text", "image", "audio"],
            "tools": True,
            "reranker": True,
            "context": 8192,
        },
        metadata={"capabilities": "dropped", "context_length": 1, "kept": 2},
        filters={"setParamsByID": {"rich:high": {"effort": 1}}},
        ttl=60,
    )
}
{model("hidden", unlisted=True, capabilities={"in": ["text"]})}
{model("sees", capabilities={"in": ["text"], "context": 4})}
peers:
  far: {{proxy: "http://127.0.0.1:9", models: [m1, both, m1]}}
  farther: {{proxy: "http://127.0.0.1:9", models: [both]}}
selectors:
  sel: {{strategy: warm, targets: [plain, rich], name: Sel, metadata: {{k: v}}}}
  spill: {{strategy: spillover, targets: [plain], settings: {{spillover: 3}}}}
  fixed: {{strategy: pin, targets: [rich, plain]}}
  secret: {{strategy: pin, targets: [rich], unlisted: true}}
profiles:
  work: {{description: for work, pins: {{llm: plain, off: "", plain: rich, m1: rich}}}}
"""


@pytest.fixture(scope="module")
def server(serve: Serve) -> Modelswap:
    return serve(CONFIG)


def listed(server: Modelswap) -> dict[str, Any]:
    return {r["id"]: r for r in server.ask("GET", "/v1/models").json()["data"]}


def test_the_list_itself(server: Modelswap) -> None:
    """`data` before `object`, sorted by id, the same on both paths, ended by a newline."""
    answer = server.ask("GET", "/v1/models")
    assert answer.headers["content-type"] == "application/json"
    assert answer.body.startswith(b'{"data":[{"')
    assert answer.body.endswith(b'"object":"list"}\n')
    ids = [record["id"] for record in answer.json()["data"]]
    assert ids == sorted(ids)
    for path in ("/models", "/v1/models/", "/models/", "/v1/models/?x=1"):
        other = server.ask("GET", path).json()["data"]
        assert [record["id"] for record in other] == ids
    assert server.ask("HEAD", "/v1/models/").status == 200
    assert server.ask("GET", "/v1/models/plain/").json()["id"] == "plain"


def test_what_is_listed(server: Modelswap) -> None:
    """Models, aliases, peers, selectors; nothing unlisted, no pins without a profile."""
    assert set(listed(server)) == {
        "plain", "nick", "padded", "rich", "rich:high", "sees", "far/m1", "far/both",
        "farther/both", "sel", "spill", "fixed",
    }  # fmt: skip


def test_a_plain_model(server: Modelswap) -> None:
    """Exactly these fields; `created` is now; internal keys win over metadata."""
    record = listed(server)["plain"]
    created = record.pop("created")
    assert abs(created - time.time()) < 10  # noqa: TID251 - the wire has wall time
    port = record["meta"]["llamaswap"].pop("port")
    assert isinstance(port, int)
    assert record == {
        "id": "plain",
        "object": "model",
        "owned_by": "llama-swap",
        "name": "Plain",
        "description": "a model",
        "meta": {
            "llamaswap": {
                "n": [1, {"x": True}],
                "type": "model",
                "aliases": ["nick", " padded "],
            }
        },
        "status": {"value": "unloaded"},
    }


def test_capabilities(server: Modelswap) -> None:
    """Architecture, capabilities, parameters, context; the metadata's own give way."""
    record = listed(server)["rich"]
    assert record["architecture"] == {
        "input_modalities": ["text", "image", "audio"],
        "modality": "text+image+audio->text+image+audio",
        "output_modalities": ["text", "image", "audio"],
    }
    assert record["capabilities"] == {
        "vision": True,
        "audio_transcriptions": True,
        "audio_speech": True,
        "image_generation": True,
        "image_to_image": True,
        "function_calling": True,
        "reranker": True,
    }
    assert record["supported_parameters"] == ["tools", "tool_choice"]
    assert record["context_length"] == 8192
    assert record["meta"] == {
        "llamaswap": {"kept": 2, "type": "model", "aliases": ["rich:high"]},
        "n_ctx": 8192,
    }


def test_few_capabilities(server: Modelswap) -> None:
    """What is not there is left out."""
    record = listed(server)["sees"]
    assert record["architecture"] == {"input_modalities": ["text"]}
    assert "capabilities" not in record
    assert "supported_parameters" not in record
    assert (record["context_length"], record["meta"]["n_ctx"]) == (4, 4)


def test_aliases(server: Modelswap) -> None:
    """An alias copies its model and names it."""
    found = listed(server)
    assert found["padded"]["meta"]["llamaswap"]["modelID"] == "plain"
    assert found["nick"]["meta"]["llamaswap"]["type"] == "alias"
    assert (found["nick"]["name"], found["nick"]["description"]) == ("Plain", "a model")
    assert "aliases" not in found["nick"]["meta"]["llamaswap"]
    assert found["rich:high"]["capabilities"] == found["rich"]["capabilities"]


def test_peers(server: Modelswap) -> None:
    """A peer's model: qualified id, `peer: model` as name, always unloaded."""
    record = listed(server)["far/m1"]
    record.pop("created")
    assert record == {
        "id": "far/m1",
        "object": "model",
        "owned_by": "llama-swap",
        "name": "far: m1",
        "meta": {"llamaswap": {"type": "peer", "peerID": "far"}},
        "status": {"value": "unloaded"},
    }


def test_selectors(server: Modelswap) -> None:
    """A selector: its own name and metadata, strategy, targets, and spillover for that one."""
    found = listed(server)
    assert found["sel"]["name"] == "Sel"
    assert found["sel"]["meta"]["llamaswap"] == {
        "k": "v",
        "type": "selector",
        "strategy": "warm",
        "targets": ["plain", "rich"],
    }
    assert found["spill"]["meta"]["llamaswap"]["spillover"] == 3
    assert "spillover" not in found["fixed"]["meta"]["llamaswap"]


def test_loaded(server: Modelswap) -> None:
    """A running model is `loaded`, with its aliases and selectors; `pin` reads its first target."""
    assert server.chat("plain").status == 200
    found = listed(server)
    for name in ("plain", "nick", "sel", "spill"):
        assert found[name]["status"] == {"value": "loaded"}, name
    for name in ("rich", "fixed", "far/m1"):
        assert found[name]["status"] == {"value": "unloaded"}, name
    server.ask("POST", "/api/models/unload")


def test_one_model(server: Modelswap) -> None:
    """Better: `GET /v1/models/{id}` is one record of the list, hidden models included."""
    one = server.ask("GET", "/v1/models/far%2Fm1").json()
    assert one["meta"] == {"llamaswap": {"type": "peer", "peerID": "far"}}
    assert server.ask("GET", "/v1/models/far/m1").status == 200
    hidden = server.ask("GET", "/v1/models/hidden").json()
    assert hidden["architecture"] == {"input_modalities": ["text"]}
    assert hidden["created"] > 0
    assert server.ask("GET", "/v1/models/nope").status == 404


def test_running(server: Modelswap) -> None:
    """Exactly llama-swap's fields, and ours behind them; nothing when nothing runs."""
    assert server.ask("GET", "/running").json() == {"running": []}
    for name in ("plain", "rich"):
        assert server.chat(name).status == 200
    (row,) = server.ask("GET", "/running").json()["running"]
    assert list(row)[:7] == ["model", "state", "cmd", "proxy", "ttl", "name", "description"]
    assert (row["model"], row["state"], row["ttl"], row["name"]) == ("rich", "ready", 60, "")
    port = row["proxy"].removeprefix("http://localhost:")
    assert row["cmd"].endswith(f"--port {port}")
    assert isinstance(row["pid"], int)
    server.chat("plain")
    assert server.ask("GET", "/running").json()["running"][0]["ttl"] == 300
    server.ask("POST", "/api/models/unload")


# Profiles


def activate(server: Modelswap, body: object) -> Any:
    text = body if isinstance(body, str) else json.dumps(body)
    return server.ask("PUT", "/api/profiles/active", text)


def test_profiles(server: Modelswap) -> None:
    """What there is, and which is active; a pin that is off is ""."""
    assert server.ask("GET", "/api/profiles").json() == {
        "active": None,
        "profiles": [
            {
                "id": "work",
                "description": "for work",
                "pins": {"llm": "plain", "off": "", "plain": "rich", "m1": "rich"},
            }
        ],
    }


def test_an_active_profile_lists_its_new_names(server: Modelswap) -> None:
    """Pins that are no other name are listed; those of nothing are not."""
    assert activate(server, {"name": "work"}).json() == {"active": "work"}
    found = listed(server)
    record = found["llm"]
    record.pop("created")
    assert record == {
        "id": "llm",
        "object": "model",
        "owned_by": "llama-swap",
        "meta": {"llamaswap": {"type": "profile"}},
        "status": {"value": "unloaded"},
    }
    assert "off" not in found
    assert "m1" not in found
    assert found["plain"]["meta"]["llamaswap"]["type"] == "model"
    assert activate(server, {"name": None}).json() == {"active": None}
    assert "llm" not in listed(server)
    activate(server, {"name": "work"})
    assert activate(server, {"name": ""}).json() == {"active": None}


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        ("x", 400, "invalid profile request"),
        ("[1]", 400, "invalid profile request"),
        ("{}", 400, "profile name is required"),
        ('{"name":5}', 400, "profile name must be a string or null"),
        ('{"name":"x"}', 404, 'profile "x" not found'),
    ],
)
def test_refused_profiles(server: Modelswap, body: str, status: int, message: str) -> None:
    """Every refusal has its message."""
    answer = activate(server, body)
    assert (answer.status, error_of(answer)["message"]) == (status, message)
