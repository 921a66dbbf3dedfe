"""Every configuration that is shown loads, with no problem and no warning."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml

from modelswap.config.load import load

if TYPE_CHECKING:
    from modelswap.config.plan import Plan

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted((ROOT / "examples").glob("*.yaml"))
README_BLOCKS = re.findall(r"```yaml\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
CUDA_IMAGE = ROOT / "deploy" / "docker" / "Dockerfile.cuda"
LLAMA_CPP = "ghcr.io/ggml-org/llama.cpp:server-cuda"
MANIFEST = ROOT / "deploy" / "kubernetes" / "modelswap.yaml"


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODELSWAP_KEY", "key-of-the-examples")
    monkeypatch.setenv("PATH", "/nowhere")


def loaded(path: Path) -> Plan:
    found = load(path, None)
    assert found.problems == ()
    assert found.warnings == ()
    assert found.plan is not None
    return found.plan


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_loads(path: Path, tmp_path: Path) -> None:
    """Each file of examples/ is a configuration with models that have commands."""
    (tmp_path / "config.yaml").write_text(path.read_text())
    plan = loaded(tmp_path / "config.yaml")
    assert plan.models
    for model in plan.models.values():
        assert str(model.port) in " ".join(model.argv)


@pytest.mark.parametrize("text", README_BLOCKS)
def test_the_readme_loads(text: str, tmp_path: Path) -> None:
    """What a newcomer copies out of the README works."""
    (tmp_path / "config.yaml").write_text(text)
    assert loaded(tmp_path / "config.yaml").models


def test_the_manifest_loads(tmp_path: Path) -> None:
    """The configuration inside the Kubernetes manifest is one."""
    config_map = next(yaml.safe_load_all(MANIFEST.read_text()))
    (tmp_path / "config.yaml").write_text(config_map["data"]["config.yaml"])
    assert loaded(tmp_path / "config.yaml").models


def test_the_composition_mounts_what_is_there(tmp_path: Path) -> None:
    """Each file that compose.yaml mounts exists, and its configuration loads."""
    folder = ROOT / "deploy" / "docker"
    service = yaml.safe_load((folder / "compose.yaml").read_text())["services"]["modelswap"]
    assert (folder / service["build"]["context"] / service["build"]["dockerfile"]).exists()
    mounted = [volume.split(":")[0] for volume in service["volumes"]]
    files = [folder / name for name in mounted if name.startswith("./")]
    assert [file.name for file in files if not file.exists()] == []
    (tmp_path / "config.yaml").write_text((folder / "config.yaml").read_text())
    assert loaded(tmp_path / "config.yaml").models


def test_containers_are_stopped_by_name() -> None:
    """Each example that runs a container says how that very container is stopped."""
    seen = 0
    for path in EXAMPLES:
        if "docker run" not in path.read_text():
            continue
        for model in loaded(path).models.values():
            name = model.argv[model.argv.index("--name") + 1]
            assert model.cmd_stop.split()[-1] == name
            assert model.id in name
            seen += 1
    assert seen >= 3


def test_the_cuda_image_keeps_model_servers_to_itself() -> None:
    """llama.cpp's image has them listen on every address; ours, last, has them listen on one."""
    image = CUDA_IMAGE.read_text()
    assert re.findall(r"^FROM (\S+)$", image, re.MULTILINE) == [LLAMA_CPP]
    hosts = re.findall(r"^ENV LLAMA_ARG_HOST=(\S+)$", image, re.MULTILINE)
    assert hosts == ["127.0.0.1"]


def test_in_a_container_network_model_servers_are_told_where_to_listen(tmp_path: Path) -> None:
    """The manifest and the example for other containers name the address, whatever the image."""
    config_map = next(yaml.safe_load_all(MANIFEST.read_text()))
    shared = (ROOT / "examples" / "open-webui.yaml").read_text()
    for text in (config_map["data"]["config.yaml"], shared):
        path = tmp_path / "config.yaml"
        path.write_text(text)
        for model in loaded(path).models.values():
            assert model.argv[model.argv.index("--host") + 1] == "127.0.0.1"
