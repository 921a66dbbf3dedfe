"""What the README, the Makefile and the deployment files say is so."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from modelswap.cli.terminal import COMMANDS

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
DECISIONS = sorted((ROOT / "docs" / "decisions").glob("*.md"))


@pytest.mark.parametrize("target", sorted(set(re.findall(r"\]\(([^)#:]+)\)", README))))
def test_every_link_leads_somewhere(target: str) -> None:
    """Relative links of the README exist."""
    assert (ROOT / target).exists()


@pytest.mark.parametrize("path", re.findall(r"^\| ((?:`[^`]+`(?:, )?)+) \|", README, re.MULTILINE))
def test_the_layout_is_the_real_one(path: str) -> None:
    """The table of places names places and commands that exist."""
    names = re.findall(r"`([^`]+)`", path)
    parent = Path(names[0]).parent
    for name in names:
        if name.startswith("modelswap "):
            assert name.split()[1] in COMMANDS
        else:
            assert (ROOT / name).exists() or (ROOT / parent / name).exists()


def test_every_command_is_listed() -> None:
    """No command is missing in the README."""
    assert set(re.findall(r"^\| `modelswap (\w+)", README, re.MULTILINE)) == set(COMMANDS)


def test_every_target_that_make_lists_exists() -> None:
    """`make help` names real targets."""
    text = (ROOT / "Makefile").read_text()
    listed = re.findall(r"^#.*", text.split("PYTHON ?=")[0], re.MULTILINE)
    names = re.findall(r"make (\w+)  ?", "\n".join(listed))
    expected = {
        "demo",
        "test",
        "check",
        "bench",
        "deep",
        "fuzz",
        "soak",
        "lock",
        "wheel",
        "publish",
    }
    assert set(names) == expected
    for name in names:
        assert re.search(rf"^{name}:", text, re.MULTILINE)


def test_the_continuous_integration_runs_make_test() -> None:
    """`.ci/run` is a valid script that calls it."""
    script = ROOT / ".ci" / "run"
    assert "make test" in script.read_text()
    subprocess.run(["sh", "-n", str(script)], check=True)


@pytest.mark.parametrize("path", DECISIONS, ids=lambda path: path.stem)
def test_a_decision_is_short_dated_and_numbered(path: Path) -> None:
    """At most forty lines, the number of the file in its title, a date below."""
    lines = path.read_text().splitlines()
    assert len(lines) <= 40
    assert lines[0].startswith(f"# {path.name[:4]}. ")
    assert re.match(r"\d{4}-\d\d-\d\d\.", lines[2])


def test_decisions_are_numbered_without_gaps() -> None:
    """0001, 0002 and so on."""
    assert [int(path.name[:4]) for path in DECISIONS] == list(range(1, len(DECISIONS) + 1))


@pytest.fixture(scope="module")
def manifests() -> dict[str, Any]:
    text = (ROOT / "deploy" / "kubernetes" / "modelswap.yaml").read_text()
    return {manifest["kind"]: manifest for manifest in yaml.safe_load_all(text)}


def test_the_manifests_probe_and_drain(manifests: dict[str, Any]) -> None:
    """Alive is /health, ready is /ready, and a stop leaves time for preStop and shutdownTimeout."""
    pod = manifests["Deployment"]["spec"]["template"]["spec"]
    container = pod["containers"][0]
    assert container["livenessProbe"]["httpGet"]["path"] == "/health"
    assert container["readinessProbe"]["httpGet"]["path"] == "/ready"
    pause = int(container["lifecycle"]["preStop"]["exec"]["command"][1])
    assert pod["terminationGracePeriodSeconds"] > pause + 30


@pytest.mark.parametrize("name", ["Dockerfile", "Dockerfile.cuda"])
def test_the_images_copy_what_exists(name: str) -> None:
    """Every file that a Dockerfile copies from the tree is in the tree."""
    text = (ROOT / "deploy" / "docker" / name).read_text()
    for line in re.findall(r"^COPY (?!--from)(.+)$", text, re.MULTILINE):
        *sources, _ = line.split()
        assert all((ROOT / source).exists() for source in sources)
