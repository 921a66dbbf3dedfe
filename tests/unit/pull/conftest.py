"""A hub, a registry and a web server for each test, and folders of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from support.file_server import FileServer
from support.hub import Hub
from support.ollama_registry import OllamaRegistry
from support.pulling import Pulling

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(autouse=True)
def _no_account(monkeypatch: pytest.MonkeyPatch) -> None:
    """No token of this machine's user is sent."""
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", "/nonexistent/token")


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with Hub() as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        yield server


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> Iterator[OllamaRegistry]:
    with OllamaRegistry() as server:
        monkeypatch.setenv("MODELSWAP_OLLAMA_REGISTRY", server.url)
        yield server


@pytest.fixture
def web() -> Iterator[FileServer]:
    with FileServer() as server:
        yield server


@pytest.fixture
def pulling(tmp_path: Path) -> Pulling:
    return Pulling(tmp_path)
