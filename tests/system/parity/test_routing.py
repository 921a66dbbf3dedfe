"""Which models run together after which requests: groups, matrix, priorities, real processes."""

from __future__ import annotations

import contextlib
import itertools
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from support.raw_http import dialled, post
from support.server import wait_until
from support.streams import model, opened, rows

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.server import Modelswap
    from support.streams import Serve


def models(*names: str, flags: tuple[str, ...] = ()) -> str:
    return "models:\n" + "".join(model(name, *flags) for name in names)


def load(server: Modelswap, *names: str) -> set[str]:
    """Request these one after another; return what runs then."""
    for name in names:
        answer = server.chat(name)
        assert answer.status == 200, answer.body
    return set(server.running())


def unload(server: Modelswap) -> None:
    assert server.ask("GET", "/unload").body == b"OK"


# Groups

KINDS = {
    f"g{swap:d}{exclusive:d}{persistent:d}": (swap, exclusive, persistent)
    for swap, exclusive, persistent in itertools.product((False, True), repeat=3)
}


@pytest.fixture(scope="module")
def grouped(serve: Serve) -> Modelswap:
    """Eight groups of two, one of every kind, and two models in none."""
    groups = "".join(
        f"  {name}: {{swap: {swap}, exclusive: {exclusive}, persistent: {persistent},"
        f" members: [{name}a, {name}b]}}\n"
        for name, (swap, exclusive, persistent) in KINDS.items()
    )
    every = [f"{name}{letter}" for name in KINDS for letter in "ab"]
    return serve(f"groups:\n{groups}{models(*every, 'free1', 'free2')}")


@pytest.mark.parametrize("kind", KINDS)
def test_inside_a_group(grouped: Modelswap, kind: str) -> None:
    """The same group: `swap` decides, nothing else."""
    unload(grouped)
    swap = KINDS[kind][0]
    expected = {f"{kind}b"} if swap else {f"{kind}a", f"{kind}b"}
    assert load(grouped, f"{kind}a", f"{kind}b") == expected


@pytest.mark.parametrize("here", ["g000", "g001", "g010", "g011"])
@pytest.mark.parametrize("asked", ["g000", "g011", "g010"])
def test_between_groups(grouped: Modelswap, here: str, asked: str) -> None:
    """Another group: stopped if the requested one is exclusive and this one not persistent."""
    if here == asked:
        asked = "g110"
    unload(grouped)
    exclusive, persistent = KINDS[asked][1], KINDS[here][2]
    stays = not exclusive or persistent
    expected = {f"{asked}a", f"{here}a"} if stays else {f"{asked}a"}
    assert load(grouped, f"{here}a", f"{asked}a") == expected


def test_models_in_no_group(grouped: Modelswap) -> None:
    """They are one group that swaps and is exclusive; a persistent one stays beside it."""
    unload(grouped)
    assert load(grouped, "free1", "free2") == {"free2"}
    assert load(grouped, "g001a", "free1") == {"g001a", "free1"}
    assert load(grouped, "g000a") == {"g001a", "free1", "g000a"}
    assert load(grouped, "free2") == {"g001a", "free2"}


def test_without_groups_one_at_a_time(serve: Serve) -> None:
    """No routing at all: every model swaps with every other."""
    server = serve(models("a", "b"))
    assert load(server, "a") == {"a"}
    assert load(server, "b") == {"b"}


def test_groups_in_the_new_place(serve: Serve) -> None:
    """`routing.router.settings.groups`; a member may be an alias, which counts as its model."""
    text = "routing: {router: {use: group, settings: {groups: {g: {swap: false, members: [nick, b]}}}}}\n"
    server = serve(f"{text}models:\n{model('a', aliases=['nick'])}{model('b')}{model('c')}")
    assert load(server, "a", "b") == {"a", "b"}
    assert load(server, "c") == {"c"}


# Matrix


@pytest.fixture(scope="module")
def matrix(serve: Serve) -> Modelswap:
    text = """
matrix:
  vars: {L: org/large, v: vision}
  evict_costs: {L: 10, small: 2}
  sets:
    pair: "small & embed"
    big: "L | (v & +pair)"
    tools: "(small | v) & rerank"
"""
    return serve(text + models("org/large", "vision", "small", "embed", "rerank", "alone"))


@pytest.mark.parametrize(
    ("asked", "left"),
    [
        ("small embed", "small embed"),
        ("small embed vision", "small embed vision"),
        ("small embed org/large", "org/large"),
        ("small rerank", "small rerank"),
        ("small embed rerank", "small rerank"),
        ("embed rerank", "rerank"),
        ("small embed vision rerank", "small rerank"),
        ("alone small", "small"),
        ("small embed alone", "alone"),
        ("org/large small", "small"),
    ],
)
def test_the_matrix(matrix: Modelswap, asked: str, left: str) -> None:
    """The cheapest set that holds the requested model decides which models stay."""
    unload(matrix)
    assert load(matrix, *asked.split()) == set(left.split())


