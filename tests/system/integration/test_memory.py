"""Models are placed by memory: the real program, and servers that really take it.

`ram` is the only device, and its configured capacity stands for a GPU's size. A stub of N MB holds about
12 MB more.
"""

from __future__ import annotations

import json
import re
import shlex
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any

from support.server import MARKER, STUB, Answer, Modelswap, engine_command, stub_command, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.running import StartServer

MEASURED = str(STUB.with_name("measured_program.py"))
HOG = str(STUB.with_name("hog.py"))


def config(capacity: int, *models: str, more: str = "") -> str:
    """So many MiB for these models."""
    rows = "".join(f"  {model}\n" for model in models)
    return f"devices: {{ram: {{capacity: {capacity}MiB, reserve: 0}}}}\n{more}\nmodels:\n{rows}"


def model(name: str, *flags: str, memory: int | None = None) -> str:
    """One stub; *memory* MiB are declared."""
    declared = "" if memory is None else f", memory: {memory}MiB"
    return f"{name}: {{cmd: {json.dumps(stub_command(name, *flags))}{declared}}}"


def learned(server: Modelswap) -> list[dict[str, Any]]:
    """What the program has written down of its models' memory."""
    try:
        with closing(sqlite3.connect(server.state_dir / "needs.db")) as file:
            rows = [json.loads(row[0]) for row in file.execute("SELECT need FROM needs")]
    except sqlite3.Error:
        return []  # it is not there yet
    return [row for row in rows if row.get("runs")]


def ready(server: Modelswap) -> set[str]:
    return {name for name, state in server.running().items() if state == "ready"}


def served(server: Modelswap, *models: str) -> None:
    for name in models:
        answer = server.chat(name)
        assert answer.status == 200, answer.body


@contextmanager
def hog(server: Modelswap, megabytes: int) -> Iterator[subprocess.Popen[bytes]]:
    """Another program that holds memory, until the end."""
    command = [sys.executable, "-I", "-S", HOG, str(megabytes)]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={MARKER: server.marker}
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        yield process
    finally:
        process.communicate()


class Asking:
    """A chat that runs beside the test."""

    def __init__(self, server: Modelswap, name: str) -> None:
        self._answers: list[Answer] = []
        self._thread = threading.Thread(
            target=lambda: self._answers.append(server.chat(name, seconds=60))
        )
        self._thread.start()

    def answer(self) -> Answer:
        self._thread.join()
        return self._answers[0]


def test_two_of_three_stay_and_the_cheaper_one_leaves(modelswap_server: StartServer) -> None:
    """The third model takes the place of the one that is back sooner, though it was used last."""
    slow = model("slow", "--memory", "80", "--ready-after", "2", memory=100)
    quick = model("quick", "--memory", "80", memory=100)
    server = modelswap_server(config(250, slow, quick, model("third", memory=100)))
    served(server, "slow", "quick")
    assert ready(server) == {"slow", "quick"}
    served(server, "slow", "quick")
    served(server, "third")
    assert ready(server) == {"slow", "third"}
    assert "the cheapest to leave: quick" in server.log()


def test_an_unknown_need_is_measured_alone_and_then_shared(modelswap_server: StartServer) -> None:
    """Nobody said what they need: each runs alone once, and then they fit together."""
    server = modelswap_server(
        config(300, model("a", "--memory", "100"), model("b", "--memory", "100"))
    )
    served(server, "a")
    wait_until(lambda: len(learned(server)) == 1)
    served(server, "b")
    assert ready(server) == {"b"}
    wait_until(lambda: len(learned(server)) == 2)
    served(server, "a")
    assert ready(server) == {"a", "b"}
    assert all(100 << 20 < row["runs"][-1]["ram"] < 150 << 20 for row in learned(server))


def test_growth_raises_the_need_and_the_next_load_evicts(modelswap_server: StartServer) -> None:
    """A model that takes 70 MB more with each request is counted for what it has become."""
    grower = model("grower", "--memory", "20", "--grows", "70")
    text = config(330, grower, model("b", memory=100), model("c", memory=100))
    server = modelswap_server(text)
    served(server, "grower")
    wait_until(lambda: learned(server))
    served(server, "b")
    assert ready(server) == {"grower", "b"}
    served(server, "grower", "grower")
    wait_until(lambda: max(row["runs"][-1]["ram"] for row in learned(server)) > 220 << 20)
    served(server, "c")
    assert ready(server) in ({"grower", "c"}, {"b", "c"})


def test_what_was_learned_outlives_the_program(modelswap_server: StartServer) -> None:
    """After a restart with new servers both fit from the first request on."""
    server = modelswap_server(
        config(300, model("a", "--memory", "90"), model("b", "--memory", "90"))
    )
    for count, name in enumerate("ab", 1):
        served(server, name)
        wait_until(lambda count=count: len(learned(server)) == count)
    server.stop()
    wait_until(lambda: not server.processes())
    server.start()
    served(server, "b", "a")
    assert ready(server) == {"a", "b"}


@contextmanager
def on_measured_memory(directory: Path, wait: str) -> Iterator[Modelswap]:
    """A machine of 600 MB, on which only the processes of this test hold memory.

    A request waits for *wait* at most while other programs hold it.
    """
    routing = f"routing: {{router: {{use: memory, settings: {{memory: {{wait: {wait}}}}}}}}}"
    server = Modelswap(
        directory / "measured",
        config(600, model("a", memory=400), more=routing),
        environment={"MEASURED_TOTAL": "600"},
        program=(MEASURED,),
    )
    try:
        yield server.start()
    finally:
        assert server.finish() == {}


