"""Hot reload: only what changed is touched, and a bad file changes nothing."""

from __future__ import annotations

import os
import signal
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from support.server import wait_until
from support.streams import events_of, model, opened, rows

if TYPE_CHECKING:
    from support.server import Modelswap
    from support.streams import Serve

GROUP = "groups: {g: {swap: false, members: [a, b]}}\nprofiles: {work: {pins: {x: a}}}\n"


def config(*models: str, extra: str = "") -> str:
    return f"{GROUP}{extra}models:\n{''.join(models)}"


def first_port(server: Modelswap) -> str:
    return server.config_text.partition("startPort: ")[2].partition("\n")[0]


def change(server: Modelswap, text: str) -> None:
    """Write another configuration, with the ports of the first."""
    server.write_config(f"startPort: {first_port(server)}\n{text}")


def status(server: Modelswap) -> Any:
    return server.ask("GET", "/api/config/status").json()


def loaded_anew(server: Modelswap, before: Any) -> bool:
    return bool(status(server)["tried_at"] != before["tried_at"])


def send_sighup(server: Modelswap) -> Any:
    """Send SIGHUP, and return the status after it was handled."""
    before = status(server)
    os.kill(server.pid, signal.SIGHUP)
    wait_until(lambda: loaded_anew(server, before))
    return status(server)


def pids(server: Modelswap) -> dict[str, int]:
    found = server.ask("GET", "/running").json()["running"]
    return {row["model"]: row["pid"] for row in found}


@pytest.fixture(scope="module")
def server(serve: Serve) -> Modelswap:
    text = f"{GROUP}models:\n{model('a')}{model('b')}{model('c')}"
    return serve(text)


def test_only_what_changed(server: Modelswap) -> None:
    """Unchanged: same process, its stream goes on. Changed or removed: finishes, then stops."""
    for name in ("a", "b"):
        assert server.chat(name).status == 200
    assert server.ask("PUT", "/api/profiles/active", '{"name":"work"}').status == 200
    before = pids(server)
    row = rows(server, "?limit=1")[0]
    body = {"model": "a", "stream": True, "n": 40, "delay_ms": 25}
    with (
        ThreadPoolExecutor(1) as pool,
        opened(server, "POST", "/v1/chat/completions", body) as stream,
        opened(server, "GET", "/api/events") as watching,
    ):
        assert stream.read1(10)
        slow = pool.submit(server.chat, "b", delay_ms=600)
        wait_until(lambda: len(server.ask("GET", "/api/inflight").json()["requests"]) == 2)
        changed = config(
            model("a", name="New name", ttl=500), model("b", "--stop-takes", "0"), model("d")
        )
        change(server, changed)
        found = send_sighup(server)
        assert found["ok"] is True
        assert server.chat("x").status == 200  # the profile stayed
        assert slow.result().status == 200
        assert stream.read().endswith(b"data: [DONE]\n\n")
        kinds = {kind for kind, _ in events_until(events_of(watching), "configStatus")}
        assert "modelStatus" in kinds
    wait_until(lambda: "b" not in pids(server))
    assert pids(server)["a"] == before["a"]
    listed = {r["id"]: r for r in server.ask("GET", "/v1/models").json()["data"]}
    assert set(listed) == {"a", "b", "d", "x"}  # x: a pin
    assert listed["a"]["name"] == "New name"
    assert server.ask("GET", "/running").json()["running"][0]["ttl"] == 500
    assert server.chat("c").status == 404
    assert server.chat("b").status == 200
    assert server.ask("GET", f"/api/captures/{row['id']}").status == 200
    assert server.ask("GET", "/api/profiles").json()["active"] == "work"


def events_until(events: Any, last: str) -> Any:
    """Events up to the second one of a kind: the first belongs to the present state."""
    seen = 0
    for kind, payload in events:
        yield kind, payload
        seen += kind == last
        if seen == 2:
            return