def test_a_matrix_in_the_new_place(serve: Serve) -> None:
    """`routing.router.use: matrix`."""
    text = 'routing: {router: {use: matrix, settings: {matrix: {sets: {s: "a & b"}}}}}\n'
    server = serve(text + models("a", "b", "c"))
    assert load(server, "a", "b") == {"a", "b"}
    assert load(server, "c") == {"c"}
    assert load(server, "a") == {"a"}
    log = server.ask("GET", "/logs").body
    assert b"[INFO] <b> stopping: making room for c (in no set, cost 2)\n" in log
    assert b'[INFO] <c> stopping: making room for a (set "s": a & b, cost 1)\n' in log


def test_matrix_ties_evict_the_least_recently_used(serve: Serve) -> None:
    """Of two sets that cost the same, the one stays whose model was used last."""
    server = serve('matrix: {sets: {s: "a & b", t: "(a | b) & c"}}\n' + models("a", "b", "c"))
    for oldest, newest in (("a", "b"), ("b", "a")):
        unload(server)
        assert load(server, "a", "b", oldest, newest) == {"a", "b"}
        assert load(server, "c") == {newest, "c"}


# The queue


def test_requests_of_one_model_are_served_together(serve: Serve) -> None:
    """A B C A B C, all waiting behind one request: served A A B B C C."""
    server = serve(models("x", "a", "b", "c"))
    assert server.chat("x").status == 200
    with ThreadPoolExecutor(8) as pool:
        waiting = []
        with endless_stream(server, "x"):
            for number, name in enumerate("abcabc"):
                waiting.append(pool.submit(server.chat, name))
                wait_until(lambda expected=number + 2: in_flight(server) == expected)
        assert [w.result().status for w in waiting] == [200] * 6
    assert [row["model"] for row in reversed(rows(server, "?limit=6"))] == list("aabbcc")


@contextlib.contextmanager
def endless_stream(server: Modelswap, name: str) -> Iterator[None]:
    """One running request of a model, until the end of the block."""
    body = {"model": name, "messages": [], "stream": True, "n": 5000, "delay_ms": 20}
    with opened(server, "POST", "/v1/chat/completions", body) as stream:
        assert stream.read1(10)
        yield


def in_flight(server: Modelswap) -> int:
    return len(server.ask("GET", "/api/inflight").json()["requests"])


def test_priorities(serve: Serve) -> None:
    """The higher priority goes first among waiting requests; rows show it; aliases count."""
    text = "routing: {scheduler: {use: fifo, settings: {fifo: {priority: {nick: 5, low: -1}}}}}\n"
    entries = model("high", aliases=["nick"]) + model("mid") + model("low") + model("x")
    server = serve(f"{text}models:\n{entries}")
    assert server.chat("x").status == 200
    with ThreadPoolExecutor(8) as pool:
        waiting = []
        with endless_stream(server, "x"):
            for number, name in enumerate(("low", "mid", "high")):
                waiting.append(pool.submit(server.chat, name))
                wait_until(lambda expected=number + 2: in_flight(server) == expected)
        assert [w.result().status for w in waiting] == [200] * 3
    found = [(r["model"], r["metadata"]["fifo_priority"]) for r in rows(server, "?limit=3")]
    assert found[::-1] == [("high", "5"), ("mid", "0"), ("low", "-1")]


def test_a_swap_waits_for_running_requests(grouped: Modelswap) -> None:
    """A swap never cuts a running request."""
    unload(grouped)
    assert grouped.chat("free1").status == 200
    with ThreadPoolExecutor(2) as pool:
        slow = pool.submit(grouped.chat, "free1", delay_ms=2000)
        wait_until(lambda: in_flight(grouped) == 1)
        assert grouped.chat("free2").status == 200
        assert slow.done()
        assert slow.result().status == 200


def test_compatible_models_load_in_parallel(serve: Serve) -> None:
    """Two loads at once, and an abandoned one does not evict others later."""
    config = "groups: {g: {swap: false, members: [a, b]}}\n"
    server = serve(config + models("a", "b", flags=("--ready-after", "0.6")))
    with ThreadPoolExecutor(2) as pool:
        both = [pool.submit(server.chat, name) for name in ("a", "b")]
        wait_until(lambda: server.running() == {"a": "starting", "b": "starting"})
        assert [one.result().status for one in both] == [200, 200]


def test_a_client_that_leaves_the_queue(grouped: Modelswap) -> None:
    """It frees its place in the queue and is recorded as cancelled."""
    unload(grouped)
    assert grouped.chat("free1").status == 200
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(grouped.chat, "free1", delay_ms=3000)
        wait_until(lambda: in_flight(grouped) == 1)
        with dialled(grouped) as sock:
            sock.sendall(post("/v1/chat/completions", b'{"model": "free2"}'))
            wait_until(lambda: in_flight(grouped) == 2)
        wait_until(lambda: in_flight(grouped) == 1)
        assert slow.result().status == 200
    found = {row["model"]: row["resp_status_code"] for row in rows(grouped, "?limit=2")}
    assert found == {"free1": 200, "free2": 499}
    assert set(grouped.running()) == {"free1"}
