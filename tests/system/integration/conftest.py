"""Weights for the real engine, written once per run."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Three tiny models with random weights: two that chat, one that embeds."""
    pytest.importorskip("xllamacpp", reason="the extra `engine` is not installed")
    from modelswap.demo.weights import write_model  # noqa: PLC0415 - needs the extra

    directory = tmp_path_factory.mktemp("weights")
    found = {name: directory / f"{name}.gguf" for name in ("red", "blue", "vector")}
    for seed, name in enumerate(("red", "blue")):
        write_model(found[name], seed=seed, name=name)
    write_model(found["vector"], seed=7, name="vector", pooling="mean")
    return found
