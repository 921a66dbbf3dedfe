"""Where rows and captures are kept, and how many."""

from __future__ import annotations

from typing import TYPE_CHECKING

from parity.world import model, rows

if TYPE_CHECKING:
    import pytest

    from parity.world import Serve


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


def test_a_store_survives(serve: Serve, tmp_path_factory: pytest.TempPathFactory) -> None:
    """`store.path`: the rows are there after a restart."""
    path = tmp_path_factory.mktemp("store") / "activity.db"
    config = f"store: {{path: '{path}'}}\nmodels:\n{model('a')}"
    server = serve(config)
    assert server.chat("a").status == 200
    assert server.stop() == 0
    server.start()
    (row,) = rows(server)
    assert (row["id"], row["model"], row["has_capture"]) == (1, "a", False)
