"""A folder is enough: models are found on disk, served by the real engine, and noticed when they come and go."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from support.load_clients import OpenStream
from support.server import Modelswap, stub_command, wait_until

if TYPE_CHECKING:
    from pathlib import Path

    from support.running import StartServer

VARIABLES = (
    *("XDG_CACHE_HOME", "HF_HOME", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"),
    *("LLAMA_CACHE", "OLLAMA_MODELS"),
)
"""Where other programs are told to keep their models."""
NOTHING = "modelswap: no configuration here, and no model in the usual places: "


@pytest.fixture
def folder(tmp_path: Path, weights: dict[str, Path]) -> Path:
    """A folder with a model that chats, one below it that makes embeddings, and a broken file."""
    found = tmp_path / "models"
    (found / "below").mkdir(parents=True)
    shutil.copy(weights["red"], found / "Red-F16.gguf")
    shutil.copy(weights["vector"], found / "below" / "Vector-F16.gguf")
    (found / "broken.gguf").write_bytes(b"GGUF but not really")
    return found


@pytest.fixture
def home(tmp_path: Path) -> dict[str, str]:
    """A home of its own: nothing usual lies there, and the cache of headers is new."""
    path = str(tmp_path / "home")
    unset = dict.fromkeys(VARIABLES, "")
    return {**unset, "HOME": path}


def _listed(server: Modelswap) -> dict[str, Any]:
    return {one["id"]: one for one in server.ask("GET", "/v1/models").json()["data"]}


def _found(server: Modelswap) -> dict[str, Any]:
    return {one["id"]: one for one in server.ask("GET", "/api/models/found").json()["data"]}


def test_a_folder_is_enough(
    modelswap_server: StartServer, folder: Path, home: dict[str, str]
) -> None:
    """`--models-dir` alone serves what is in it: a chat and embeddings, by a short name."""
    server = modelswap_server("", "--models-dir", str(folder), env=home)
    listed = _listed(server)
    assert sorted(listed) == ["red:f16", "vector:f16"]
    assert listed["red:f16"]["context_length"] == 4096
    assert listed["vector:f16"]["capabilities"] == {"embedding": True}
    answer = server.chat("red", max_tokens=4)
    assert answer.status == 200, answer.body
    assert answer.json()["model"] == "red:f16"
    vectors = server.ask("POST", "/v1/embeddings", {"model": "vector", "input": ["one", "two"]})
    assert vectors.status == 200, vectors.body
    assert [len(row["embedding"]) for row in vectors.json()["data"]] == [64, 64]


def test_what_was_found_is_listed(
    modelswap_server: StartServer, folder: Path, home: dict[str, str]
) -> None:
    """What is served, and what is not with its reason, are in `GET /api/models/found` and in the log."""
    server = modelswap_server("", "--models-dir", str(folder), env=home)
    found = _found(server)
    assert {name: one["served"] for name, one in found.items() if one["served"]} == {
        "red:f16": True,
        "vector:f16": True,
    }
    (broken,) = (one for one in found.values() if not one["served"])
    assert broken["path"] == str(folder / "broken.gguf")
    assert broken["reason"]
    wait_until(lambda: f"found red:f16: {folder / 'Red-F16.gguf'}" in server.log())
    refused = f"not served: {folder / 'broken.gguf'}: {broken['reason']}"
    wait_until(lambda: refused in server.log())


def test_files_come_and_go(
    modelswap_server: StartServer, folder: Path, weights: dict[str, Path], home: dict[str, str]
) -> None:
    """A new file is served and a removed one is gone; a model that runs beside them is not touched."""
    server = modelswap_server("", "--models-dir", str(folder), env=home)
    assert server.chat("red", max_tokens=1).status == 200
    before = server.model_pids()
    shutil.copy(weights["blue"], folder / "below" / "Blue-F16.gguf")
    wait_until(lambda: "blue:f16" in _listed(server), what="the new file")
    assert server.model_pids() == before
    assert server.chat("blue", max_tokens=1).status == 200
    (folder / "below" / "Blue-F16.gguf").unlink()
    wait_until(lambda: "blue:f16" not in _listed(server), what="the removed file")
    wait_until(lambda: server.model_pids() == before, what="its server")
    assert server.chat("blue", max_tokens=1).status == 404
    assert server.chat("red", max_tokens=1).status == 200


def test_a_file_that_is_being_copied(
    modelswap_server: StartServer, folder: Path, weights: dict[str, Path], home: dict[str, str]
) -> None:
    """Half a file is never served; the whole one is."""
    server = modelswap_server("", "--models-dir", str(folder), env=home)
    whole = weights["blue"].read_bytes()
    copy = folder / "Blue-F16.gguf"
    copy.write_bytes(whole[: len(whole) // 2])
    wait_until(lambda: "blue:f16" in _found(server), what="half of the file")
    assert "cut off" in _found(server)["blue:f16"]["reason"]
    assert "blue:f16" not in _listed(server)
    copy.write_bytes(whole)
    wait_until(lambda: "blue:f16" in _listed(server), what="the whole file")
    assert server.chat("blue", max_tokens=1).status == 200


def test_a_removed_file_cuts_no_stream(
    modelswap_server: StartServer, folder: Path, home: dict[str, str]
) -> None:
    """The model of a removed file is no model any more; its running stream comes to its end."""
    command = f"discover:\n  paths: {folder}\n  templates:\n    - cmd: {stub_command('any')}\n"
    server = modelswap_server(command, env=home)
    with OpenStream(server, "red:f16") as stream:
        (folder / "Red-F16.gguf").unlink()
        wait_until(lambda: "red:f16" not in _listed(server), what="the removed file")
        stream.read(20)
        assert b"data: [DONE]" in stream.finish(b"[DONE]")
    wait_until(lambda: not server.model_pids(), what="its server")


def test_written_models_and_found_ones(
    modelswap_server: StartServer, folder: Path, home: dict[str, str]
) -> None:
    """`discover` adds to the models of the file, which win; the log says so."""
    text = f"""
