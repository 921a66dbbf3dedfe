"""Models on one fixed port: the second request swaps, although the routing lets them run together."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from support.server import free_block, free_port, stub_command

if TYPE_CHECKING:
    from support.streams import Serve

ROUTINGS = {
    "profiles": "profiles:\n  coding: [a, b]\n",
    "groups": "groups:\n  g: {swap: false, members: [a, b]}\n",
    "persistent": "groups:\n  g: {persistent: true, members: [a]}\n  h: {members: [b]}\n",
    "matrix": "matrix: {sets: {s: a & b}}\n",
}


@pytest.mark.parametrize("name", ROUTINGS)
def test_models_of_one_port_swap(serve: Serve, name: str) -> None:
    """The early README's example: two models on one fixed port, each answers when it is asked."""
    port = free_port()
    prefix = "coding:" if name == "profiles" else ""
    models = "".join(
        f"  {one}:\n    cmd: {stub_command(one, port=str(port))}\n    proxy: http://{host}:{port}\n"
        for one, host in (("a", "127.0.0.1"), ("b", "localhost"))
    )
    server = serve(f"models:\n{models}{ROUTINGS[name]}")
    for one in ("a", "b", "a"):
        answer = server.chat(f"{prefix}{one}")
        assert answer.status == 200, answer.body
        assert set(server.running()) == {one}


def test_a_port_that_another_model_names_is_not_given_out(serve: Serve) -> None:
    """A `${PORT}` that would be the fixed port of another model is the next one: both run together."""
    port = free_block()
    fixed = stub_command("b", port=str(port))
    server = serve(
        f"startPort: {port}\nmodels:\n  a:\n    cmd: {stub_command('a')}\n"
        f"  b:\n    cmd: {fixed}\n    proxy: http://127.0.0.1:{port}\n"
        "groups:\n  g: {swap: false, members: [a, b]}\n"
    )
    for one in ("a", "b", "a"):
        answer = server.chat(one)
        assert answer.status == 200, answer.body
    assert set(server.running()) == {"a", "b"}
