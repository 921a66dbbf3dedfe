"""Where rows and captures are kept, and how many."""

from __future__ import annotations

from typing import TYPE_CHECKING

from support.server import wait_until
from support.streams import model, rows

if TYPE_CHECKING:
    import pytest

    from support.streams import Serve


def test_captures_switched_off(serve: Serve) -> None:
    """`captureBuffer: 0`: rows without captures."""
    server = serve(f"captureBuffer: 0\nmodels:\n{model('a')}")
    assert server.chat("a").status == 200
    row = rows(server)[0]
    assert row["has_capture"] is False
    assert server.ask("GET", f"/api/captures/{row['id']}").status == 404


def test_rows_in_memory_are_bounded(serve: Serve) -> None:
    """`metricsMaxInMemory` rows are kept, the newest."""
    server = serve(f"metricsMaxInMemory: 3\nmodels:\n{model('a')}")
    for _ in range(5):
        assert server.chat("a").status == 200
    assert [row["id"] for row in rows(server)] == [5, 4, 3]


def test_a_store_persists(serve: Serve, tmp_path_factory: pytest.TempPathFactory) -> None:
    """`store.path`: the rows are there after a restart."""
    path = tmp_path_factory.mktemp("store") / "activity.db"
    config = f"store: {{path: '{path}'}}\nmodels:\n{model('a')}"
    server = serve(config)
    assert server.chat("a").status == 200
    assert server.stop() == 0
    server.start()
    (row,) = rows(server)
    assert (row["id"], row["model"], row["has_capture"]) == (1, "a", False)


def test_another_store_at_a_reload(serve: Serve, tmp_path_factory: pytest.TempPathFactory) -> None:
    """A changed `store.path` counts at once: rows go into the new file, the old one keeps its own."""
    folder = tmp_path_factory.mktemp("stores")

    def config(file: str) -> str:
        return f"store: {{path: '{folder / file}'}}\nmodels:\n{model('a')}"

    server = serve(config("one.db"))
    assert server.chat("a").status == 200
    assert server.chat("a").status == 200
    wait_until(lambda: len(rows(server)) == 2)
    for file, expected in (("two.db", 0), ("one.db", 2)):
        server.write_config(config(file))
        assert server.ask("POST", "/api/config/reload").json()["ok"] is True
        assert len(rows(server)) == expected
        assert server.chat("a").status == 200
        wait_until(lambda count=expected: len(rows(server)) == count + 1)
    assert [row["id"] for row in rows(server)] == [3, 2, 1]
    assert "takes effect at the next start" not in server.log()


def test_the_store_given_up_at_a_reload(
    serve: Serve, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Without `store` rows are in memory, and captures of other rows are not shown for them."""
    path = tmp_path_factory.mktemp("store") / "activity.db"
    server = serve(f"store: {{path: '{path}'}}\nmodels:\n{model('a')}")
    assert server.chat("a").status == 200
    assert rows(server)[0]["has_capture"] is True
    server.write_config(f"models:\n{model('a')}")
    assert server.ask("POST", "/api/config/reload").json()["ok"] is True
    assert rows(server) == []
    assert server.ask("GET", "/api/captures/1").status == 404


def test_captures_of_rows_that_left(serve: Serve) -> None:
    """In memory there are at most as many captures as rows."""
    server = serve(f"metricsMaxInMemory: 2\nmodels:\n{model('a')}")
    for _ in range(3):
        assert server.chat("a").status == 200
    wait_until(lambda: [row["id"] for row in rows(server)] == [3, 2])
    assert [server.ask("GET", f"/api/captures/{number}").status for number in (1, 2, 3)] == [
        404,
        200,
        200,
    ]
