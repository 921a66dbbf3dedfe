"""The usual places of models, on each system."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from modelswap.catalog.found import ModelSource
from modelswap.catalog.roots import Root, default_roots

PLACES = {
    "models": ModelSource.FOLDER,
    ".cache/huggingface/hub": ModelSource.HUGGING_FACE,
    ".lmstudio/models": ModelSource.LM_STUDIO,
    ".cache/lm-studio/models": ModelSource.LM_STUDIO,
    ".ollama/models": ModelSource.OLLAMA,
}


def roots(home: Path, platform: str = "linux", **environ: str) -> set[Root]:
    found = default_roots(environ, home, platform)
    return {root for root in found if root.path.is_relative_to(home)}


def test_what_exists_is_returned(tmp_path: Path) -> None:
    """Nothing where nothing is; each place by its owner."""
    assert roots(tmp_path) == set()
    for place in (*PLACES, ".cache/llama.cpp"):
        (tmp_path / place).mkdir(parents=True)
    assert roots(tmp_path) == {
        *(Root(tmp_path / place, source) for place, source in PLACES.items()),
        Root(tmp_path / ".cache/llama.cpp"),
    }


@pytest.mark.parametrize(
    ("key", "value", "place"),
    [
        ("XDG_CACHE_HOME", "xdg", "xdg/huggingface/hub"),
        ("HF_HOME", "hf", "hf/hub"),
        ("HUGGINGFACE_HUB_CACHE", "old", "old"),
        ("HF_HUB_CACHE", "new", "new"),
        ("OLLAMA_MODELS", "ollama", "ollama"),
        ("LLAMA_CACHE", "llama", "llama"),
    ],
)
def test_variables_replace_places(key: str, value: str, place: str, tmp_path: Path) -> None:
    """As the programs themselves read them; `~/` is the home."""
    (tmp_path / place).mkdir(parents=True)
    assert {root.path for root in roots(tmp_path, **{key: str(tmp_path / value)})} == {
        tmp_path / place
    }
    assert {root.path for root in roots(tmp_path, **{key: f"~/{value}"})} == {tmp_path / place}


def test_each_system_has_its_cache(tmp_path: Path) -> None:
    """llama.cpp's older builds follow the customs of the system."""
    (tmp_path / "Library" / "Caches" / "llama.cpp").mkdir(parents=True)
    (tmp_path / "AppData" / "llama.cpp").mkdir(parents=True)
    assert roots(tmp_path, "darwin") == {Root(tmp_path / "Library" / "Caches" / "llama.cpp")}
    windows = roots(tmp_path, "win32", LOCALAPPDATA=str(tmp_path / "AppData"))
    assert windows == {Root(tmp_path / "AppData" / "llama.cpp")}


def test_lm_studio_is_asked_where_it_keeps_models(tmp_path: Path) -> None:
    """Its pointer names its folder, and its settings the folder of downloads."""
    (tmp_path / "studio" / "models").mkdir(parents=True)
    (tmp_path / "big").mkdir()
    (tmp_path / ".lmstudio-home-pointer").write_text(f"{tmp_path / 'studio'}\n")
    assert roots(tmp_path) == {Root(tmp_path / "studio" / "models", ModelSource.LM_STUDIO)}
    settings = tmp_path / "studio" / "settings.json"
    settings.write_text(json.dumps({"downloadsFolder": str(tmp_path / "big"), "other": 1}))
    assert Root(tmp_path / "big", ModelSource.LM_STUDIO) in roots(tmp_path)
    settings.write_text("{")
    assert roots(tmp_path) == {Root(tmp_path / "studio" / "models", ModelSource.LM_STUDIO)}


def test_a_place_with_two_names_is_returned_once(tmp_path: Path) -> None:
    """The first of them counts."""
    (tmp_path / "models").mkdir()
    (tmp_path / ".lmstudio").mkdir()
    (tmp_path / ".lmstudio" / "models").symlink_to(tmp_path / "models")
    assert roots(tmp_path) == {Root(tmp_path / "models")}


def test_no_home_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """A service may run without one."""

    def absent() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", absent)
    assert default_roots({}) == ()


@pytest.mark.timeout(20)
def test_a_pipe_in_place_of_settings_does_not_hang(tmp_path: Path) -> None:
    """Nobody may ever write to it."""
    (tmp_path / ".lmstudio" / "models").mkdir(parents=True)
    os.mkfifo(tmp_path / ".lmstudio-home-pointer")
    os.mkfifo(tmp_path / ".lmstudio" / "settings.json")
    assert roots(tmp_path) == {Root(tmp_path / ".lmstudio" / "models", ModelSource.LM_STUDIO)}
