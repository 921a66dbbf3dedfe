"""`/upstream/…`, `/comfyui/…` and web sockets: requests that pass unchanged."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import websockets.exceptions
from websockets.sync.client import connect

from support.server import wait_until
from support.streams import error_of, model, raw_head, rows

if TYPE_CHECKING:
    from support.server import Modelswap
    from support.streams import Serve

CONFIG = f"""
groups: {{all: {{swap: false, members: [m1, author/model, deaf, cold]}}}}
models:
{model("m1", aliases=["nick", "vendor/nick"], ttl=2)}
{model("author/model", unlisted=True)}
{model("author")}
{model("deaf", compat={"ignoreWebsockets": True})}
{model("cold")}
{model("comfyui_auto")}
"""


@pytest.fixture(scope="module")
def server(serve: Serve) -> Modelswap:
    return serve(CONFIG)


@pytest.mark.parametrize(
    ("path", "arrives"),
    [
        ("/upstream/m1/", "/"),
        ("/upstream/m1/any/thing", "/any/thing"),
        ("/upstream/nick/x", "/x"),
        ("/upstream/vendor/nick/x", "/x"),
        ("/upstream/vendor%2Fnick/x", "/x"),
        ("/upstream/author/model/v1/a%2Fb", "/v1/a%2Fb"),
        ("/upstream/author%2Fmodel/v1/x", "/v1/x"),
        ("/upstream/author/other", "/other"),
        ("/upstream/m1/http:%2F%2Fh/a", "/http:%2F%2Fh/a"),
        ("/upstream/m1/a%20b%C3%A9", "/a%20b%C3%A9"),
    ],
)
def test_the_longest_name_wins(server: Modelswap, path: str, arrives: str) -> None:
    """§7: names with slashes, encoded or not; the rest keeps its escapes and the query."""
    found = server.ask("GET", f"{path}?x=1&y=%2F").json()
    assert (found["path"], found["query"]) == (arrives, "x=1&y=%2F")


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE", "PROPFIND"])
def test_any_method(server: Modelswap, method: str) -> None:
    """Every method passes, with its body."""
    found = server.ask(method, "/upstream/m1/thing", "hello").json()
    assert (found["method"], found["body"]) == (method, "hello")


@pytest.mark.parametrize("path", ["/upstream/", "/upstream/nope/x", "/upstream/nope"])
def test_unknown_models(server: Modelswap, path: str) -> None:
    """404 `model not found`."""
    answer = server.ask("GET", path)
    assert (answer.status, error_of(answer)["message"]) == (404, "model not found")


@pytest.mark.parametrize("path", ["a.css", "x/y.js", "a.json", "x.ico", "a.b.txt"])
def test_ignored_paths_start_nothing(server: Modelswap, path: str) -> None:
    """§16, 10: 409 while the model is not ready."""
    answer = server.ask("GET", f"/upstream/cold/{path}?q=1")
    assert answer.status == 409
    message = "model cold is not loaded; path matches upstream.ignorePaths"
    assert error_of(answer) | {"message": message} == error_of(answer)
    assert "cold" not in server.running()


def test_ignored_paths_pass_when_it_runs(server: Modelswap) -> None:
    """A ready model gets them."""
    assert server.ask("GET", "/upstream/m1/").status == 200
    assert server.ask("GET", "/upstream/m1/a.css").json()["path"] == "/a.css"


def test_polls_start_nothing(server: Modelswap) -> None:
    """Better: monitors that ask for metrics or slots load no model."""
    for path in (
        "/upstream/cold/metrics", "/upstream/cold/slots", "/slots?model=cold",
        "/lora-adapters?model=cold",
    ):  # fmt: skip
        for method in ("GET", "HEAD"):
            assert server.ask(method, path).status == 409
    assert "cold" not in server.running()


def test_model_routes_below_upstream_are_recorded(server: Modelswap) -> None:
    """POST + a model route leaves a row under the remaining path; nothing else does."""
    assert server.ask("POST", "/upstream/nick/v1/rerank", {"model": "zzz"}).status == 200
    newest = rows(server)[0]
    assert (newest["req_path"], newest["model"]) == ("/v1/rerank", "m1")
    for method, path in (("GET", "v1/audio/voices"), ("POST", "v1/other"), ("GET", "props")):
        assert server.ask(method, f"/upstream/m1/{path}").status == 200
    assert rows(server)[0]["id"] == newest["id"]


@pytest.mark.parametrize(
    "path", ["tokenize", "detokenize", "apply-template", "props", "embeddings", "v1/score"]
)
def test_other_routes_below_upstream_are_not_recorded(server: Modelswap, path: str) -> None:
    """Routes that llama-swap has below `/upstream` only are not recorded there."""
    before = rows(server, "?limit=1")
    assert server.ask("POST", f"/upstream/m1/{path}", {"content": "x"}).status == 200
    assert server.ask("POST", "/tokenize", {"model": "nick"}).status == 200
    (newest,) = rows(server, "?limit=1")
    assert newest["req_path"] == "/tokenize"
    assert newest["id"] == (before[0]["id"] if before else 0) + 1


def test_ignore_paths_may_be_off(serve: Serve) -> None:
    """Better: `[]` switches the list off."""
    server = serve(f"upstream: {{ignorePaths: []}}\nmodels:\n{model('m')}")
    assert server.ask("GET", "/upstream/m/a.css").json()["path"] == "/a.css"


def test_own_ignore_paths(serve: Serve) -> None:
    """A list of our own replaces the default; searched anywhere in the path, never the query."""
    server = serve(f"upstream: {{ignorePaths: ['^/static/', 'b$']}}\nmodels:\n{model('m')}")
    assert server.ask("GET", "/upstream/m/static/x").status == 409
    assert server.ask("GET", "/upstream/m/a/b?x=1").status == 409
    assert server.ask("GET", "/upstream/m/a.css?x=b").status == 200


# ComfyUI


def test_comfyui(server: Modelswap) -> None:
    """§8: only the root starts it; then everything passes without its prefix."""
    answer = server.ask("GET", "/comfyui/api/queue")
    assert answer.status == 409
    assert error_of(answer)["message"] == (
        "model comfyui_auto is not loaded; only /comfyui/ can start it"
    )
    for method, status in (("GET", 301), ("POST", 308)):
        answer = server.ask(method, "/comfyui?x=1")
        assert (answer.status, answer.headers["location"]) == (status, "comfyui/?x=1")
    before = rows(server, "?limit=1")
    assert server.ask("GET", "/comfyui/").json()["path"] == "/"
    found = server.ask("PUT", "/comfyui/api/a%2Fb?x=1", "body").json()
    assert (found["method"], found["path"], found["query"]) == ("PUT", "/api/a%2Fb", "x=1")
    assert server.ask("POST", "/comfyui/v1/rerank", "{}").status == 200
    assert rows(server, "?limit=1") == before


def test_no_comfyui(serve: Serve) -> None:
    """Not configured: 404, for a peer of that name too."""
    server = serve("peers: {p: {proxy: 'http://127.0.0.1:9', models: [comfyui_auto]}}\n")
    answer = server.ask("GET", "/comfyui/")
    assert answer.status == 404
    assert error_of(answer)["message"] == "local model comfyui_auto not found"


# Web sockets


def test_a_web_socket(server: Modelswap) -> None:
    """§14: the handshake passes, frames go both ways, and the open socket holds a lease."""
    with connect(f"ws://127.0.0.1:{server.port}/upstream/m1/ws") as socket:
        for message in ("hello", b"\x00\x01", "x" * 70_000):
            socket.send(message)
            assert socket.recv(timeout=30) == message
        row = server.ask("GET", "/running").json()["running"]
        assert next(r for r in row if r["model"] == "m1")["in_flight"] == 1


def test_a_web_socket_keeps_a_model_loaded(server: Modelswap) -> None:
    """It outlasts the TTL, which begins when it closes."""
    with connect(f"ws://127.0.0.1:{server.port}/upstream/m1/ws") as socket:
        with pytest.raises(TimeoutError):
            socket.recv(timeout=2.5)
        assert "m1" in server.running()
    wait_until(lambda: "m1" not in server.running())


def test_ignored_web_sockets(server: Modelswap) -> None:
    """`ignoreWebsockets`: 409 while it is not ready; no lease when it is."""
    url = f"ws://127.0.0.1:{server.port}/upstream/deaf/ws"
    with pytest.raises(websockets.exceptions.InvalidStatus) as refused, connect(url):
        pass
    assert refused.value.response.status_code == 409
    assert b"ignored websocket requests cannot start it" in (refused.value.response.body or b"")
    assert server.ask("GET", "/upstream/deaf/").status == 200
    with connect(url) as socket:
        socket.send("hello")
        assert socket.recv(timeout=30) == "hello"
        row = server.ask("GET", "/running").json()["running"]
        assert next(r for r in row if r["model"] == "deaf")["in_flight"] == 0


def test_comfyui_s_web_sockets_are_ignored(server: Modelswap) -> None:
    """`comfyui_auto` is always so: a stop breaks the socket and does not wait."""
    assert server.ask("GET", "/comfyui/").status == 200
    with connect(f"ws://127.0.0.1:{server.port}/comfyui/ws") as socket:
        socket.send("hello")
        assert socket.recv(timeout=30) == "hello"
        stopped = "<comfyui_auto> stopped"
        before = server.log().count(stopped)
        assert server.ask("POST", "/api/models/unload/comfyui_auto").body == b"OK"
        with pytest.raises(websockets.exceptions.ConnectionClosed):
            socket.recv(timeout=30)
    wait_until(lambda: server.log().count(stopped) > before, what="the stop is logged")
    assert server.log().rsplit("<comfyui_auto> stopping: ", 1)[1].startswith("unloaded")


def test_other_upgrades(server: Modelswap) -> None:
    """Any protocol passes, its names in any case."""
    got = raw_head(server, "GET /upstream/m1/x HTTP/1.1", "Host: localhost", "Upgrade: nothing")
    assert got.startswith(b"HTTP/1.1 200")