def test_a_load_waits_for_another_program(tmp_path: Path) -> None:
    """It goes on as soon as that program has ended."""
    with on_measured_memory(tmp_path, "1m") as server:
        with hog(server, 300):
            asking = Asking(server, "a")
            wait_until(lambda: b'queue_length{model="a"} 1' in server.ask("GET", "/metrics").body)
            assert server.running() == {}
        assert asking.answer().status == 200


def test_a_load_that_waits_in_vain(tmp_path: Path) -> None:
    """After the configured time it is refused, with the name of what holds the memory."""
    with on_measured_memory(tmp_path, "1s") as server, hog(server, 300):
        answer = server.chat("a")
        assert answer.status == 503
        assert "retry-after" in answer.headers
        assert "a needs 400 MiB" in (text := answer.body.decode())
        assert re.search(
            r"other programs hold 3\d\d MiB of ram \(python[\d.]* 3\d\d MiB\)", text
        ), text


def test_out_of_memory_at_load(modelswap_server: StartServer, tmp_path: Path) -> None:
    """Another model leaves, the model starts once more, and its request is served."""
    short = model("short", "--out-of-memory", str(tmp_path / "mark"), memory=100)
    server = modelswap_server(config(300, model("other", memory=100), short))
    served(server, "other", "short")
    assert ready(server) == {"short"}
    assert server.log().count("<short> starting") == 2


def test_out_of_memory_twice(modelswap_server: StartServer, tmp_path: Path) -> None:
    """The second time the request fails, with what it needs and what there is."""
    journal = tmp_path / "starts"
    script = f"echo x >> {journal}; echo 'CUDA error: out of memory' >&2; exit 1"
    short = f"short: {{cmd: {json.dumps(shlex.join(['sh', '-c', script]))}, memory: 100MiB}}"
    server = modelswap_server(config(300, model("other", memory=100), short))
    served(server, "other")
    answer = server.chat("short")
    assert answer.status == 503
    assert "out of memory" in (text := answer.body.decode())
    assert "it needs 300 MiB of ram, where 300 MiB of 300 MiB were left" in text
    assert journal.read_text() == "x\nx\n"
    assert server.chat("short").status == 503
    assert journal.read_text() == "x\nx\n"  # it backs off


def test_a_model_that_never_fits(modelswap_server: StartServer) -> None:
    """It is refused at once, with what is missing; the other one runs on."""
    server = modelswap_server(config(300, model("a", memory=100), model("huge", memory=400)))
    served(server, "a")
    answer = server.chat("huge")
    assert answer.status == 503
    assert "100 MiB too much" in answer.body.decode()
    assert ready(server) == {"a"}


def test_adopted_models_are_counted(modelswap_server: StartServer) -> None:
    """After the front was killed, what still runs takes its room, and the next load evicts."""
    flags = ("--memory", "80")
    rows = (model("a", *flags), model("b", *flags), model("c", memory=100))
    server = modelswap_server(config(250, *rows, more="keeper: {graceTimeout: 30}"))
    served(server, "a")
    wait_until(lambda: len(learned(server)) == 1)
    served(server, "b")
    wait_until(lambda: len(learned(server)) == 2)
    served(server, "a")
    assert ready(server) == {"a", "b"}
    before = server.model_pids()
    server.kill()
    server.start()
    wait_until(lambda: ready(server) == {"a", "b"})
    assert server.model_pids() == before
    served(server, "c")
    assert len(ready(server)) == 2


def test_a_reload_changes_what_fits(modelswap_server: StartServer) -> None:
    """With a larger capacity a third model joins, and with a larger declared need another one leaves."""
    rows = [model(name, memory=100) for name in "ab"]
    server = modelswap_server(config(250, *rows, model("c", memory=100)))
    served(server, "a", "b")
    before = server.model_pids()
    server.write_config(config(350, *rows, model("c", memory=100)))
    assert server.ask("POST", "/api/config/reload").status == 200
    served(server, "c")
    assert ready(server) == {"a", "b", "c"}
    assert before.items() <= server.model_pids().items()
    server.write_config(config(350, *rows, model("c", memory=100), model("d", memory=250)))
    assert server.ask("POST", "/api/config/reload").status == 200
    assert ready(server) == {"a", "b", "c"}
    served(server, "d")
    assert ready(server) == {"c", "d"}


def test_real_engines_share_from_their_first_request(
    modelswap_server: StartServer, weights: dict[str, Path]
) -> None:
    """What llama.cpp will take is predicted, so none of the two has to run alone first."""
    rows = [
        f"{name}: {{cmd: {json.dumps(engine_command(weights[name]))}}}" for name in ("red", "blue")
    ]
    server = modelswap_server(config(2000, *rows))
    served(server, "red", "blue")
    assert ready(server) == {"red", "blue"}
    wait_until(lambda: len(learned(server)) == 2)


def test_without_the_policy_nothing_is_read(modelswap_server: StartServer) -> None:
    """A file that was made for llama-swap has no thread for it, and writes nothing down."""
    server = modelswap_server(f"models:\n  {model('a')}\n  {model('b')}\n")
    served(server, "a", "b")
    assert ready(server) == {"b"}
    assert not (server.state_dir / "needs.db").exists()
