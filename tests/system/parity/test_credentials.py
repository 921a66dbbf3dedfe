"""What a model server or a peer gets of the credentials that a client sent."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import pytest

from support.streams import model

if TYPE_CHECKING:
    from support.server import Modelswap
    from support.streams import RecordingPeer, Serve

OURS = "sk-ours-1"
BACKEND = "sk-backend-7"
NAMES = ("authorization", "x-api-key", "api-key", "proxy-authorization")


def config(peer: RecordingPeer) -> str:
    return f"""
models:
{model("plain")}
{model("trusting", forwardAuthorization=True)}
{model("locked", "--api-key", BACKEND, apiKey="${env.BACKEND_KEY}")}
{model("closed", "--api-key", BACKEND, apiKey="sk-wrong-9", checkEndpoint="none")}
peers:
  open: {{proxy: "{peer.url}", models: [far]}}
  keyed: {{proxy: "{peer.url}", models: [near], apiKey: peer-key, forwardAuthorization: true}}
"""


@pytest.fixture(scope="module")
def unlocked(serve: Serve, peer: RecordingPeer) -> Modelswap:
    """No `apiKeys`."""
    return serve(config(peer), env={"BACKEND_KEY": BACKEND})


@pytest.fixture(scope="module")
def server(serve: Serve, peer: RecordingPeer) -> Modelswap:
    return serve(f"apiKeys: [{OURS}]\n{config(peer)}", env={"BACKEND_KEY": BACKEND})


def got(server: Modelswap, name: str, headers: dict[str, str], path: str = "") -> dict[str, str]:
    """The credentials that the model's server saw."""
    sent = {"Content-Type": "application/json", **headers}
    answer = server.ask("POST", path or "/v1/rerank", {"model": name}, sent)
    assert answer.status == 200, answer.body
    return {k.lower(): v for k, v in answer.json()["headers"] if k.lower() in NAMES}


EVERY = {
    "Authorization": "Bearer foreign",
    "X-Api-Key": "foreign",
    "Api-Key": "foreign",
    "Proxy-Authorization": "Basic eDp5",
}
FOREIGN = {"authorization": "Bearer foreign", "x-api-key": "foreign", "api-key": "foreign"}


@pytest.mark.parametrize("path", ["/v1/rerank", "/upstream/plain/v1/rerank"])
def test_without_keys_of_ours_everything_goes_on(unlocked: Modelswap, path: str) -> None:
    """Clients that have the backend's own key can use it."""
    assert got(unlocked, "plain", EVERY, path) == FOREIGN


@pytest.mark.parametrize(
    ("sent", "left"),
    [
        ({"Authorization": f"Bearer {OURS}"}, {}),
        ({"X-Api-Key": OURS}, {}),
        ({"Api-Key": OURS}, {}),
        (
            {"Authorization": "Bearer foreign", "X-Api-Key": OURS},
            {"authorization": "Bearer foreign"},
        ),
        ({"Authorization": f"Bearer {OURS}", "X-Api-Key": "foreign"}, {"x-api-key": "foreign"}),
        ({"Authorization": f"Token {OURS}", "Api-Key": OURS, "X-Api-Key": OURS}, {}),
    ],
)
@pytest.mark.parametrize("path", ["/v1/rerank", "/upstream/plain/v1/rerank"])
def test_our_key_stays_and_a_foreign_one_goes_on(
    server: Modelswap, sent: dict[str, str], left: dict[str, str], path: str
) -> None:
    """Each place is judged by itself."""
    assert got(server, "plain", sent, path) == left


def test_forward_authorization(server: Modelswap) -> None:
    """Our own key is passed on too where the model is configured so."""
    sent = {"Authorization": f"Bearer {OURS}"}
    assert got(server, "trusting", sent) == {"authorization": f"Bearer {OURS}"}


def test_a_model_s_own_key(unlocked: Modelswap) -> None:
    """`apiKey` opens the readiness check and the requests, whatever the client sent."""
    nothing: dict[str, str] = {}
    for headers in (nothing, EVERY):
        assert got(unlocked, "locked", headers) == {"authorization": f"Bearer {BACKEND}"}
    assert unlocked.chat("closed").status == 401


def test_a_model_s_own_key_is_shown_nowhere(unlocked: Modelswap) -> None:
    """Neither in lists, logs and events nor by `check`."""
    assert unlocked.chat("locked").status == 200
    for path in ("/running", "/v1/models", "/logs", "/api/metrics/activity"):
        assert BACKEND.encode() not in unlocked.ask("GET", path).body, path


def test_peers(server: Modelswap, peer: RecordingPeer) -> None:
    """A peer with a key gets that alone; one without gets what is not ours."""
    sent = {"Authorization": "Bearer foreign", "X-Api-Key": OURS, "Api-Key": "foreign"}
    server.ask("POST", "/v1/rerank", {"model": "far"}, sent)
    found = {k.lower(): v for k, v in peer.last.headers if k.lower() in NAMES}
    assert found == {"authorization": "Bearer foreign", "api-key": "foreign"}
    server.ask("POST", "/v1/rerank", {"model": "near"}, sent)
    found = {k.lower(): v for k, v in peer.last.headers if k.lower() in NAMES}
    assert found == {"authorization": "Bearer peer-key", "x-api-key": "peer-key"}


def realtime(server: Modelswap, name: str, key: str) -> tuple[int, str]:
    """Status of a handshake, and the subprotocols that the upstream saw."""
    head = (
        f"GET /v1/realtime?model={name} HTTP/1.1\r\nHost: localhost\r\nUpgrade: echo-head\r\n"
        "Connection: Upgrade\r\nSec-WebSocket-Protocol: realtime, "
        f"openai-insecure-api-key.{key}, openai-beta.realtime-v1\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", server.port), 10) as sock:
        sock.sendall(head.encode())
        text = sock.recv(65536).decode()
    return int(text.split()[1]), text


def test_a_key_in_a_subprotocol(server: Modelswap, peer: RecordingPeer) -> None:
    """Browsers send OpenAI's key so: our key is accepted and removed, the other protocols stay."""
    status, _ = realtime(server, "far", OURS)
    assert status == 200  # this peer does not upgrade
    assert peer.last.target == "/v1/realtime?model=far"
    assert peer.last.header("Sec-WebSocket-Protocol") == "realtime, openai-beta.realtime-v1"
    assert OURS not in repr(peer.last)
    assert realtime(server, "far", "wrong")[0] in {401, 429}


def test_a_foreign_key_in_a_subprotocol_goes_on(unlocked: Modelswap, peer: RecordingPeer) -> None:
    """Without `apiKeys` it is the upstream's; a peer's `apiKey` takes its place."""
    realtime(unlocked, "far", "theirs")
    expected = "realtime, openai-insecure-api-key.theirs, openai-beta.realtime-v1"
    assert peer.last.header("Sec-WebSocket-Protocol") == expected
    realtime(unlocked, "near", "theirs")
    assert peer.last.header("Sec-WebSocket-Protocol") == "realtime, openai-beta.realtime-v1"
