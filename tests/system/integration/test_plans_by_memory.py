"""Plans and decisions where models are placed by memory, with the real engine."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

from support.server import engine_command

if TYPE_CHECKING:
    from pathlib import Path

    from support.running import StartServer
    from support.server import Modelswap

CHAT = {"messages": [{"role": "user", "content": "hello"}], "max_tokens": 4}


def plan(server: Modelswap, name: str) -> dict[str, Any]:
    found: dict[str, Any] = server.ask("GET", f"/api/plan?model={name}").json()
    return found


def test_a_plan_foretells_the_swap(
    modelswap_server: StartServer, tmp_path: Path, weights: dict[str, Path]
) -> None:
    """Who leaves, why, and how many bytes: the request does it, and the decision says it again."""
    folder = tmp_path / "models"
    folder.mkdir()
    for name in ("red", "blue", "green"):
        shutil.copy(weights["red"], folder / f"{name}-F16.gguf")
    config = (
        "devices: {ram: {capacity: 100MiB, reserve: 10MiB}}\n"
        f"routing: {{router: {{use: memory, settings: {{memory: {{minResidency: 0s}}}}}}}}\n"
        f"discover: {json.dumps(str(folder))}\n"
    )
    server = modelswap_server(config)
    first = plan(server, "red:f16")
    assert (first["verdict"], first["need"]["source"]) == ("start", "predicted")
    assert first["memory"]["predicted"]["parts"]
    assert first["decides_by_memory"] is True
    (ram,) = first["devices"]
    assert (ram["total"], ram["reserve"], ram["held"]) == (100 << 20, 10 << 20, 0)
    assert ram["after"] == sum(first["need"]["fixed"].values())
    for name in ("red:f16", "blue:f16"):
        answer = server.ask("POST", "/v1/chat/completions", {"model": name, **CHAT}, seconds=120)
        assert answer.status == 200
    told = plan(server, "green:f16")
    assert told["verdict"] in {
        "swap",
        "wait",
    }  # a model may be kept for a next request for a moment
    (victim,) = told["evictions"]
    assert victim["frees"]["ram"] > 20 << 20
    assert victim["model"] in told["text"]
    assert told["why"]
    (ram,) = told["devices"]
    assert ram["models"].keys() == {"red:f16", "blue:f16"}
    assert ram["after"] < ram["total"] - ram["reserve"] < ram["held"] + told["need"]["fixed"]["ram"]
    answer = server.ask("POST", "/v1/chat/completions", {"model": "green:f16", **CHAT}, seconds=120)
    assert answer.status == 200
    (newest,) = server.ask("GET", "/api/decisions?limit=1").json()["data"]
    assert [one["model"] for one in newest["evicted"]] == [victim["model"]]
    (change,) = newest["memory"]
    assert change["before"] > 0
    assert change["after"] > 0
    assert newest["ending"] == "ready"


def test_a_model_that_never_fits(modelswap_server: StartServer, weights: dict[str, Path]) -> None:
    """The plan refuses as the request is refused, with the same words and by how much.

    A context is given: without one the server fits itself, and is never refused.
    """
    config = (
        "devices: {ram: {capacity: 30MiB, reserve: 10MiB}}\nrouting: {router: {use: memory}}\n"
        f"models: {{red: {{cmd: {json.dumps(engine_command(weights['red'], '-c', '512'))}}}}}\n"
    )
    server = modelswap_server(config)
    told = plan(server, "red")
    assert (told["verdict"], told["refused"]["reason"]) == ("refuse", "never_fits")
    answer = server.ask("POST", "/v1/chat/completions", {"model": "red", **CHAT})
    assert answer.status == 503
    assert told["refused"]["why"] in answer.json()["error"]["message"]
    assert told["refused"]["why"] in told["text"]