discover:
  paths: {folder}
  templates:
    - match: red*
      args: --ctx-size 512
      aliases: [crimson]
models:
  vector:f16:
    cmd: {stub_command("vector")}
"""
    server = modelswap_server(text, env=home)
    assert sorted(_listed(server)) == ["red:f16", "vector:f16"]
    assert server.chat("crimson", max_tokens=1).status == 200
    assert "--ctx-size 512" in " ".join(server.model_pids().values())
    reason = "the configuration has a model of this name"
    refused = f"not served: {folder / 'below' / 'Vector-F16.gguf'}: {reason}"
    wait_until(lambda: refused in server.log())


def test_presets_of_llama_cpp_s_router(
    modelswap_server: StartServer, folder: Path, tmp_path: Path, home: dict[str, str]
) -> None:
    """A section gives the found model its options and its name there."""
    presets = tmp_path / "presets.ini"
    presets.write_text("[*]\nc = 256\n\n[Red-F16]\nthreads = 1\n")
    flags = ("--models-dir", str(folder), "--models-preset", str(presets))
    server = modelswap_server("", *flags, env=home)
    assert server.chat("Red-F16", max_tokens=1).status == 200
    assert "--ctx-size 256 --threads 1" in " ".join(server.model_pids().values())


def test_the_usual_places(
    modelswap_server: StartServer, folder: Path, tmp_path: Path, home: dict[str, str]
) -> None:
    """Without a configuration and a folder, what lies in the usual places is served."""
    usual = tmp_path / "home" / "models"
    usual.parent.mkdir()
    folder.rename(usual)
    server = modelswap_server("", env=home)
    assert sorted(_listed(server)) == ["red:f16", "vector:f16"]
    assert server.chat("red", max_tokens=1).status == 200


def test_nothing_to_serve(
    modelswap_server: StartServer, tmp_path: Path, home: dict[str, str]
) -> None:
    """Without anything it ends and says what to do; an empty folder that was named is watched."""
    server = modelswap_server("", start=False, env=home)
    assert server.spawn().wait(30) == 1
    assert server.log() == f"{NOTHING}use --models-dir DIR or --config FILE\n"
    empty = tmp_path / "empty"
    empty.mkdir()
    watched = modelswap_server("", "--models-dir", str(empty), env=home)
    assert _listed(watched) == {}
    wait_until(lambda: f"no models were found in {empty}" in watched.log())


def test_a_folder_that_is_not_there(
    modelswap_server: StartServer, tmp_path: Path, home: dict[str, str]
) -> None:
    """A typing error on the command line ends the start, with the folder's name."""
    missing = tmp_path / "modles"
    server = modelswap_server("", "--models-dir", str(missing), start=False, env=home)
    assert server.spawn().wait(30) == 1
    assert f"expected a folder; found none: {missing}" in server.log()