def test_a_stream_is_complete_across_a_reload(server: Modelswap) -> None:
    """Every event of a stream that ran through a reload arrives."""
    change(server, config(model("a"), model("b")))
    send_sighup(server)
    body = {"model": "a", "stream": True, "n": 30, "delay_ms": 20}
    with opened(server, "POST", "/v1/chat/completions", body) as stream:
        assert stream.read1(10)
        change(server, config(model("a", description="more"), model("b")))
        assert send_sighup(server)["ok"] is True
        text = stream.read()
    assert b"stub:29 " in text
    assert text.endswith(b"data: [DONE]\n\n")


def test_a_removed_model_finishes_first(server: Modelswap) -> None:
    """Its stream ends normally, `/running` shows it until then, and new requests are refused."""
    change(server, config(model("a"), model("b")))
    send_sighup(server)
    body = {"model": "b", "stream": True, "n": 30, "delay_ms": 25}
    with opened(server, "POST", "/v1/chat/completions", body) as stream:
        assert stream.read1(10)
        change(server, config(model("a")))
        assert send_sighup(server)["ok"] is True
        assert server.chat("b").status == 404
        assert "b" in pids(server)
        assert stream.read().endswith(b"data: [DONE]\n\n")
    wait_until(lambda: "b" not in pids(server))


def test_waiting_requests_are_served_by_the_new_configuration(server: Modelswap) -> None:
    """A request for a model that changes while it loads gets the changed one."""
    change(server, config(model("a"), model("slow", "--ready-after", "30")))
    send_sighup(server)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(server.chat, "slow")
        wait_until(lambda: "slow" in pids(server))
        change(server, config(model("a"), model("slow")))
        send_sighup(server)
        assert waiting.result().status == 200


def test_routing_changes_at_once(server: Modelswap) -> None:
    """Groups of the new configuration count for the next request."""
    change(server, config(model("a"), model("b")))
    send_sighup(server)
    for name in ("a", "b"):
        assert server.chat(name).status == 200
    server.write_config(f"startPort: {first_port(server)}\nmodels:\n{model('a')}{model('b')}")
    send_sighup(server)
    assert server.ask("POST", "/api/models/unload/a").status == 200
    assert server.chat("a").status == 200
    assert set(pids(server)) == {"a"}


def test_a_bad_file_changes_nothing(server: Modelswap) -> None:
    """The reason is in the log, in an event and in `/api/config/status`."""
    assert server.chat("a").status == 200
    before = pids(server)
    good = server.config_text
    with opened(server, "GET", "/api/events") as watching:
        server.config_file.write_text(
            "models:\n  a:\n    cmd: x --port ${PORT}\n    ttl: -5\n  a: {}\n"
        )
        found = send_sighup(server)
        event = [
            p for k, p in events_until(events_of(watching), "configStatus") if k == "configStatus"
        ]
    assert found["ok"] is False
    assert found["problems"]
    assert any("config.yaml" in problem for problem in found["problems"])
    assert event[-1]["problems"] == found["problems"]
    wait_until(lambda: "the configuration was not reloaded" in server.log())
    assert found["problems"][0] in server.log()
    assert pids(server) == before
    assert server.chat("a").status == 200
    answer = server.ask("POST", "/api/config/reload")
    assert (answer.status, answer.json()["ok"]) == (409, False)
    server.config_file.write_text(good)
    assert send_sighup(server)["ok"] is True


def test_keys_count_at_once(serve: Serve) -> None:
    """`apiKeys` set by a reload: the next request needs one."""
    server = serve("models: {}\n")
    server.write_config("apiKeys: [k]\nmodels: {}\n")
    assert server.ask("POST", "/api/config/reload").status == 200
    assert server.ask("GET", "/running").status == 401


# Watching


def watched(serve: Serve) -> Modelswap:
    return serve(f"models:\n{model('a')}", "--watch-config")


