"""The places on this machine, as the catalog is asked to look at them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from modelswap.config.discover.disk.finder import Finder
from modelswap.config.discover.disk.places import Places
from support.gguf_builder import chat_model

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home with one model in its usual folder and one in LM Studio's."""
    for name in ("HF_HOME", "HF_HUB_CACHE", "LLAMA_CACHE", "OLLAMA_MODELS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for path in ("models/Usual-F16.gguf", ".lmstudio/models/org/Repo-GGUF/Other-F16.gguf"):
        chat_model().write(tmp_path / path)
    return tmp_path


def test_a_folder(home: Path) -> None:
    """A named folder is looked at, and no usual place."""
    found = Finder().find(Places(folders=(home / "models",)))
    assert [model.id for model in found.models] == ["usual:f16"]
    assert found.problems == ()


@pytest.mark.usefixtures("home")
def test_the_usual_places() -> None:
    """All of them, those of other programs included."""
    found = Finder().find(Places(usual=True))
    assert {model.path.name for model in found.models} == {"Usual-F16.gguf", "Other-F16.gguf"}


@pytest.mark.usefixtures("home")
def test_a_store_by_name() -> None:
    """Only the named store is looked at; one that is not there is said."""
    found = Finder().find(Places(stores=("lmstudio", "ollama")))
    assert [model.path.name for model in found.models] == ["Other-F16.gguf"]
    assert found.problems == ("no store of ollama was found on this machine",)


def test_headers_are_kept_for_the_next_start(home: Path) -> None:
    """The cache lies in the user's cache folder; without one it is kept in memory."""
    Finder().find(Places(usual=True))
    assert (home / "cache" / "modelswap" / "headers").is_file()
