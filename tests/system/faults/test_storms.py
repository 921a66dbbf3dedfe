"""Reloads, unloads and flapping models without pause, under load: no deadlock, nothing lost."""

from __future__ import annotations

import json
import os
import signal
import socket
import threading
import time
from typing import TYPE_CHECKING

from support.load_clients import LoadClients, one_request, rest_of, slow_stream
from support.server import stub_command, stub_config, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable

    from support.running import StartServer
    from support.server import Modelswap

EIGHT = [f"m{number}" for number in range(8)]


def repeatedly(times: int, pause: float, what: Callable[[int], object]) -> None:
    for number in range(times):
        what(number)
        time.sleep(pause)


def serves_all(server: Modelswap, models: list[str]) -> bool:
    return all(one_request(server, model, 20) == "200" for model in models)


def test_eight_models_that_exclude_each_other(modelswap_server: StartServer) -> None:
    """Sixteen clients request eight models of which one may run: every request succeeds."""
    server = modelswap_server(stub_config(*EIGHT))
    with LoadClients(server, EIGHT, clients=16, n=2) as load_clients:
        time.sleep(4)
    assert load_clients.endings == {"200": load_clients.asked}
    assert len(server.running()) == 1


def test_reloads_under_load(modelswap_server: StartServer) -> None:
    """Valid, changed and broken configurations in a row: requests to unchanged models are not affected."""
    server = modelswap_server("startPort: 28300\n" + stub_config("stays", "turns", extra=APART))
    stream = slow_stream(server, "stays", events=100, delay_ms=30)
    before = server.stub_state("stays")["pid"]

    def reload(number: int) -> None:
        text = "models: [" if number % 3 == 2 else changed(number)
        aside = server.config_file.with_suffix(".new")
        aside.write_text(f"startPort: 28300\n{text}")
        aside.replace(server.config_file)  # the reload before may still read the file
        os.kill(server.pid, signal.SIGHUP)

    with (
        LoadClients(server, ["stays"], clients=3, n=2) as untouched,
        LoadClients(server, ["turns"]) as touched,
    ):
        repeatedly(16, 0.12, reload)
    assert untouched.endings == {"200": untouched.asked}
    touched.assert_all_ended()
    assert set(touched.endings) <= {"200", "503 error event"}
    assert b"[DONE]" in rest_of(stream, end=b"[DONE]")
    stream.close()
    assert server.stub_state("stays")["pid"] == before
    assert serves_all(server, ["stays", "turns"])


APART = "groups:\n  apart: {swap: false, members: [stays, turns]}"


def changed(number: int) -> str:
    """The configuration in which one model has another command after each reload."""
    rows = [
        f"  stays:\n    cmd: {stub_command('stays')}\n",
        f"  turns:\n    cmd: {stub_command('turns', '--exit-code', str(2 + number))}\n",
    ]
    return f"{APART}\nmodels:\n{''.join(rows)}"


def test_unloads_under_load(modelswap_server: StartServer) -> None:
    """Unloading one and all in a loop: each request is served or refused, and none hangs."""
    server = modelswap_server(stub_config("a", "b"))
    paths = ["/api/models/unload", "/api/models/unload/a", "/api/models/unload/b?force=true"]
    with LoadClients(server, ["a", "b"], clients=8, delay_ms=10) as load_clients:
        repeatedly(15, 0.1, lambda number: server.ask("POST", paths[number % 3], seconds=20).status)
    load_clients.assert_all_ended()
    assert serves_all(server, ["a", "b"])


def test_models_that_flap(modelswap_server: StartServer) -> None:
    """A model that exits soon after each start backs off; the other model is served all along."""
    flapping = stub_command("flaps", "--exit-after", "0.15")
    server = modelswap_server(
        f"groups:\n  apart: {{swap: false, members: [flaps, good]}}\nmodels:\n"
        f"  flaps:\n    cmd: {flapping}\n  good:\n    cmd: {stub_command('good')}\n"
    )
    with LoadClients(server, ["flaps"], n=1) as flaps, LoadClients(server, ["good"], n=1) as good:
        time.sleep(3)
        wait_until(
            lambda: any(e.startswith("503") for e in list(flaps.endings)), what="it backs off"
        )
    assert good.endings == {"200": good.asked}
    flaps.assert_all_ended()
    refused = server.chat("flaps")
    assert refused.status in {200, 502, 503}
    starts = server.log().count("<flaps> starting")
    assert starts < 30, "it backs off"


def test_clients_that_disconnect_while_waiting(modelswap_server: StartServer) -> None:
    """Clients that disconnect while they wait leave the queue; the others are served."""
    server = modelswap_server(stub_config("a", "b", flags=("--ready-after", "0.2")))

    def leave(number: int) -> None:
        connection = server_connection(server, "ab"[number % 2])
        time.sleep(0.02)
        connection.close()

    leaving = threading.Thread(target=repeatedly, args=(60, 0.01, leave))
    leaving.start()
    with LoadClients(server, ["a", "b"], clients=4, n=1) as load_clients:
        leaving.join()
    assert load_clients.endings == {"200": load_clients.asked}
    wait_until(
        lambda: all(server.stub_state(m)["open"] == 0 for m in server.running()),
        what="no request is open any more",
    )


def server_connection(server: Modelswap, model: str) -> socket.socket:
    """Ask, and do not wait for the response."""
    body = json.dumps({"model": model, "messages": [], "delay_ms": 50, "n": 20}).encode()
    connection = socket.create_connection(("127.0.0.1", server.port), timeout=10)
    connection.sendall(
        b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\n"
        b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
    )
    return connection