def names(server: Modelswap) -> set[str]:
    return {record["id"] for record in server.ask("GET", "/v1/models").json()["data"]}


def test_watching_the_file(serve: Serve) -> None:
    """A change, a half-written file that is completed, and a replaced link."""
    server = watched(serve)
    server.write_config(f"models:\n{model('a')}{model('b')}")
    wait_until(lambda: names(server) == {"a", "b"})
    whole = f"startPort: {first_port(server)}\nmodels:\n{model('c')}"
    server.config_file.write_text(whole[:40])
    server.config_file.write_text(whole)
    wait_until(lambda: names(server) == {"c"})
    assert "was not reloaded" not in server.log()
    other = server.directory / "other.yaml"
    other.write_text(whole.replace('"c"', '"d"'))
    link = server.directory / "link"
    link.symlink_to(other)
    link.replace(server.config_file)
    wait_until(lambda: names(server) == {"d"})
    swapped = server.directory / "swapped.yaml"
    swapped.write_text(whole.replace('"c"', '"e"'))
    link.symlink_to(swapped)
    link.replace(server.config_file)
    wait_until(lambda: names(server) == {"e"})


def test_an_emptied_file_is_reloaded_after_a_delay(serve: Serve) -> None:
    """A file that loses every model for a moment, or is missing, unloads nothing and is reported."""
    server = watched(serve)
    assert server.chat("a").status == 200
    before = server.ask("GET", "/running").json()["running"][0]["pid"]
    whole = server.config_file.read_text()
    server.config_file.write_text("")
    warning = b"[WARN] the configuration on disk has no models any more"
    wait_until(lambda: warning in server.ask("GET", "/logs").body)
    server.config_file.write_text(whole + model("b"))
    wait_until(lambda: names(server) == {"a", "b"})
    server.config_file.unlink()
    warning = b"[WARN] the configuration file is missing; the running configuration stays"
    wait_until(lambda: warning in server.ask("GET", "/logs").body)
    assert server.ask("GET", "/running").json()["running"][0]["pid"] == before


def test_watching_a_key_file(serve: Serve) -> None:
    """A key that is written anew counts, as if the configuration had changed."""
    server = serve("models: {}\n", start=False)
    file = server.directory / "key"
    file.write_text("old-key")
    server.write_config(f"apiKeys: [{{keyFile: '{file}'}}]\nmodels: {{}}\n")
    server.flags = ("--watch-config",)
    server.start()
    file.write_text("another-key")
    key = {"Authorization": "Bearer another-key"}
    wait_until(lambda: server.ask("GET", "/running", headers=key).status == 200)


def test_watching_a_folder(serve: Serve) -> None:
    """`--config-dir`: a file that appears is read."""
    server = serve(f"models:\n{model('a')}", start=False)
    folder = server.directory / "conf.d"
    folder.mkdir()
    (folder / "one.yaml").write_text(f"models:\n{model('b')}")
    server.flags = ("--config-dir", str(folder), "--watch-config")
    server.start()
    assert names(server) == {"a", "b"}
    (folder / "two.yml").write_text(f"models:\n{model('c')}")
    (folder / "ignored.txt").write_text("models: [")
    wait_until(lambda: names(server) == {"a", "b", "c"})


def test_a_reload_names_what_changed(serve: Serve) -> None:
    """Filters or groups alone: the models go on, and the log says what is new."""
    server = serve(f"models:\n{model('a')}{model('b')}")
    assert server.chat("a").status == 200
    before = pids(server)
    models = f"models:\n{model('a', filters={'stripParams': 'top_k'})}{model('b')}"
    change(server, f"{models}groups: {{g: {{swap: false, members: [a, b]}}}}\n")
    send_sighup(server)
    message = "2 same; 1 updated without a restart: a (filters); changed: groups"
    wait_until(lambda: message in server.log(), what=message)
    assert server.chat("b").status == 200
    assert pids(server)["a"] == before["a"]