def test_a_configuration_here_is_not_read_beside_a_folder(
    modelswap_server: StartServer, folder: Path, home: dict[str, str]
) -> None:
    """What is served does not depend on where one stands, and it says so."""
    server = modelswap_server("", "--models-dir", str(folder), start=False, env=home)
    (server.directory / "config.yaml").write_text("models: {here: {cmd: x}}")
    server.start()
    assert sorted(_listed(server)) == ["red:f16", "vector:f16"]
    assert "config.yaml here is not read; for both: --config config.yaml" in server.log()


def test_check_lists_what_would_be_served(folder: Path, home: dict[str, str]) -> None:
    """`modelswap check --models-dir` starts nothing; it names the models and what is wrong with others."""
    ended = _check(folder.parent, home, "--models-dir", str(folder))
    assert ended.returncode == 0, ended.stderr
    assert "2 models" in ended.stdout
    assert "  red:f16 (also red, Red-F16)" in ended.stdout
    assert f"not served: {folder / 'broken.gguf'}: " in ended.stdout


def _check(directory: Path, home: dict[str, str], *flags: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "modelswap", "check", *flags],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
        env=home,
        cwd=directory,
    )


def test_check_looks_where_serve_does(folder: Path, tmp_path: Path, home: dict[str, str]) -> None:
    """`modelswap check` alone: `config.yaml` here, else the usual places; a file that is named has to be there."""
    here = tmp_path / "here"
    here.mkdir()
    nothing = _check(here, home)
    assert (nothing.returncode, nothing.stdout) == (1, "")
    assert nothing.stderr == f"{NOTHING}use --models-dir DIR or --config FILE\n"
    (tmp_path / "home").mkdir(exist_ok=True)
    folder.rename(tmp_path / "home" / "models")
    found = _check(here, home)
    assert (found.returncode, found.stdout.splitlines()[0]) == (0, "2 models, 0 API keys")
    assert "  red:f16 (also red, Red-F16)" in found.stdout
    (here / "config.yaml").write_text("models: {here: {cmd: 'sh ${PORT}'}}")
    assert _check(here, home).stdout.startswith("1 model, 0 API keys\n  here: ")
    missing = _check(here, home, "there.yaml")
    assert missing.returncode == 1
    assert "there.yaml" in missing.stderr


def test_safetensors_are_served_by_a_template(
    modelswap_server: StartServer, tmp_path: Path, home: dict[str, str]
) -> None:
    """Such a folder is listed with what it lacks; a template with a command serves it after a reload."""
    folder = tmp_path / "models" / "Tiny-Llama"
    folder.mkdir(parents=True)
    config = {"architectures": ["LlamaForCausalLM"], "model_type": "llama"}
    (folder / "config.json").write_text(json.dumps(config))
    header = json.dumps({"a": {"dtype": "F16", "shape": [1], "data_offsets": [0, 2]}}).encode()
    weights = len(header).to_bytes(8, "little") + header + b"\0\0"
    (folder / "model.safetensors").write_bytes(weights)
    server = modelswap_server(f"discover: {folder.parent}\n", env=home)
    (found,) = _found(server).values()
    assert (found["format"], found["served"]) == ("safetensors", False)
    assert "need a template" in found["reason"]
    server.write_config(
        f"discover:\n  paths: {folder.parent}\n"
        f"  templates:\n    - match: safetensors\n      cmd: {stub_command('${MODEL_ID}')}\n"
        "      useModelName: ${MODEL_ID}\n"
    )
    assert server.ask("POST", "/api/config/reload").status == 200
    assert server.chat(found["id"]).status == 200
