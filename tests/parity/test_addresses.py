"""Models on one fixed port: the second request swaps, whatever lets them run together."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from fakes.server import free_port, stub_command

if TYPE_CHECKING:
    from parity.world import Serve

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
